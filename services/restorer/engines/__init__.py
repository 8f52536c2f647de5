"""Restorer engines: face crops in, better face crops out. Stateless."""

from collections.abc import Sequence
from typing import Protocol

from services.runtime.config import ConfigError
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop


class Engine(Protocol):
    info: EngineInfo

    def restore(self, crops: Sequence[Crop], strength: float) -> list[Crop]:
        """Crops (RGBA) with their replaced part bettered; same sizes, order and A. `strength`: 0 (unchanged) to 1."""
        ...


def load_engine(name: str) -> Engine:
    """Loaded and warmed. Raises ConfigError for a name that is no engine."""
    match name:
        case "classic":
            from services.restorer.engines.classic import ClassicRestorer  # heavy imports only when chosen

            return ClassicRestorer()
        case _:
            raise ConfigError(f"RESTORER_ENGINE={name!r}: the restorer engines are: classic")
