"""Frames -> H.264 segments; segments and speech -> the finished MP4. Pictures are encoded once and never touched again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from services.orchestrator.artifacts import publish_file, refuse_full_disk
from services.orchestrator.timeline import Timeline
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal

AUDIO_BIT_RATE = 96_000  # bits per second and channel
AUDIO_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # hertz, of AAC

# Says to people and machines what the file is. Tag names are MP4's own, which every player shows.
AI_LABEL: Mapping[str, str] = {
    "comment": "AI-generated: the lip movements in this video were made by software (Syncline).",
    "description": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "keywords": "AI-generated",
}

_PIXEL_FORMATS = {
    PixelFormat.YUV420P: "yuv420p",
    PixelFormat.YUV422P: "yuv422p",
    PixelFormat.YUV444P: "yuv444p",
    PixelFormat.YUV420P10: "yuv420p10le",
    PixelFormat.YUV422P10: "yuv422p10le",
    PixelFormat.YUV444P10: "yuv444p10le",
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


@contextmanager
def _publish(path: Path) -> Iterator[Path]:
    """A name to write to that becomes `path` when the block ends well and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with refuse_full_disk():
            yield temporary
            publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
