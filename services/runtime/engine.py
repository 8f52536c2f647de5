"""What every engine tells about itself, and how one of several is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model file an engine has loaded. `license` is an SPDX identifier."""

    name: str
    sha256: str
    license: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """`version` changes whenever the engine's results may change: caches are keyed by it.

    `whole_face`: crops must show the whole face; else its lower half is enough.
    """

    name: str
    version: str
    models: tuple[ModelInfo, ...] = ()
    whole_face: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose work it is where several want one device: a higher priority goes first, within one callers take turns."""

    name: str = ""
    priority: int = 0


ANYBODY = Caller()


class Described(Protocol):
    @property
    def info(self) -> EngineInfo: ...


Engine = TypeVar("Engine", bound=Described)


def choose_engine(wanted: str, engines: Sequence[Engine]) -> Engine:
    """The engine of that name, the first for an empty one. Raises Refusal UNKNOWN_ENGINE with the names there are."""
    for engine in engines:
        if wanted in ("", engine.info.name):
            return engine
    names = ", ".join(engine.info.name for engine in engines)
    raise Refusal("UNKNOWN_ENGINE", f"no engine {wanted!r} here; there is: {names}", engines=names)


def split_names(names: str) -> list[str]:
    """The engines that a variable lists, separated by commas. Raises ConfigError for none, or one named twice."""
    split = [name.strip() for name in names.split(",") if name.strip()]
    if not split or len(set(split)) != len(split):
        raise ConfigError(f"ENGINE={names!r} must name engines, each once, separated by commas")
    return split
