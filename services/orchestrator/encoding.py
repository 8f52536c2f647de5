"""Frames -> encoded segments."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from services.orchestrator.formats import HARDWARE_CODECS, PRESETS, VIDEO_CODECS, VideoCodec
from services.orchestrator.light import UNTOLD, Light, describe_light
from services.runtime.frames import FFMPEG_NAMES, Color, Frame, FrameFormat, PixelFormat
from services.runtime.process import leave_real_time
from services.runtime.refusal import Refusal

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
# Of so few pictures x265 leaves the decoding times to chance; they are decoded in the order in which they are shown.
_FEW = 2
_SEGMENT_MUXERS = {"ffv1": "matroska"}  # of codecs that MP4 does not hold


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """The same settings and frames give the same bytes; all segments of a video need the same settings."""

    format: FrameFormat  # of the frames that come in
    frame_rate: Fraction  # mean frames per second: rate control and level go by it, timestamps do not
    crf: int | None = 18
    preset: str = "veryfast"
    sample_aspect_ratio: Fraction = Fraction(1)
    threads: int = 4  # a constant, never the machine's number of cores: x264's output depends on it
    codec: str = "h264"
    bit_rate: int | None = None  # bits per second, instead of crf
    max_lines: int | None = None  # pixels of the shorter side; larger pictures are scaled down
    light: Light = UNTOLD  # of an HDR source
    hardware: str = ""  # which graphics card's encoder, as hardware.py knows it; empty: software

    @property
    def video_codec(self) -> VideoCodec:
        return (HARDWARE_CODECS if self.hardware else VIDEO_CODECS)[self.codec]

    @property
    def output(self) -> FrameFormat:
        """Of the pictures encoded: the frames' own, unless the codec cannot hold them or they are too large."""
        width, height = self.format.width, self.format.height
        lines = min(width, height)
        if self.max_lines is not None and lines > self.max_lines:
            width, height = (2 * round(side * self.max_lines / lines / 2) for side in (width, height))
        layout = _nearest_layout(self.format.pixel_format, self.video_codec.layouts)
        return replace(self.format, width=width, height=height, pixel_format=layout)


def _nearest_layout(wanted: PixelFormat, layouts: tuple[PixelFormat, ...]) -> PixelFormat:
    """Its depth is kept before its chroma; both where the codec can."""
    if wanted in layouts:
        return wanted
    ten_bits = wanted.name.endswith("10")
    fewer = PixelFormat.YUV420P10 if ten_bits else PixelFormat.YUV420P
    if fewer in layouts:
        return fewer
    return PixelFormat[wanted.name.removesuffix("10")]


class SegmentEncoder:
    """Frames of one segment -> a file that begins with a key picture and refers to nothing before it.

    Writes straight to `path`: give it a scratch file of the artifact store, which makes it whole or nothing. Leave the
    `with` block by an exception and the file is not finished. Raises Refusal DEVICE_EXHAUSTED where the encoder of a
    graphics card gives out.
    """

    def __init__(self, path: Path, settings: EncodeSettings) -> None:
        self._settings, self._output = settings, settings.output
        muxer = _SEGMENT_MUXERS.get(settings.codec, "mp4")
        self._container = av.open(path, "w", format=muxer, options={"fflags": "+bitexact"})  # no random identifiers
        self._stream = add_video_stream(self._container, settings)
        self._time_base = self._stream.codec_context.time_base
        self.frame_count = 0

    def encode(self, picture: av.VideoFrame) -> None:
        """The next picture, as `to_picture` makes it of a frame; its pts does not count."""
        size_and_format = (picture.width, picture.height, picture.format.name)
        frame_format = self._settings.format
        expected = (frame_format.width, frame_format.height, FFMPEG_NAMES[frame_format.pixel_format])
        if size_and_format != expected:
            raise ValueError(f"a picture of {size_and_format} does not fit a segment of {expected}")
        if self._output != frame_format:
            name = FFMPEG_NAMES[self._output.pixel_format]
            picture = picture.reformat(self._output.width, self._output.height, name, interpolation=_SCALING)
        picture.pts, picture.time_base = self.frame_count, self._time_base
        self._write(picture)
        self.frame_count += 1

    def __enter__(self) -> "SegmentEncoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write(None)
        finally:
            self._container.close()

    def _write(self, picture: av.VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(picture)
            if picture is None and self.frame_count <= _FEW:
                for packet in packets:
                    packet.dts = packet.pts
            self._container.mux(packets)
        except FFmpegError as error:
            if not self._settings.hardware:
                raise
            raise Refusal("DEVICE_EXHAUSTED", f"the graphics card's encoder gave out: {error}") from error


def add_video_stream(container: OutputContainer, settings: EncodeSettings) -> VideoStream:
    """The stream of pictures of the settings' output format, ready to encode; times count in frames."""
    codec, output = settings.video_codec, settings.output
    rate = settings.frame_rate.limit_denominator(1001)  # FFmpeg's fractions have 32 bits
    stream = container.add_stream(codec.encoder, rate=rate)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = output.width, output.height
    stream.pix_fmt = codec.names.get(output.pixel_format, FFMPEG_NAMES[output.pixel_format])
    option, told = describe_light(settings.light, codec.encoder)
    light = {option: ":".join([*filter(None, [codec.options.get(option)]), *told])} if told else {}
    stream.options = {
        **_choose_quality(codec, settings),
        **codec.presets[PRESETS.index(settings.preset)],
        **codec.options,
        **light,
    }
    context = stream.codec_context
    context.bit_rate = settings.bit_rate or 0  # 0: whatever the quality takes
    context.time_base = 1 / rate
    context.sample_aspect_ratio = settings.sample_aspect_ratio
    context.thread_count = settings.threads
    context.thread_type = "FRAME"
    _tag_color(stream, settings.format.color)
    if codec.encoder == "libsvtav1":
        context.open()
        leave_real_time()
    return stream


def _choose_quality(codec: VideoCodec, settings: EncodeSettings) -> dict[str, str]:
    return {} if codec.crf is None or settings.bit_rate else {codec.quality: str(settings.crf)}


def _tag_color(stream: VideoStream, color: Color) -> None:
    # FFmpeg numbers matrices, primaries and transfers as H.273 does. Matrix 0 is RGB, which these frames are not.
    context = stream.codec_context
    context.colorspace = color.matrix if color.matrix in range(1, 15) else 2
    context.color_primaries = color.primaries if color.primaries in range(1, 23) else 2
    context.color_trc = color.transfer if color.transfer in range(1, 19) else 2
    context.color_range = 2 if color.full_range else 1


class Picture(NamedTuple):
    """A planar frame as FFmpeg holds it, and the same memory as a frame whose planes may be written to."""

    video: av.VideoFrame
    frame: Frame


def to_picture(frame: Frame) -> Picture:
    """One copy of every plane."""
    video = av.VideoFrame(frame.format.width, frame.format.height, FFMPEG_NAMES[frame.format.pixel_format])
    return _fill(video, frame)


class PictureStock:
    """Memory of pictures that were encoded, for those to come: fresh memory costs the system more than the copy does.

    Any thread may call.
    """

    def __init__(self) -> None:
        self._idle: dict[FrameFormat, list[av.VideoFrame]] = {}

    def take(self, frame: Frame) -> Picture:
        """As `to_picture`."""
        try:
            video = self._idle[frame.format].pop()
        except LookupError:
            return to_picture(frame)
        video.make_writable()  # some encoders still refer to it
        return _fill(video, frame)

    def give_back(self, picture: Picture) -> None:
        """Nobody may use the picture any more."""
        self._idle.setdefault(picture.frame.format, []).append(picture.video)


def _fill(video: av.VideoFrame, frame: Frame) -> Picture:
    views = []
    for plane, samples in zip(video.planes, frame.planes, strict=True):
        height, width = samples.shape
        rows = np.frombuffer(memoryview(plane), frame.format.dtype).reshape(height, -1)  # (height, width + padding)
        view = rows[:, :width]
        view[...] = samples
        views.append(view)
    return Picture(video, Frame(frame.pts, frame.format, tuple(views)))
