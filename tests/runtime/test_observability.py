"""What a call leaves behind: metrics, spans in the job's trace, log lines with the trace's ids."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from benchmarks.dispatch import dispatching
from benchmarks.fixed_cost import FixedCost, make_packet
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.delivering import Deliveries
from services.orchestrator.discovery import FixedList
from services.orchestrator.importing import ImportRules
from services.orchestrator.servicer import OrchestratorServicer
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.webhook import WebhookRules
from services.restorer.servicer import RestorerServicer
from services.runtime import metrics, tracing
from services.runtime.config import ConfigError
from services.runtime.wire import Packet
from syncline import AsyncClient
from syncline._channel import make_metadata
from syncline.errors import InvalidOption
from syncline.v1 import restorer_pb2, restorer_pb2_grpc
from tests.stages import converse, is_refused, run, serving

JOB = uuid.uuid4().hex
OPEN = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Spans of this process, from here on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def restore_in_job(count: int = 2) -> None:
    async with serving(RestorerServicer(FixedCost(0.01))) as served:
        address = f"127.0.0.1:{served.running.port}"
        async with dispatching(FixedList([address])) as dispatcher:
            with tracing.job_span(JOB):
                for number in range(count):
                    with tracing.span("restore"):
                        await dispatcher.exchange(partial(packet_in_trace, number))


def packet_in_trace(number: int, sequence: int) -> Packet:
    packet = make_packet(number, sequence)
    packet.message.traceparent = tracing.current_trace()["traceparent"]
    return packet


def by_name(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def test_a_jobs_trace_has_the_jobs_id_and_reaches_the_batches(spans: InMemorySpanExporter) -> None:
    run(restore_in_job())
    (job,) = by_name(spans, "job")
    restores, batches = by_name(spans, "restore"), by_name(spans, "batch")
    assert f"{job.context.trace_id:032x}" == JOB
    assert len(restores) == len(batches) == 2
    assert {batch.parent.span_id for batch in batches if batch.parent} == {each.context.span_id for each in restores}
    assert {span.context.trace_id for span in (*restores, *batches)} == {job.context.trace_id}
    assert all(batch.attributes and batch.attributes["syncline.items"] == 1 for batch in batches)
    seconds = [(batch.end_time or 0) / 1e9 - (batch.start_time or 0) / 1e9 for batch in batches]
    assert all(0.01 <= each < 5 for each in seconds)


def test_the_trace_of_a_batch_names_its_job() -> None:
    with tracing.job_span(JOB):
        assert tracing.trace_of(tracing.current_trace()["traceparent"]) == JOB
    for text in ("", "00", "a-b-c-d", f"00-{JOB}"):
        assert tracing.trace_of(text) == ""


def test_a_call_carries_its_callers_trace(spans: InMemorySpanExporter) -> None:
    async def ask() -> None:
        async with serving(RestorerServicer(FixedCost(0))) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            with tracing.span("caller"):
                metadata = make_metadata("", "jobs/x")
                await stub.GetCapabilities(restorer_pb2.RestorerServiceGetCapabilitiesRequest(), metadata=metadata)

    run(ask())
    (call,) = by_name(spans, "syncline.v1.RestorerService/GetCapabilities")
    (caller,) = by_name(spans, "caller")
    assert call.parent is not None
    assert call.parent.span_id == caller.context.span_id
    assert call.attributes is not None
    assert call.attributes["syncline.job"] == "jobs/x"


def test_a_job_is_in_the_trace_of_the_call_that_made_it(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(b"sound")
    artifacts, store = ArtifactStore(tmp_path / "store", 0), JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    nowhere = Stages(*["127.0.0.1:1"] * 4)

    async def ask() -> None:
        servicer = OrchestratorServicer(
            store, artifacts, nowhere, ImportRules(), Deliveries(), WebhookRules(), background=()
        )
        async with serving(servicer) as served, AsyncClient(f"127.0.0.1:{served.running.port}") as client:
            asset = await client.upload(tmp_path / "speech.wav")
            with tracing.span("caller"):
                await client.create_job(asset, asset)
            await client.create_job(asset, asset)

    run(ask())
    jobs = [store.claim_job("worker", 10) for _ in range(2)]
    store.close()
    for claimed in jobs:
        assert claimed is not None
        with tracing.job_span(claimed[0].id, claimed[0].trace):
            pass
    (caller,) = by_name(spans, "caller")
    method = "syncline.v1.OrchestratorService/CreateJob"
    asked, served = by_name(spans, method)[1::-1]  # of the first call, whose server is done before its client
    traced, untraced = by_name(spans, "job")
    assert [span.parent and span.parent.span_id for span in (asked, served, traced)] == [
        span.context.span_id for span in (caller, asked, served)
    ]
    assert {span.context.trace_id for span in (asked, served, traced)} == {caller.context.trace_id}
    assert untraced.context.trace_id != caller.context.trace_id


def test_a_failed_call_is_a_failed_span(spans: InMemorySpanExporter) -> None:
    async def fail() -> None:
        async with serving(RestorerServicer(FixedCost(0))) as served:
            stub: Any = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            request = make_packet(1, 0)
            request.message.strength = 2
            await is_refused(InvalidOption, converse(stub.Restore, OPEN, [request]))

    before = value("syncline_calls_total", method="Restore", code="INVALID_ARGUMENT", reason="INVALID_OPTION")
    run(fail())
    (call,) = by_name(spans, "syncline.v1.RestorerService/Restore")
    assert not call.status.is_ok
    after = value("syncline_calls_total", method="Restore", code="INVALID_ARGUMENT", reason="INVALID_OPTION")
    assert after == before + 1
    assert value("syncline_bytes_running", method="Restore") == 0
    assert value("syncline_calls_running", method="Restore") == 0


def test_batches_and_their_parts_are_counted() -> None:
    def counts() -> dict[str, float]:
        compute = value("syncline_batch_seconds_sum", method="Restore", part="compute")
        batches, items = (value(f"syncline_{name}_total", method="Restore") for name in ("batches", "items"))
        return {"compute": compute, "batches": batches, "items": items, "waits": value("syncline_queue_seconds_count")}

    before = counts()
    run(restore_in_job(3))
    after = counts()
    assert after["batches"] - before["batches"] == 3
    assert after["items"] - before["items"] == 3
    assert after["waits"] - before["waits"] >= 3, "each batch's work waited for a thread, be it ever so short"
    assert 0.03 <= after["compute"] - before["compute"] < 3
    assert value("syncline_bytes_running", method="Restore") == 0


def test_log_lines_have_the_ids_of_the_trace() -> None:
    written = io.StringIO()
    structlog.configure(processors=[tracing.add_trace_ids, structlog.processors.JSONRenderer()])
    try:
        log = structlog.wrap_logger(structlog.WriteLogger(written))
        with tracing.job_span(JOB):
            log.info("inside")
        log.info("outside")
    finally:
        structlog.reset_defaults()
    inside, outside = map(json.loads, written.getvalue().splitlines())
    assert inside["trace_id"] == JOB
    assert re.fullmatch("[0-9a-f]{16}", inside["span_id"])
    assert "trace_id" not in outside


def test_metrics_are_served(free_port: int) -> None:
    run(restore_in_job(1))
    metrics.serve_metrics("127.0.0.1", free_port)
    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "syncline_batch_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(ConfigError, match="metrics cannot be served"):
        metrics.serve_metrics("127.0.0.1", free_port)


def test_the_gpus_memory_is_told_once_an_engine_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert value("syncline_gpu_memory_bytes", kind="used") == 0
    cuda = SimpleNamespace(is_initialized=lambda: True, mem_get_info=lambda: (3, 8))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert value("syncline_gpu_memory_bytes", kind="used") == 5
    assert value("syncline_gpu_memory_bytes", kind="total") == 8


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_spans_go_to_a_file_where_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    code = (
        "from services.runtime.tracing import job_span, set_up_tracing, span\n"
        f"set_up_tracing('test')\nwith job_span('{JOB}'):\n    with span('step', number=1):\n        pass\n"
    )
    environment = {**os.environ, "SYNCLINE_TRACE_FILE": str(file)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(__file__).parents[2])
    step, job = map(json.loads, file.read_text().splitlines())
    assert (step["name"], job["name"]) == ("step", "job")
    assert step["context"]["trace_id"] == f"0x{JOB}"
    assert job["resource"]["attributes"]["service.name"] == "syncline-test"
