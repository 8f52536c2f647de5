"""Lipsync engines: face crops and speech in, face crops whose lips say it out.

An engine works in three steps that share nothing but the blobs they hand on: prepare (once per source), plan (once per
job), render (any run of output frames, alike whoever does it). Speech is 16000 Hz mono float32 throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from services.lipsync.config import LipsyncConfig
from services.runtime.blobs import Blob
from services.runtime.config import ConfigError
from services.runtime.engine import ANYBODY, Caller, EngineInfo, split_names
from services.runtime.faces import Crop
from services.runtime.refusal import Refusal

SPEECH_RATE = 16000  # hertz


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    time_base: Fraction  # unit of the crops' pts, seconds
    crop_scale: float  # crop pixels per source pixel, above 0, to 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was learned from a source. `blob` is versioned by its engine and at most 64 MiB."""

    blob: Blob
    candidates: int  # mouths kept
    fitted: bool  # the source's own speech taught the engine this person's mouth
    fit_correlation: float  # on a part kept out of the fit; 0 when not fitted
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """The face in one output frame; `landmarks` (468, 3) in pixels of that frame's crop, None: no usable face."""

    frame: int
    pts: int
    source_frame: int
    landmarks: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Expression:
    """How the person is to speak. Raises Refusal INVALID_OPTION for a value out of range."""

    mouth_intensity: float = 1.0  # how far the mouth goes from rest, 0.5 to 1.5
    smoothing: float = 0.2  # how calmly it moves: 0 follows every sound at once, to 1
    closure_strength: float = 0.5  # how readily lips are pressed shut that are likely to close: 0 never, 1 on a hint
    padding: float = 1.0  # how far the new part reaches round mouth and jaw, 0.5 to 1.5

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # nor is a NaN
                raise Refusal("INVALID_OPTION", f"{name} is {value:g}; the range is {low:g} to {high:g}", field=name)


_RANGES = {"mouth_intensity": (0.5, 1.5), "smoothing": (0, 1), "closure_strength": (0, 1), "padding": (0.5, 1.5)}
USUAL = Expression()


@dataclass(frozen=True, slots=True)
class Mouth:
    """One face at one time; `landmarks` (468, 3). The same number means the same mouth."""

    mouth: int
    pts: int
    landmarks: np.ndarray


@dataclass(frozen=True, slots=True)
class VoiceMatch:
    """How well a mouth fits a sound: `score` -1 to 1, from `seconds` of speech heard while it was seen."""

    mouth: int
    seconds: float
    score: float


class Preparation(Protocol):
    """Call add_speech and add_crops as material comes, each in order of time, then finish once."""

    def add_speech(self, samples: np.ndarray) -> None:
        """The next samples of the source's own sound, from time 0 on. (n,) float32."""
        ...

    def add_crops(self, crops: Sequence[Crop]) -> None: ...

    def finish(self) -> Prepared: ...


class Planning(Protocol):
    """Call add_speech and add_track as material comes, each in order, then finish once."""

    def add_speech(self, samples: np.ndarray) -> None:
        """The next samples of the speech to say, from time 0 of the output on. (n,) float32."""
        ...

    def add_track(self, points: Sequence[TrackPoint]) -> None: ...

    def finish(self) -> Blob:
        """The plan, versioned by its engine."""
        ...


class Rendering(Protocol):
    """Stateless over its plan: what comes out for a frame depends on that frame and the plan alone."""

    def sync_batch(self, crops: Sequence[Crop], caller: Caller = ANYBODY) -> list[Crop | Refusal]:
        """Each crop (RGB in) with its new mouth (RGBA out) and its outcome, or why it could not be done; in order."""
        ...


class Matching(Protocol):
    """Call add_speech and add_mouths as material comes, each in order of time, then finish once."""

    def add_speech(self, samples: np.ndarray) -> None:
        """The next samples of the sound, from time 0 on. (n,) float32."""
        ...

    def add_mouths(self, mouths: Sequence[Mouth]) -> None: ...

    def finish(self) -> list[VoiceMatch]:
        """One for each mouth, in the order in which they first came."""
        ...


class Engine(Protocol):
    """open_* raise Refusal BLOB_UNUSABLE for bytes of another engine or version, or damaged ones."""

    info: EngineInfo

    def open_preparation(self, settings: PrepareSettings) -> Preparation: ...

    def open_planning(
        self, prepared: Blob, frame_count: int, time_base: Fraction, expression: Expression = USUAL
    ) -> Planning: ...

    def open_rendering(self, prepared: Blob, plan: Blob, expression: Expression = USUAL) -> Rendering: ...

    def open_matching(self, time_base: Fraction) -> Matching:
        """`time_base`: unit of the mouths' pts, seconds."""
        ...


def check_track(points: int, frame_count: int) -> None:
    """Raises Refusal INVALID_BATCH unless a planning got one TrackPoint for each output frame."""
    if points != frame_count:
        message = f"The job has {frame_count} output frames and the track {points}; send one point each."
        raise Refusal("INVALID_BATCH", message, frame_count=frame_count, points=points)


def load_engines(config: LipsyncConfig) -> list[Engine]:
    """Loaded and warmed. Raises ConfigError for a name that is no engine, Refusal for a model that cannot be used."""
    return [load_engine(name, config) for name in split_names(config.engine)]


def load_engine(name: str, config: LipsyncConfig | None = None) -> Engine:
    """As load_engines, one of them."""
    match name:
        case "rewrite":
            from services.lipsync.engines.rewrite import RewriteEngine  # heavy imports only when chosen

            return RewriteEngine()
        case "wav2lip":
            from services.lipsync.engines.wav2lip import load_wav2lip

            return load_wav2lip(config or LipsyncConfig())
        case _:
            raise ConfigError(f"LIPSYNC_ENGINE={name!r}: the lipsync engines are: rewrite, wav2lip")
