"""News of jobs: told once, in order, signed, and again after a failure."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.orchestrator import newsroom
from services.orchestrator.records import JobProgress, Phase
from services.orchestrator.webhook import Webhook
from syncline.webhooks import sign, verify
from tests.orchestrator.test_store import LONG, MADE, REPORT, USELESS, claim, create

SECRET = "whsec of this test"


class Receiver:
    """A web server that keeps what it is told, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.heard: list[dict[str, Any]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert verify(SECRET, dict(self.headers.items()), body)
                assert not verify("another secret", dict(self.headers.items()), body)
                assert self.headers["Content-Type"] == "application/cloudevents+json"
                if receiver.status == 200:
                    receiver.heard.append(json.loads(body))
                self.send_response(receiver.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    @property
    def types(self) -> list[str]:
        return [event["type"].removeprefix("syncline.job.") for event in self.heard]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def tell_all(store, webhook: Webhook) -> int:
    told = 0
    while (news := store.claim_news()) is not None:
        webhook.tell(news)
        told += 1
    return told


def test_every_change_of_state_is_told_once_and_in_order(store, receiver):
    webhook = Webhook(store, receiver.url, SECRET)
    job = create(store, tenant="acme")
    assert tell_all(store, webhook) == 1
    lease = claim(store)
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 1, 10))
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 2, 10))
    assert tell_all(store, webhook) == 1
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 3, 10))
    assert tell_all(store, webhook) == 0
    store.finish_job(lease, MADE, REPORT)
    failed = create(store)
    store.release(claim(store), USELESS)
    tell_all(store, webhook)
    assert tell_all(store, webhook) == 0

    of = {
        name: [event for event in receiver.heard if event["data"]["name"] == f"jobs/{name}"] for name in (job, failed)
    }
    assert [event["data"]["state"] for event in of[job]] == ["queued", "running", "done"]
    assert of[job][-1]["data"] | {"event": 0} == {
        "name": f"jobs/{job}",
        "event": 0,
        "state": "done",
        "tenant": "acme",
        "batch": "",
        "error": None,
        "result": MADE.digest,
        "report": REPORT.digest,
    }
    assert of[failed][-1]["data"]["error"]["reason"] == "NO_FACE"
    assert len({event["id"] for event in receiver.heard}) == len(receiver.heard)
    assert all(event["specversion"] == "1.0" and event["source"] == event["data"]["name"] for event in receiver.heard)


@pytest.mark.parametrize("status", [500, 404, 302])
def test_what_does_not_arrive_is_told_again_later(store, receiver, monkeypatch, status):
    monkeypatch.setattr(newsroom, "_FIRST_PAUSE", 0.2)
    webhook = Webhook(store, receiver.url, SECRET)
    create(store)
    receiver.status = status
    assert tell_all(store, webhook) == 1
    assert store.claim_news() is None  # not before its time
    claim(store)
    receiver.status = 200
    time.sleep(0.3)
    assert tell_all(store, webhook) == 1
    assert receiver.types == ["queued", "running"]


def test_a_job_is_told_by_one_teller(store, receiver):
    create(store)
    news = store.claim_news()
    assert store.claim_news() is None
    claim(store)  # more happens while it tells
    Webhook(store, receiver.url, SECRET).tell(news)
    assert receiver.types == ["queued"]
    assert tell_all(store, Webhook(store, receiver.url, SECRET)) == 1
    assert receiver.types == ["queued", "running"]


def test_a_deleted_job_has_no_news(store, receiver):
    job = create(store)
    news = store.claim_news()
    store.cancel_job(job)
    store.delete_job(job)
    Webhook(store, receiver.url, SECRET).tell(news)
    assert store.claim_news() is None


def test_signatures_are_of_all_that_is_sent_and_not_for_ever():
    headers = {
        "Webhook-Id": "a.1",
        "Webhook-Timestamp": "1000",
        "Webhook-Signature": sign(SECRET, "a.1", "1000", b"{}"),
    }
    assert verify(SECRET, headers, b"{}", now=1100)
    assert verify(SECRET, headers | {"Webhook-Signature": f"v1,AAAA {headers['Webhook-Signature']}"}, b"{}", now=1100)
    assert not verify(SECRET, headers, b"{ }", now=1100)
    assert not verify(SECRET, headers | {"Webhook-Id": "a.2"}, b"{}", now=1100)
    assert not verify(SECRET, headers | {"Webhook-Timestamp": "1001"}, b"{}", now=1100)
    assert not verify(SECRET, headers, b"{}", now=2000)
    assert not verify(SECRET, {}, b"{}")
