"""Frames -> H.264 segments; segments and speech -> the finished MP4. Pictures are encoded once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from services.orchestrator.timeline import Timeline
from services.runtime.frames import FFMPEG_NAMES, Color, Frame, FrameFormat
from services.runtime.refusal import Refusal

AUDIO_BIT_RATE = 96_000  # bits per second and channel
AUDIO_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # hertz, of AAC

# Says to people and machines what the file is. Tag names are MP4's own, which every player shows.
AI_LABEL: Mapping[str, str] = {
    "comment": "AI-generated: the lip movements in this video were made by software (Syncline).",
    "description": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "keywords": "AI-generated",
}


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """The same settings and frames give the same bytes; all segments of a video need the same settings."""

    format: FrameFormat
    frame_rate: Fraction  # mean frames per second: rate control and level go by it, timestamps do not
    crf: int = 18
    preset: str = "veryfast"
    sample_aspect_ratio: Fraction = Fraction(1)
    threads: int = 4  # a constant, never the machine's number of cores: x264's output depends on it


class SegmentEncoder:
    """Frames of one segment -> an MP4 file that begins with an IDR picture and refers to nothing before it.

    Writes straight to `path`: give it a scratch file of the artifact store, which makes it whole or nothing. Leave the
    `with` block by an exception and the file is not finished.
    """

    def __init__(self, path: Path, settings: EncodeSettings) -> None:
        self._settings = settings
        self._container = av.open(path, "w", format="mp4")
        self._stream = _add_video_stream(self._container, settings)
        self._time_base = self._stream.codec_context.time_base
        self.frame_count = 0

    def encode(self, picture: av.VideoFrame) -> None:
        """The next picture, as `to_picture` makes it of a frame; its pts does not count."""
        size_and_format = (picture.width, picture.height, picture.format.name)
        expected = (self._stream.width, self._stream.height, self._stream.pix_fmt)
        if size_and_format != expected:
            raise ValueError(f"a picture of {size_and_format} does not fit a segment of {expected}")
        picture.pts, picture.time_base = self.frame_count, self._time_base
        self._container.mux(self._stream.encode(picture))
        self.frame_count += 1

    def __enter__(self) -> "SegmentEncoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


def _add_video_stream(container: OutputContainer, settings: EncodeSettings) -> VideoStream:
    rate = settings.frame_rate.limit_denominator(1001)  # FFmpeg's fractions have 32 bits
    stream = container.add_stream("libx264", rate=rate)
    stream.width, stream.height = settings.format.width, settings.format.height
    stream.pix_fmt = FFMPEG_NAMES[settings.format.pixel_format]
    stream.options = {"crf": str(settings.crf), "preset": settings.preset}
    context = stream.codec_context
    context.time_base = 1 / rate
    context.sample_aspect_ratio = settings.sample_aspect_ratio
    context.thread_count = settings.threads
    context.thread_type = "FRAME"
    _tag_color(stream, settings.format.color)
    return stream


def _tag_color(stream: VideoStream, color: Color) -> None:
    # FFmpeg numbers matrices, primaries and transfers as H.273 does. Matrix 0 is RGB, which these frames are not.
    context = stream.codec_context
    context.colorspace = color.matrix if color.matrix in range(1, 15) else 2
    context.color_primaries = color.primaries if color.primaries in range(1, 23) else 2
    context.color_trc = color.transfer if color.transfer in range(1, 19) else 2
    context.color_range = 2 if color.full_range else 1


def to_picture(frame: Frame) -> tuple[av.VideoFrame, Frame]:
    """The planar frame as FFmpeg holds it, one copy of every plane; and a frame that views it and may be written to."""
    picture = av.VideoFrame(frame.format.width, frame.format.height, FFMPEG_NAMES[frame.format.pixel_format])
    views = []
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        height, width = samples.shape
        rows = np.frombuffer(memoryview(plane), frame.format.dtype).reshape(height, -1)  # (height, width + padding)
        view = rows[:, :width]
        view[...] = samples
        views.append(view)
    return picture, Frame(frame.pts, frame.format, tuple(views))


def assemble(
    segments: Sequence[Path],
    timeline: Timeline,
    speech: Iterable[np.ndarray],
    speech_rate: int,
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Joins the segments, in order, with the speech into an MP4 that plays while it loads.

    Pictures are copied as encoded and get the timeline's exact times. `speech`: blocks (n, 1 or 2) float32 at
    `speech_rate` hertz from time 0 on; what lies beyond the timeline's duration is not read. `metadata`: MP4's own tags
    (title, artist, ...; others are lost), beside AI_LABEL, which is always written. Writes straight to `path`, as
    SegmentEncoder does.
    """
    blocks = iter(speech)
    first = next(blocks, None)
    if first is None:
        raise Refusal("EMPTY_AUDIO", "The speech holds no samples.")
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update({**(metadata or {}), **AI_LABEL})
        with av.open(segments[0]) as segment:
            video = container.add_stream_from_template(segment.streams.video[0])
            headers = segment.streams.video[0].codec_context.extradata
            depth = segment.streams.video[0].codec_context.reorder_depth
        video.time_base = timeline.time_base
        audio = _add_audio_stream(container, speech_rate, first.shape[1])
        sound = _encode_speech(audio, _cut(first, blocks, int(timeline.duration * speech_rate)), speech_rate)

        heard = next(sound, None)
        for packet in _join(segments, timeline, depth, headers):
            while heard is not None and _seconds(heard) <= _seconds(packet):
                container.mux(heard)
                heard = next(sound, None)
            packet.stream = video
            container.mux(packet)
        while heard is not None:
            container.mux(heard)
            heard = next(sound, None)


def _seconds(packet: "Packet[Any]") -> Fraction:
    """When the packet is to be decoded."""
    return (packet.dts or 0) * packet.time_base


def _join(
    segments: Sequence[Path], timeline: Timeline, depth: int, headers: bytes | None
) -> Iterator["Packet[VideoStream]"]:
    """The segments' packets in decoding order, timed by the timeline.

    With pictures reordered by at most `depth` places, the decoding time of the n-th packet may be the presentation time
    of the picture `depth` places before the n-th: never later than its own, and strictly increasing.
    """
    lead = np.arange(-depth, 0) * int(timeline.durations[0])
    dts = np.concatenate([lead, timeline.pts])
    durations = timeline.durations
    first_frame = 0
    for path in segments:
        with av.open(path) as segment:
            stream = segment.streams.video[0]
            if stream.codec_context.extradata != headers:
                raise Refusal("INTERNAL_ERROR", "The segments of this job were encoded with different settings.")
            packets = [packet for packet in segment.demux(stream) if packet.size]
        if first_frame + len(packets) > timeline.frame_count:
            raise _wrong_count(timeline)
        shown = np.argsort(np.argsort([packet.pts or 0 for packet in packets]))  # place of each in order of display
        for place, packet in enumerate(packets):
            frame = first_frame + int(shown[place])
            packet.time_base = timeline.time_base
            packet.pts = int(timeline.pts[frame])
            packet.dts = int(dts[first_frame + place])
            packet.duration = int(durations[frame])
            yield packet
        first_frame += len(packets)
    if first_frame != timeline.frame_count:
        raise _wrong_count(timeline)


def _wrong_count(timeline: Timeline) -> Refusal:
    message = f"The segments of this job do not hold the {timeline.frame_count} frames planned."
    return Refusal("INTERNAL_ERROR", message)


def _add_audio_stream(container: OutputContainer, rate: int, channels: int) -> AudioStream:
    stream = container.add_stream("aac", rate=rate if rate in AUDIO_RATES else 48000)
    stream.layout = {1: "mono", 2: "stereo"}[channels]
    stream.bit_rate = AUDIO_BIT_RATE * channels
    return stream


def _cut(first: np.ndarray, blocks: Iterator[np.ndarray], sample_count: int) -> Iterator[np.ndarray]:
    """Blocks (n, channels) until `sample_count` samples have come."""
    block: np.ndarray | None = first
    while block is not None and sample_count > 0:
        yield block[:sample_count]
        sample_count -= len(block)
        block = next(blocks, None) if sample_count > 0 else None


def _encode_speech(stream: AudioStream, blocks: Iterator[np.ndarray], rate: int) -> Iterator["Packet[AudioStream]"]:
    first_sample = 0
    for block in blocks:
        if not len(block):
            continue
        samples = np.ascontiguousarray(block.T, np.float32)  # (channels, n)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", stream.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first_sample
        first_sample += len(block)
        yield from stream.encode(frame)
    yield from stream.encode(None)
