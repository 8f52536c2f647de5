"""The settings of every channel and call of the client, in one place."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from syncline.errors import Cancelled, InternalError, ServiceUnavailable, SynclineError, from_rpc_error
from syncline.types import Tls
from syncline.v1 import orchestrator_pb2_grpc

# A server that does not answer a ping is gone. The ping timeout is what ends the connection: keepalive_timeout_ms has
# no effect in gRPC Python. Servers of Syncline accept a ping every 10 s.
_LIVENESS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_LIMITS = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
]
# gRPC's own pause before it connects again grows to two minutes; a restarted server should be found at once.
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # also the time a connection attempt gets
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
# gRPC retries no streams and hides what it does to the rest; the client retries by itself.
CHANNEL_OPTIONS: list[tuple[str, int]] = [*_LIVENESS, *_LIMITS, *_RECONNECT, ("grpc.enable_retries", 0)]

# Retrying after errors that can pass. Ten attempts without any news take about 25 s.
ATTEMPTS = 10
PAUSES = {"wait_initial": 0.1, "wait_max": 5.0, "wait_jitter": 0.5}  # seconds

# A stream is ended and taken up again after this time, so that one that hangs does not hang for ever. Unit: seconds.
STREAM_SECONDS = 1800.0
# What grpc.aio makes of a call that ended while a message was being sent; how it ended is lost.
_NOT_SENT = "Internal error from Core"


def read_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Of the files as they are now. Raises OSError."""
    names = (tls.root_certificates, tls.key, tls.certificate)
    return grpc.ssl_channel_credentials(*(None if name is None else Path(name).read_bytes() for name in names))


# What gRPC itself says of a message that was sent when the call had just ended.
_WRITTEN_TOO_LATE = "Internal error from Core"


def make_stub(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    stub: Any = orchestrator_pb2_grpc.OrchestratorServiceStub  # generated without types
    return stub(channel)


def _caller_trace() -> list[tuple[str, str]]:
    """The caller's own span as W3C headers, where the caller traces with OpenTelemetry."""
    try:
        from opentelemetry import propagate
    except ImportError:
        return []
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return list(carrier.items())


@contextlib.contextmanager
def call_span(method: str) -> Iterator[None]:
    """A span of the caller's trace around a call with all its retries, where the caller traces with OpenTelemetry."""
    try:
        from opentelemetry import trace
    except ImportError:
        yield
        return
    tracer = trace.get_tracer("syncline")
    name = f"syncline.v1.OrchestratorService/{method}"
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT):
        yield


def make_metadata(tenant: str, job: str = "") -> list[tuple[str, str]]:
    """The keys that servers log or go by. Each call has its own request id."""
    keys = {"syncline-request-id": str(uuid.uuid4()), "syncline-job": job, "syncline-tenant": tenant}
    return [*((key, value) for key, value in keys.items() if value), *_caller_trace()]


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """No gRPC exception gets past this: it becomes the error of `syncline.errors` that it stands for."""
    try:
        yield
    except grpc.RpcError as error:
        failure = from_rpc_error(error)
        cancelled = type(failure) is Cancelled and not _says_why(error)  # by a server that stops: another may be there
        if cancelled or error.details() == _NOT_SENT:
            failure = ServiceUnavailable("the server broke off the call")
        if type(failure) is InternalError and failure.message == _WRITTEN_TOO_LATE:
            failure = ServiceUnavailable("the call ended while it was written to")
        raise failure from error


def _says_why(error: Any) -> bool:
    """Whether the status came with details, which gRPC's own never does."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def is_retryable(error: BaseException) -> bool:
    return isinstance(error, SynclineError) and error.retryable
