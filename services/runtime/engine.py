"""What every engine tells about itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model file an engine has loaded. `license` is an SPDX identifier."""

    name: str
    sha256: str
    license: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """`version` changes whenever the engine's results may change: caches are keyed by it."""

    name: str
    version: str
    models: tuple[ModelInfo, ...] = ()
