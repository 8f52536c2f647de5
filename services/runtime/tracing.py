"""Traces after OpenTelemetry and W3C Trace Context: one for each job.

It is the trace of the call that made the job, where the caller traces; else it has the job's own id, 128 random bits as
a trace's. Spans are recorded when OTEL_EXPORTER_OTLP_ENDPOINT names a collector or SYNCLINE_TRACE_FILE a file (JSON, a
span a line); ids travel and stand in the logs in any case. OTEL_TRACES_SAMPLER and the other variables of OpenTelemetry
are heeded.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

_TRACER = trace.get_tracer("syncline")
_EXPORT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Metadata = Sequence[tuple[str, str]]


def set_up_tracing(service: str) -> None:
    """Starts recording where the environment says so."""
    file = os.environ.get("SYNCLINE_TRACE_FILE", "")
    collector = any(os.environ.get(name) for name in _EXPORT)
    if not (file or collector):
        return
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: f"syncline-{service}"}))
    if collector:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if file:
        lines = open(file, "a", buffering=1)  # noqa: PTH123, SIM115 - held for as long as the process lives
        exporter = ConsoleSpanExporter(out=lines, formatter=lambda span: span.to_json(indent=None) + "\n")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[Span]:
    """A span around the block, within the current one."""
    with _TRACER.start_as_current_span(name, attributes=_name(attributes)) as started:
        yield started


@contextlib.contextmanager
def job_span(job: str, caller: str = "") -> Iterator[Span]:
    """The outermost span of work on a job, in the job's trace. `caller`: W3C traceparent of the call that made it."""
    if caller:
        parent = propagate.extract({"traceparent": caller}, context.Context())
    else:
        parent = trace.set_span_in_context(NonRecordingSpan(job_context(job)), context.Context())
    with _TRACER.start_as_current_span("job", parent, attributes=_name({"job": job})) as started:
        yield started


def job_context(job: str) -> SpanContext:
    """Where the trace of a job begins whose caller has none, derived from its id (32 hexadecimal digits)."""
    first = int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big")
    return SpanContext(int(job, 16), first, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def with_trace(metadata: Metadata) -> Metadata:
    """The metadata, telling the called one within which span it works."""
    return (*metadata, *current_trace().items())


def current_trace() -> dict[str, str]:
    """The current span as W3C headers; empty outside any."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def callers_trace(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The current span as a W3C traceparent, within a call whose caller traces; empty where he does not."""
    return current_trace().get("traceparent", "") if any(key == "traceparent" for key, _ in metadata) else ""


def trace_of(traceparent: str) -> str:
    """The id of the trace, which tells jobs apart but for those of one caller's; empty for no W3C traceparent."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def begin_call(method: str, metadata: Iterable[tuple[str, str | bytes]], ids: dict[str, str]) -> Span:
    """The span of a call that is served, current from here to the end of the task that serves it."""
    parent = propagate.extract({key: str(value) for key, value in metadata})
    started = _TRACER.start_span(method, parent, SpanKind.SERVER, _name(ids))
    context.attach(trace.set_span_in_context(started, parent))
    return started


def end_call(served: Span, code: str, error: str = "") -> None:
    served.set_attribute("rpc.grpc.status", code)
    if error:
        served.set_status(Status(StatusCode.ERROR, error))
    served.end()


def note_batch(begun: float, traceparent: str, **attributes: Any) -> None:
    """A span from `begun` (time.monotonic()) to now. `traceparent`: its parent, where that is not the current span."""
    parent = propagate.extract({"traceparent": traceparent}) if traceparent else None
    start = time.time_ns() - int((time.monotonic() - begun) * 1e9)
    _TRACER.start_span("batch", parent, SpanKind.SERVER, _name(attributes), start_time=start).end()


def add_trace_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For structlog: the ids of the current span in each line."""
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        event["trace_id"] = trace.format_trace_id(current.trace_id)
        event["span_id"] = trace.format_span_id(current.span_id)
    return event


def _name(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"syncline.{key}": value for key, value in attributes.items()}
