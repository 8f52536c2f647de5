"""The detector's configuration, from DETECTOR_... variables."""

from dataclasses import dataclass

from services.runtime.backends import BackendConfig
from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class DetectorConfig:
    engine: str = "blazeface"  # or several, separated by commas; the first serves those who name none
    retinaface_model: str = "retinaface-mobilenet"  # as models.toml names it
    scrfd_model: str = "scrfd"  # as models.toml or a manifest of your own names it
    arcface_model: str = ""  # tells persons apart, as models.toml names it; empty: none
    allow_noncommercial: bool = False  # models whose licence forbids commercial use may be loaded
    network: BackendConfig = BackendConfig()
    threads: int = 2  # of one inference
    server: ServerConfig = ServerConfig(port=50052)
