"""The lipsync's configuration, from LIPSYNC_... variables."""

from dataclasses import dataclass

from services.runtime.backends import BackendConfig
from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class LipsyncConfig:
    engine: str = "rewrite"  # or several, separated by commas; the first serves those who name none
    wav2lip_model: str = "wav2lip-gan"  # as models.toml names it
    allow_noncommercial: bool = False  # models whose licence forbids commercial use may be loaded
    network: BackendConfig = BackendConfig()
    server: ServerConfig = ServerConfig(port=50053)
