"""The standard mezzanine of a source: upright, whole frames of square pixels at a constant rate, H.264 and AAC.

What editors and players like best, and what costs least to decode again and again.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as AllGiven

from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.encoding import EncodeSettings, Picture, add_video_stream, to_picture
from services.orchestrator.light import Light, to_light
from services.orchestrator.stages import AudioBlock, FrameReader, Metadata, Stages
from services.orchestrator.timeline import nearest_standard_rate
from services.runtime.convert import to_fraction
from services.runtime.frames import FFMPEG_NAMES, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.streams import entered_in_thread, in_thread
from syncline.v1 import decoder_pb2

VERSION = "2"  # changes when the same source may give another mezzanine
_LONGER, _SHORTER = 1920, 1080  # pixels, that a picture is scaled down to unless a size is asked for
_SIDES, _RATES, _BIT_RATES = (64, 8192), (1, 240), (100_000, 400_000_000)
_AUDIO_RATE, _AUDIO_BIT_RATE = 48000, 192_000  # hertz; bits per second
_HDR_TRANSFERS = (16, 18)  # PQ, HLG; ITU-T H.273


@dataclass(frozen=True, slots=True)
class Mezzanine:
    """What is asked for. Raises Refusal INVALID_OPTION out of range, and for one side without the other."""

    width: int | None = None  # pixels; with height: exactly that size, black where the picture does not reach
    height: int | None = None
    frame_rate: Fraction | None = None  # frames per second; None: the standard rate nearest to the source's mean
    bit_rate: int = 10_000_000  # bits per second, of the pictures

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise Refusal("INVALID_OPTION", "width and height go together: give both or neither", field="width")
        for field, value, (low, high) in (
            ("width", self.width, _SIDES),
            ("height", self.height, _SIDES),
            ("frame_rate", self.frame_rate, _RATES),
            ("bit_rate", self.bit_rate, _BIT_RATES),
        ):
            if value is not None and not low <= value <= high:
                message = f"{field} is {float(value):g}; the range is {low} to {high}"
                raise Refusal("INVALID_OPTION", message, field=field)
        for field, side in (("width", self.width), ("height", self.height)):
            if side is not None and side % 2:
                raise Refusal("INVALID_OPTION", f"{field} is {side}; it must be even", field=field)


async def find_mezzanine(
    stages: Stages, artifacts: ArtifactStore, source: str, wanted: Mezzanine, metadata: Metadata = ()
) -> Asset:
    """The mezzanine of a video; made now unless the same was made before.

    Raises Refusal NO_VIDEO, INVALID_OPTION for a photo, and whatever the decoder says of the file.
    """
    info = await stages.inspect(source, metadata)
    if not info.HasField("video"):
        raise Refusal("NO_VIDEO", "the file has sound but no pictures", digest=source)
    if info.kind == decoder_pb2.MediaInfo.KIND_PHOTO:
        raise Refusal("INVALID_OPTION", "a photo has no time to normalize: use it as it is", field="normalize")
    decoder = await stages.engine("decoder")
    asked = {name: str(value) for name, value in asdict(wanted).items()}
    key = json.dumps([VERSION, source, decoder.name, decoder.version, asked])
    kept = await in_thread(artifacts.get_artifact, "mezzanine", key)
    if kept is not None and (found := await in_thread(artifacts.find_asset, json.loads(kept))) is not None:
        return found
    with artifacts.scratch(suffix=".mp4") as path:
        async with stages.decode_frames(source, metadata, to_picture) as reader:
            channels = min(info.audio.channels, 2)
            sound = stages.decode_audio(source, metadata, _AUDIO_RATE, channels) if channels else None
            async with entered_in_thread(_Writer(path, reader, info.video, channels, wanted)) as writer:
                await _write(writer, reader, sound)
        asset = await in_thread(artifacts.adopt, path)
    await in_thread(artifacts.put_artifact, "mezzanine", key, [json.dumps(asset.digest).encode()])
    return asset


async def _write(writer: "_Writer", reader: FrameReader[Picture], sound: AsyncIterator[AudioBlock] | None) -> None:
    """Pictures and sound in step, so that neither waits in memory for the other."""
    async for pictures in reader:
        await in_thread(writer.add_pictures, pictures)
        while sound is not None and writer.heard < writer.seen:
            block = await anext(sound, None)
            if block is None:
                sound = None
            else:
                await in_thread(writer.add_sound, block.samples)
    if sound is not None:
        async for block in sound:
            await in_thread(writer.add_sound, block.samples)


class _Writer:
    """The file on its way. `seen`, `heard`: seconds of pictures and of sound so far."""

    def __init__(
        self, path: Path, reader: FrameReader[Picture], video: decoder_pb2.VideoInfo, channels: int, wanted: Mezzanine
    ) -> None:
        rate = wanted.frame_rate or nearest_standard_rate(to_fraction(video.frame_rate) or Fraction(25))
        self._time_base = reader.time_base
        self._graph, output = _make_graph(reader, to_fraction(video.sample_aspect_ratio) or Fraction(1), rate, wanted)
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        settings = EncodeSettings(output, rate, crf=None, bit_rate=wanted.bit_rate, light=_keep_light(video, output))
        self._video = add_video_stream(self._container, settings)
        self._audio: AudioStream | None = None
        if channels:
            audio = self._container.add_stream("aac", rate=_AUDIO_RATE)
            assert isinstance(audio, AudioStream)
            audio.layout, audio.bit_rate = {1: "mono", 2: "stereo"}[channels], _AUDIO_BIT_RATE
            self._audio = audio
        self._samples = 0
        self.seen = Fraction(0)

    @property
    def heard(self) -> Fraction:
        return Fraction(self._samples, _AUDIO_RATE)

    def add_pictures(self, pictures: list[Picture]) -> None:
        for picture, frame in pictures:
            picture.pts, picture.time_base = frame.pts, self._time_base
            self._graph.push(picture)
            self._encode_pictures()
            self.seen = frame.pts * self._time_base

    def add_sound(self, samples: np.ndarray) -> None:
        """`samples`: (n, channels) float32."""
        assert self._audio is not None
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), "fltp", self._audio.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = _AUDIO_RATE, Fraction(1, _AUDIO_RATE), self._samples
        self._samples += len(samples)
        self._container.mux(self._audio.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._graph.push(None)
                self._encode_pictures()
                self._container.mux(self._video.encode(None))
                if self._audio is not None:
                    self._container.mux(self._audio.encode(None))
        finally:
            self._container.close()

    def _encode_pictures(self) -> None:
        for picture in _pull(self._graph):
            picture.time_base = self._video.codec_context.time_base
            picture.pict_type = 0  # the coder chooses
            self._container.mux(self._video.encode(picture))


def _pull(graph: av.filter.Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (NothingYet, AllGiven):
            return


def _make_graph(
    reader: FrameReader[Picture], pixel_aspect: Fraction, rate: Fraction, wanted: Mezzanine
) -> tuple[av.filter.Graph, FrameFormat]:
    """Frames in at their own times -> pictures of the size, layout and constant rate of a mezzanine, from time 0 on."""
    given = reader.format
    (width, height), (across, down) = choose_size(given.width, given.height, pixel_aspect, wanted)
    ten_bits = given.bit_depth > 8 and given.color.transfer in _HDR_TRANSFERS
    output = FrameFormat(width, height, PixelFormat.YUV420P10 if ten_bits else PixelFormat.YUV420P, given.color)
    graph = av.filter.Graph()
    layout = av.VideoFormat(FFMPEG_NAMES[given.pixel_format], given.width, given.height)
    steps = [
        graph.add_buffer(width=given.width, height=given.height, format=layout, time_base=reader.time_base),
        graph.add("scale", f"{across}:{down}:flags=bicubic+accurate_rnd+full_chroma_int"),
        graph.add("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2:black"),
        graph.add("fps", f"fps={rate}:start_time=0"),
        graph.add("format", FFMPEG_NAMES[output.pixel_format]),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps)
    graph.configure()
    return graph, output


def choose_size(
    width: int, height: int, pixel_aspect: Fraction, wanted: Mezzanine
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the mezzanine and of the picture in it, all even: square pixels, the aspect kept.

    Without a size asked for the picture is never enlarged, and nothing is added to it.
    """
    wide = pixel_aspect > 1
    shown_width = width * pixel_aspect if wide else Fraction(width)
    shown_height = Fraction(height) if wide else height / pixel_aspect
    if wanted.width is not None and wanted.height is not None:
        scale = min(wanted.width / shown_width, wanted.height / shown_height)
    else:
        longer, shorter = max(shown_width, shown_height), min(shown_width, shown_height)
        scale = min(Fraction(1), _LONGER / longer, _SHORTER / shorter)
    across, down = (max(2 * round(side * scale / 2), 2) for side in (shown_width, shown_height))
    return (wanted.width or across, wanted.height or down), (across, down)


def _keep_light(video: decoder_pb2.VideoInfo, output: FrameFormat) -> Light:
    return to_light(video) if output.bit_depth > 8 else Light()
