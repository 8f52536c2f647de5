"""The lipsync's configuration, from LIPSYNC_... variables."""

from dataclasses import dataclass

from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class LipsyncConfig:
    engine: str = "rewrite"  # by name; one that is unknown fails the start and lists those there are
    server: ServerConfig = ServerConfig(port=50053)
