"""The restorer's configuration, from RESTORER_... variables."""

from dataclasses import dataclass

from services.runtime.backends import BackendConfig
from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class RestorerConfig:
    engine: str = "classic"  # or several, separated by commas; the first serves those who name none
    gfpgan_model: str = "gfpgan-v1.4"  # as models.toml names it
    codeformer_model: str = "codeformer"  # as models.toml names it
    parsing_model: str = ""  # tells faces from what covers them, as models.toml names it; empty: none
    fidelity: float = 0.5  # of codeformer: 0 trusts the codebook alone, 1 keeps most of the input
    allow_noncommercial: bool = False  # models whose licence forbids commercial use may be loaded
    network: BackendConfig = BackendConfig()
    server: ServerConfig = ServerConfig(port=50054)
