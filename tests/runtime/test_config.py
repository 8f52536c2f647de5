"""Configuration from the environment."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from services.runtime.config import ConfigError, ServerConfig, read_env


@dataclass(frozen=True)
class Config:
    folder: Path
    threads: int = 2
    score: float = 0.5
    strict: bool = False
    server: ServerConfig = ServerConfig(port=50051)


def test_defaults_hold_where_nothing_is_set() -> None:
    config = read_env(Config, "X_", {"X_FOLDER": "data"})
    assert config == Config(Path("data"))


def test_every_field_has_a_variable() -> None:
    environ = {
        "X_FOLDER": "a",
        "X_THREADS": "3",
        "X_SCORE": "0.25",
        "X_STRICT": "true",
        "X_PORT": "1",
        "X_HOST": "::1",
        "X_GRACE": "2.5",
        "Y_THREADS": "9",
    }
    assert read_env(Config, "X_", environ) == Config(Path("a"), 3, 0.25, True, ServerConfig(1, "::1", 2.5))


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="X_FOLDER is not set"):
        read_env(Config, "X_", {})


@pytest.mark.parametrize(
    ("name", "value"), [("X_THREADS", "two"), ("X_SCORE", ""), ("X_STRICT", "yes?"), ("X_PORT", "x")]
)
def test_a_bad_value_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value!r}".replace("?", r"\?")):
        read_env(Config, "X_", {"X_FOLDER": "a", name: value})
