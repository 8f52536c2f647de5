"""The decoder's configuration, from DECODER_... variables."""

from dataclasses import dataclass
from pathlib import Path

from services.runtime.config import ServerConfig


@dataclass(frozen=True)
class DecoderConfig:
    store: Path  # the artifact store's folder, as the orchestrator's; only read
    artifacts: str = ""  # the bucket of the artifacts, as the orchestrator's; the folder then holds copies
    cache_bytes: int = 50 << 30  # about how large the copies may grow
    engine: str = "pyav"  # by name; one that is unknown fails the start and lists those there are
    hardware: bool = True  # an NVIDIA card decodes where there is one, as exactly as software; false: never
    server: ServerConfig = ServerConfig(port=50051)
