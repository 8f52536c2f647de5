"""The detector's configuration, from DETECTOR_... variables."""

from dataclasses import dataclass

from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class DetectorConfig:
    engine: str = "blazeface"  # by name; one that is unknown fails the start and lists those there are
    threads: int = 2  # of one inference
    server: ServerConfig = ServerConfig(port=50052)
