"""Starts, announces, drains and stops a service. The same for every stage."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import threading
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
from services.runtime.process import keep_large_blocks, set_up_logging, stay_in_own_thread
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


class _Loading(grpc.GenericRpcHandler):
    """Refuses all calls but those for health until the servicer is there: they are for another replica."""

    def __init__(self) -> None:
        self.is_over = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if self.is_over or handler_call_details.method.startswith("/grpc."):
            return None
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, requests: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        raise Refusal("SERVICE_UNAVAILABLE", "this replica is still loading its models")
        yield  # a stream that never has anything


class Listener:
    """A server that is there but not ready: its health is NOT_SERVING. `offer` makes it serve."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._loading = _Loading()
        self._server = grpc.aio.server(interceptors=[CallInterceptor()], options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._health_server: grpc.aio.Server | None = None
        self.port = 0

    async def listen(self) -> None:
        """Port 0 takes a free one. Raises ConfigError when the port is taken."""
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_a_trace)
        config = self._config
        self._server.add_generic_rpc_handlers((self._loading,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        credentials = make_server_credentials(config) if config.tls_certificate else None
        self.port = _add_port(self._server, config.host, config.port, credentials)
        if config.health_port:
            self._health_server = grpc.aio.server(options=SERVER_OPTIONS)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._health_server)
            _add_port(self._health_server, config.host, config.health_port, None)
            await self._health_server.start()
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    async def offer(self, servicer: Servicer) -> RunningServer:
        """Ready: health is SERVING."""
        servicer.register(self._server)
        names = (servicer.service_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._loading.is_over = True
        for name in ("", servicer.service_name):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        READY.set(1)
        return RunningServer(self._server, self._health, self.port, self._health_server)

    async def close(self) -> None:
        await self._server.stop(0)
        if self._health_server is not None:
            await self._health_server.stop(0)


async def start(servicer: Servicer, config: ServerConfig) -> RunningServer:
    """A server whose health is SERVING. Port 0 takes a free one. Raises ConfigError when the port is taken."""
    listener = Listener(config)
    await listener.listen()
    return await listener.offer(servicer)


def _add_port(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
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


def serve(stage: str, config_class: type[Any], load: Callable[[Any], Servicer], in_loop: bool = False) -> None:
    """Runs a stage until SIGTERM or SIGINT; exits 1 with one clear line when it cannot start.

    `config_class` has a field `server`; variables begin with the stage's name: DETECTOR_PORT. `load` makes the
    servicer, with its engine loaded and warmed, while the server already tells that it is not ready: building an engine
    can take minutes. `in_loop`: load in the event loop, which channels belong to.
    """
    keep_large_blocks()
    stay_in_own_thread()
    set_up_logging(stage)
    set_up_tracing(stage)
    try:
        config = read_env(config_class, prefix=f"{stage.upper()}_")
        serve_metrics(config.server.host, config.server.metrics_port)
        asyncio.run(_serve(load, config, in_loop))
    except (ConfigError, Refusal) as error:
        _log.error("cannot start", error=str(error))
        with contextlib.suppress(OSError):
            if _TERMINATION_LOG.exists():
                _TERMINATION_LOG.write_text(str(error))
        sys.exit(1)


async def _serve(load: Callable[[Any], Servicer], config: Any, in_loop: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listener = Listener(config.server)
    await listener.listen()
    try:
        servicer = load(config) if in_loop else await _load_aside(load, config, stopping)
    except BaseException:
        await listener.close()
        raise
    if servicer is None:
        await listener.close()
        _log.info("stopped")
        return
    gc.collect()
    gc.freeze()  # modules and engines stay: looking through them takes a tenth of a second, in which no call is served
    async with servicer.background():
        running = await listener.offer(servicer)
        _log.info("serving", host=config.server.host, port=running.port)
        await stopping.wait()
        _log.info("draining", grace=config.server.grace)
        await running.stop(config.server.grace)
    _log.info("stopped")


async def _load_aside(load: Callable[[Any], Servicer], config: Any, stopping: asyncio.Event) -> Servicer | None:
    """What `load` makes in a thread of its own; None when the process is to stop before, which waits for no engine."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[Servicer] = loop.create_future()

    def settle(servicer: Servicer | None, error: BaseException | None) -> None:
        if not loaded.done():
            loaded.set_exception(error) if error else loaded.set_result(servicer)  # type: ignore[arg-type]

    def work() -> None:
        servicer, failure = None, None
        try:
            servicer = load(config)
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, servicer, failure)

    threading.Thread(target=work, name="load", daemon=True).start()
    stop = asyncio.create_task(stopping.wait())
    waited: list[asyncio.Future[Any]] = [loaded, stop]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    return loaded.result() if loaded.done() else None
