"""Starts, announces, drains and stops a service. The same for every stage."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.runtime.channel import SERVER_OPTIONS
from services.runtime.config import ConfigError, ServerConfig, read_env
from services.runtime.interceptors import CallInterceptor
from services.runtime.metrics import READY, serve_metrics
from services.runtime.process import keep_large_blocks, set_up_logging
from services.runtime.refusal import Refusal
from services.runtime.tls import make_server_credentials
from services.runtime.tracing import set_up_tracing

_log = structlog.get_logger("server")
_TERMINATION_LOG = Path("/dev/termination-log")  # Kubernetes shows its text in `kubectl describe pod`


class Servicer(Protocol):
    """A generated servicer with its engine loaded and warmed."""

    service_name: str  # fully qualified

    def register(self, server: grpc.aio.Server) -> None:
        """Calls the generated add_..._to_server."""
        ...

    def background(self) -> contextlib.AbstractAsyncContextManager[None]:
        """What runs beside the calls for as long as the service serves."""
        ...


@dataclass(frozen=True)
class RunningServer:
    server: grpc.aio.Server
    health: health.aio.HealthServicer
    port: int
    health_server: grpc.aio.Server | None

    async def stop(self, grace: float) -> None:
        """Says NOT_SERVING, lets running calls end within `grace` seconds, then stops."""
        READY.set(0)
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace)
        if self.health_server is not None:  # last: probes are answered while calls end
            await self.health_server.stop(0)


async def start(servicer: Servicer, config: ServerConfig) -> RunningServer:
    """A server whose health is SERVING. Port 0 takes a free one. Raises ConfigError when the port is taken."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_trace)
    server = grpc.aio.server(interceptors=[CallInterceptor()], options=SERVER_OPTIONS)
    servicer.register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((servicer.service_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    credentials = make_server_credentials(config) if config.tls_certificate else None
    port = _listen(server, config.host, config.port, credentials)
    health_server = None
    if config.health_port:
        health_server = grpc.aio.server(options=SERVER_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, health_server)
        _listen(health_server, config.host, config.health_port, None)
        await health_server.start()
    await server.start()
    for name in ("", servicer.service_name):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    READY.set(1)
    return RunningServer(server, health_servicer, port, health_server)


def _listen(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    address = f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {address}: is another process using it?") from error


def _is_worth_a_trace(record: logging.LogRecord) -> bool:
    """Not what gRPC says when a client goes away while it is being written to: the call's own line tells."""
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


class Plain:
    """Base of servicers that run nothing beside their calls."""

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        yield


def serve(stage: str, config_class: type[Any], load: Callable[[Any], Servicer]) -> None:
    """Runs a stage until SIGTERM or SIGINT; exits 1 with one clear line when it cannot start.

    `config_class` has a field `server`; variables begin with the stage's name: DETECTOR_PORT. `load` makes the
    servicer, with its engine loaded and warmed.
    """
    keep_large_blocks()
    set_up_logging(stage)
    set_up_tracing(stage)
    try:
        config = read_env(config_class, prefix=f"{stage.upper()}_")
        serve_metrics(config.server.host, config.server.metrics_port)
        asyncio.run(_serve(load, config))
    except (ConfigError, Refusal) as error:
        _log.error("cannot start", error=str(error))
        with contextlib.suppress(OSError):
            if _TERMINATION_LOG.exists():
                _TERMINATION_LOG.write_text(str(error))
        sys.exit(1)


async def _serve(load: Callable[[Any], Servicer], config: Any) -> None:
    servicer = load(config)  # on the loop, which channels belong to; nothing is served yet that it could hold up
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with servicer.background():
        running = await start(servicer, config.server)
        _log.info("serving", host=config.server.host, port=running.port)
        await stopping.wait()
        _log.info("draining", grace=config.server.grace)
        await running.stop(config.server.grace)
    _log.info("stopped")
