"""Decoder engines: a file in, facts, frames and sound out."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from services.runtime.config import ConfigError
from services.runtime.engine import EngineInfo
from services.runtime.frames import ContentLight, Frame, FrameFormat, MasteringDisplay


class MediaKind(IntEnum):
    """As `MediaInfo.Kind` in decoder.proto, number for number."""

    VIDEO = 1
    PHOTO = 2
    AUDIO = 3


@dataclass(frozen=True, slots=True)
class VideoFacts:
    codec: str
    format: FrameFormat  # of the frames that decode_frames delivers: upright, even-sized, whole
    frame_rate: Fraction  # mean, frames per second
    variable_frame_rate: bool
    frame_count: int  # counted from packets
    time_base: Fraction  # seconds
    start_time: Fraction  # seconds
    rotation: int  # clockwise degrees applied: 0, 90, 180, 270
    sample_aspect_ratio: Fraction
    mirrored: bool = False  # left and right are exchanged before the turn
    interlaced: bool = False  # coded as fields; delivered as whole frames
    alpha: bool = False  # transparency, which is not delivered
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None


@dataclass(frozen=True, slots=True)
class AudioFacts:
    codec: str
    sample_rate: int  # hertz
    channels: int
    duration: Fraction  # seconds
    start_time: Fraction  # seconds


@dataclass(frozen=True, slots=True)
class Advice:
    code: str  # UPPER_SNAKE, stable
    message: str


@dataclass(frozen=True, slots=True)
class MediaFacts:
    kind: MediaKind
    container: str
    duration: Fraction | None  # seconds; None for a photo
    size_bytes: int
    bit_rate: int  # bits per second, 0 when not known
    video: VideoFacts | None
    audio: AudioFacts | None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameStream:
    """Frames of one format in presentation order, decoded as they are asked for; close() it to stop early."""

    format: FrameFormat
    time_base: Fraction  # seconds
    frames: Iterator[Frame]


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """`samples`: (n, channels) float32, nominal range -1 to 1. `first_sample` counts from time 0 of the source."""

    first_sample: int
    sample_rate: int
    samples: np.ndarray


class Engine(Protocol):
    """All methods raise Refusal: NOT_MEDIA, TRUNCATED_MEDIA, UNSUPPORTED_MEDIA, NO_VIDEO, NO_AUDIO, EMPTY_AUDIO."""

    info: EngineInfo

    def inspect(self, path: Path) -> MediaFacts: ...

    def decode_frames(self, path: Path, start: Fraction | None, end: Fraction | None) -> FrameStream:
        """Frames with start <= presentation time < end, in seconds."""
        ...

    def decode_audio(self, path: Path, sample_rate: int | None, channels: int | None) -> Iterator[AudioBlock]:
        """The sound from time 0 to its end, gap-free; None keeps the source's own rate or channels."""
        ...


def load_engine(name: str, hardware: bool = False) -> Engine:
    """`hardware`: a graphics card decodes where there is one. Raises ConfigError for a name that is no engine."""
    match name:
        case "pyav":
            from services.decoder.engines._device import find_device  # heavy imports only when chosen
            from services.decoder.engines.pyav import PyAVDecoder

            return PyAVDecoder(find_device() if hardware else None)
        case _:
            raise ConfigError(f"DECODER_ENGINE={name!r}: the decoder engines are: pyav")
