"""Where a stage's replicas are: a fixed list, the addresses behind a DNS name, or Kubernetes' EndpointSlices."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from services.runtime.config import ConfigError

_LOOK_SECONDS = 1.0  # between looks at a DNS name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica. `address`: "host:port". One that drains finishes what it has and is given nothing more."""

    address: str
    draining: bool = False
    zone: str = ""
    pod: str = ""


class Discovery(Protocol):
    def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
        """All replicas, at once and again whenever they change; ends only for a set that never changes."""
        ...


def find_discovery(target: str, variable: str = "the address") -> Discovery:
    """What a target means.

    "host:port,host:port" is a fixed list, "dns:host:port" every address of a name, "kubernetes:service:port" or
    "kubernetes:namespace/service:port" the pods behind a Service. Raises ConfigError, naming the variable.
    """
    kind, separator, rest = target.partition(":")
    if kind == "dns" and rest.count(":"):
        return NamedHosts(*_split(rest, variable))
    if kind == "kubernetes" and rest.count(":"):
        from services.orchestrator.slices import EndpointSlices  # a heavy import, for clusters only

        service, port = _split(rest, variable)
        namespace, _, name = service.rpartition("/")
        return EndpointSlices(name, port, namespace)
    if not separator:
        raise ConfigError(f"{variable}={target!r}: host:port is wanted")
    return FixedList([":".join(map(str, _split(address, variable))) for address in target.split(",")])


def _split(address: str, variable: str) -> tuple[str, int]:
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{variable}: {address!r} is not host:port")
    return host, int(port)


class FixedList:
    """Replicas that are always the same."""

    def __init__(self, addresses: list[str]) -> None:
        self._endpoints = frozenset(map(Endpoint, addresses))

    async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
        yield self._endpoints


class NamedHosts:
    """Every address that a name has: of a headless Service, or a round-robin record."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
        before: frozenset[Endpoint] | None = None
        while True:
            found = await self._resolve()
            if found != before:
                yield found
                before = found
            await asyncio.sleep(_LOOK_SECONDS)

    async def _resolve(self) -> frozenset[Endpoint]:
        """No address is an answer too: a headless Service without ready pods has none."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
                return frozenset()
            raise
        return frozenset(Endpoint(join_address(str(address[0]), self._port)) for *_, address in found)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
