"""Configuration: frozen dataclasses read from the environment. A bad value names its variable."""

import os
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

Config = TypeVar("Config")

# One limit for every channel and server. Batches stay far below it; a single frame cannot: 8K 4:2:2 at 10 bits has
# 133 MB. Unit: bytes.
MAX_MESSAGE_BYTES = 160 * 1024 * 1024


class ConfigError(Exception):
    """A variable has a value that cannot be used."""


@dataclass(frozen=True)
class ServerConfig:
    port: int  # where it serves; 0 takes a free one
    host: str = "127.0.0.1"  # the address it listens on; 0.0.0.0 for all
    grace: float = 30.0  # seconds that running calls get after SIGTERM
    metrics_port: int = 0  # where Prometheus may ask, over HTTP; 0: nowhere
    tls_certificate: str = ""  # PEM file of its certificate and those that signed it; empty: it speaks no TLS
    tls_key: str = ""  # PEM file of that certificate's private key
    tls_client_ca: str = ""  # PEM file: who must have signed the certificates of those who call; empty: all may call
    health_port: int = 0  # where it tells its health and nothing else, without TLS, for Kubernetes' probes; 0: nowhere

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            missing, given = ("TLS_KEY", "certificate") if self.tls_certificate else ("TLS_CERTIFICATE", "key")
            raise ConfigError(f"{missing} is not set: the {given} is nothing without it")
        if self.tls_client_ca and not self.tls_certificate:
            raise ConfigError("TLS_CERTIFICATE is not set: only a server with one can ask others for theirs")


def read_env(config: type[Config], prefix: str, environ: Mapping[str, str] = os.environ) -> Config:
    """The dataclass with each field taken from PREFIX + FIELD where set. Nested dataclasses share the prefix.

    Raises ConfigError naming the variable.
    """
    types = typing.get_type_hints(config)
    values: dict[str, Any] = {}
    for field in fields(config):  # type: ignore[arg-type]
        kind, name = types[field.name], f"{prefix}{field.name.upper()}"
        if is_dataclass(kind):
            default = None if field.default is MISSING else field.default
            values[field.name] = _read_nested(kind, prefix, environ, default)
        elif name in environ:
            values[field.name] = _cast(kind, name, environ[name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{name} is not set")
    return config(**values)


def _read_nested(kind: Any, prefix: str, environ: Mapping[str, str], default: Any) -> Any:
    types = typing.get_type_hints(kind)
    values = {field.name: getattr(default, field.name) for field in fields(kind)} if default is not None else {}
    for field in fields(kind):
        name = f"{prefix}{field.name.upper()}"
        if name in environ:
            values[field.name] = _cast(types[field.name], name, environ[name])
    try:
        return kind(**values)
    except ConfigError as error:  # its message begins with the field
        raise ConfigError(f"{prefix}{error}") from error


def _cast(kind: Any, name: str, text: str) -> Any:
    try:
        if kind is bool:
            return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
        if kind in (int, float, str, Path):
            return kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{name}={text!r} is not {_NOUN[kind]}") from error
    raise TypeError(f"{name}: no way to read a {kind}")


_NOUN = {bool: "true or false", int: "a whole number", float: "a number"}
