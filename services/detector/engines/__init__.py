"""Detector engines: pictures in, faces out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.detector.config import DetectorConfig
from services.runtime.config import ConfigError
from services.runtime.engine import EngineInfo, split_names
from services.runtime.faces import Face

if TYPE_CHECKING:
    from services.detector.engines._identity import Recognizer


@dataclass(frozen=True)
class TrackSettings:
    """See DetectOpen in detector.proto. Sizes are (width, height) in pixels."""

    view_size: tuple[int, int]
    source_size: tuple[int, int]
    redetect_interval: int = 25  # frames
    min_score: float = 0.5
    max_faces: int = 8
    tile_overlap: int = 200  # pixels of the view


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """`cut`: the picture changed as at a cut, all tracks ended before it. Faces, largest first, in source pixels."""

    cut: bool
    faces: list[Face]


class Tracker(Protocol):
    """The faces of one video over time; one per stream."""

    def track(self, view: np.ndarray) -> TrackedFrame:
        """The faces in the next frame. `view`: (height, width, 3) uint8 RGB of the size in the settings."""
        ...


class Engine(Protocol):
    info: EngineInfo

    def open_tracker(self, settings: TrackSettings) -> Tracker: ...

    def landmark(self, crop: np.ndarray, rough: np.ndarray | None) -> tuple[float, np.ndarray] | None:
        """Score and mesh (468, 3) of the one face in a crop (height, width, 3) uint8 RGB, in crop pixels.

        `rough`: a mesh (468, 3) in crop pixels that says about where the face is; None: it fills the crop.
        """
        ...


def load_engines(config: DetectorConfig) -> list[Engine]:
    """Loaded and warmed. Raises ConfigError for a name that is no engine, Refusal for a model that cannot be used."""
    names = split_names(config.engine)
    recognizer = None
    if config.arcface_model:
        from services.detector.engines._identity import load_recognizer

        recognizer = load_recognizer(config)
    return [load_engine(name, config.threads, config, recognizer) for name in names]


def load_engine(
    name: str, threads: int, config: DetectorConfig | None = None, recognizer: "Recognizer | None" = None
) -> Engine:
    """As load_engines, one of them."""
    match name:
        case "blazeface":
            from services.detector.engines.blazeface import BlazeFace  # heavy imports only when chosen

            return BlazeFace(threads, recognizer=recognizer)
        case "retinaface":
            from services.detector.engines.retinaface import load_retinaface

            return load_retinaface(config or DetectorConfig(threads=threads), recognizer)
        case "scrfd":
            from services.detector.engines.scrfd import load_scrfd

            return load_scrfd(config or DetectorConfig(threads=threads), recognizer)
        case _:
            raise ConfigError(f"DETECTOR_ENGINE={name!r}: the detector engines are: blazeface, retinaface, scrfd")
