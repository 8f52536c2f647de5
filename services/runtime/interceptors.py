"""What every call gets: errors as statuses, a log line, metrics, a span, the heavy messages' codec."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from services.runtime import metrics, tracing, wire
from services.runtime.refusal import Refusal
from syncline.errors import CATALOGUE, InternalError, SynclineError, to_status

_log = structlog.get_logger("call")
# Metadata key -> name in the log.
_IDS = {"syncline-job": "job", "syncline-segment": "segment", "syncline-request-id": "request_id"}
_QUIET = ("/grpc.health.", "/grpc.reflection.")

Handler = Any  # grpc.RpcMethodHandler of any request and response


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each handler once, when its method is first looked up for a call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_QUIET):
            return handler
        ids = {_IDS[key]: str(value) for key, value in handler_call_details.invocation_metadata or () if key in _IDS}
        request_deserializer, response_serializer = handler.request_deserializer, handler.response_serializer
        classes = wire.method_codecs(method)
        if classes is not None:
            request_deserializer = wire.deserializer(classes[0]) or request_deserializer
            response_serializer = wire.serializer(classes[1]) or response_serializer
        coders = {"request_deserializer": request_deserializer, "response_serializer": response_serializer}
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_answer_one(handler.unary_unary, method, ids), **coders)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_answer_many(handler.unary_stream, method, ids), **coders)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(_answer_many(handler.stream_stream, method, ids), **coders)
        return grpc.stream_unary_rpc_method_handler(_answer_one(handler.stream_unary, method, ids), **coders)


def _answer_one(behavior: Any, method: str, ids: dict[str, str]) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        call = _Call(method, ids, context)
        try:
            response = await behavior(request, context)
        except BaseException as error:
            await _end_badly(error, context, call)
            raise
        call.end("OK")
        return response

    return answer


def _answer_many(behavior: Any, method: str, ids: dict[str, str]) -> Any:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        call = _Call(method, ids, context)
        try:
            async for response in behavior(request, context):
                yield response
        except BaseException as error:
            await _end_badly(error, context, call)
            raise
        call.end("OK")

    return answer


class _Call:
    """One call from its start to its end: its log line, its metrics, its span."""

    def __init__(self, method: str, ids: dict[str, str], context: grpc.aio.ServicerContext) -> None:
        self._method = method.rpartition("/")[2]
        self._ids = ids
        self._started = time.monotonic()
        self._span = tracing.begin_call(method.strip("/"), context.invocation_metadata() or (), ids)
        metrics.serving.set(self._method)
        metrics.CALLS_RUNNING.labels(self._method).inc()

    def end(self, code: str, reason: str = "", error: str = "", exc_info: bool = False) -> None:
        seconds = time.monotonic() - self._started
        metrics.CALLS_RUNNING.labels(self._method).dec()
        metrics.CALLS.labels(self._method, code, reason).inc()
        metrics.CALL_SECONDS.labels(self._method).observe(seconds)
        why: dict[str, Any] = {"reason": reason, "error": error, "exc_info": exc_info} if reason else {}
        write = _log.info if code in ("OK", "CANCELLED") else _log.warning
        write("call", method=self._method, code=code, seconds=round(seconds, 3), **self._ids, **why)
        tracing.end_call(self._span, code, error)


async def _end_badly(error: BaseException, context: grpc.aio.ServicerContext, call: _Call) -> None:
    """Logs, and aborts the call with the error's status. Returns only for errors that end the call by themselves."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        call.end("CANCELLED")
        return
    if isinstance(error, grpc.aio.AbortError):
        call.end("ABORTED")
        return
    failure = as_failure(error)
    call.end(failure.code.name, failure.reason(), failure.message, exc_info=isinstance(failure, InternalError))
    status = to_status(failure)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(failure.code, failure.message, trailing_metadata=details)


def as_failure(error: BaseException) -> SynclineError:
    """The catalogue's error for anything raised."""
    if isinstance(error, SynclineError):
        return error
    if isinstance(error, Refusal):
        return CATALOGUE[error.reason](error.message, error.metadata)
    return InternalError(f"{type(error).__name__} in the service; its log has the rest")
