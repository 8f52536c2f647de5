"""The restorer's configuration, from RESTORER_... variables."""

from dataclasses import dataclass

from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class RestorerConfig:
    engine: str = "classic"  # by name; one that is unknown fails the start and lists those there are
    server: ServerConfig = ServerConfig(port=50054)
