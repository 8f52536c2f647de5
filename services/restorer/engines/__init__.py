"""Restorer engines: face crops in, better face crops out. What becomes of a crop depends on that crop alone."""

from collections.abc import Sequence
from typing import Protocol

from services.restorer.config import RestorerConfig
from services.runtime.config import ConfigError
from services.runtime.engine import ANYBODY, Caller, EngineInfo, split_names
from services.runtime.faces import Crop


class Engine(Protocol):
    info: EngineInfo

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        """Crops (RGBA) with their replaced part bettered; same sizes, order and A. `strength`: 0 (unchanged) to 1."""
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
