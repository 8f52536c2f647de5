"""syncline top against a server and a real metrics page."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from typer.testing import CliRunner

from syncline import Client
from syncline.cli import app
from syncline.cli._metrics import Sample, parse


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["top", *map(str, arguments)], env={"COLUMNS": "160"})
    return result.exit_code, result.output


@pytest.fixture
def metrics() -> Iterator[str]:
    """The address of a worker's page."""
    registry = CollectorRegistry()
    replicas = Gauge("syncline_replicas", "", ["stage", "state"], registry=registry)
    replicas.labels("restorer", "ready").set(3)
    replicas.labels("restorer", "resting").set(1)
    Gauge("syncline_outstanding", "", ["stage"], registry=registry).labels("restorer").set(7)
    Gauge("syncline_backlog_seconds", "", registry=registry).set(1234)
    Gauge("syncline_backlog_jobs", "", registry=registry).set(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, thread = start_http_server(port, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{port}/metrics"
    server.shutdown()
    thread.join()


def test_jobs_are_shown(server: str, client: Client, video: Path, audio: Path) -> None:
    done = client.result(client.create_job(client.upload(video), client.upload(audio)))
    status, shown = invoke("--server", server, "--rounds", 2, "--every", 0.2)
    assert status == 0
    (row,) = [line for line in shown.splitlines() if done.name.removeprefix("jobs/") in line][-1:]
    assert "done" in row


def test_services_and_queues_are_shown(server: str, metrics: str) -> None:
    status, shown = invoke("--server", server, "--metrics", metrics, "--rounds", 1)
    assert status == 0
    (row,) = [line for line in shown.splitlines() if "restorer " in line and "│" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["restorer", "3", "1", "0", "0", "0", "7"]
    assert "2 jobs open" in shown
    assert "1234 s of one restorer's work" in shown


def test_a_page_that_is_not_there_fails_with_its_address(server: str) -> None:
    status, shown = invoke("--server", server, "--metrics", "http://127.0.0.1:1/metrics", "--rounds", 1)
    assert status == 1
    assert "no metrics at http://127.0.0.1:1/metrics" in shown


def test_samples_are_read() -> None:
    page = '# HELP x y\nx 1\ny{a="b",c="d \\" e"} 2.5e3\nz{} +Inf\nnot a sample\n'
    assert parse(page) == [
        Sample("x", {}, 1),
        Sample("y", {"a": "b", "c": 'd \\" e'}, 2500),
        Sample("z", {}, float("inf")),
    ]
