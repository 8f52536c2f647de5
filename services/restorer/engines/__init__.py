"""Restorer engines: face crops in, better face crops out. What one batch leaves to the next is the caller's to keep."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from services.restorer.config import RestorerConfig
from services.runtime.config import ConfigError
from services.runtime.engine import ANYBODY, Caller, EngineInfo, split_names
from services.runtime.faces import Crop


@dataclass
class Past:
    """The last frames of one face, from which the next batch goes on. Engines fill it; a new one knows nothing.

    frames (n,) int64; points (n, 5, 2), crop pixels; trust (n,), 0 to 1: how far the network was believed.
    """

    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 5, 2)))
    trust: np.ndarray = field(default_factory=lambda: np.zeros(0))


class Engine(Protocol):
    info: EngineInfo

    def restore(
        self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY, past: Past | None = None
    ) -> list[Crop]:
        """Crops (RGBA) with their replaced part bettered; same sizes, order and A. `strength`: 0 (unchanged) to 1.

        `past`: of the one face that the crops show, in order of frames; None: they stand by themselves.
        """
        ...


def load_engines(config: RestorerConfig) -> list[Engine]:
    """Loaded and warmed. Raises ConfigError for a name that is no engine, Refusal for a model that cannot be used."""
    return [load_engine(name, config) for name in split_names(config.engine)]


def load_engine(name: str, config: RestorerConfig | None = None) -> Engine:
    """As load_engines, one of them."""
    config = config or RestorerConfig()
    match name:
        case "classic":
            from services.restorer.engines.classic import ClassicRestorer  # heavy imports only when chosen

            return ClassicRestorer()
        case "gfpgan":
            from services.restorer.engines.neural import load_gfpgan

            return load_gfpgan(config)
        case "codeformer":
            from services.restorer.engines.neural import load_codeformer

            return load_codeformer(config)
        case _:
            raise ConfigError(f"RESTORER_ENGINE={name!r}: the restorer engines are: classic, gfpgan, codeformer")
