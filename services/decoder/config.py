"""The decoder's configuration, from DECODER_... variables."""

from dataclasses import dataclass
from pathlib import Path

from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class DecoderConfig:
    store: Path  # the artifact store's folder, as the orchestrator's; only read
    engine: str = "pyav"  # by name; one that is unknown fails the start and lists those there are
    server: ServerConfig = ServerConfig(port=50051)
