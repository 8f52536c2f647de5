"""News of jobs: told once, in order, signed, and again after a failure."""

import http.client
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.orchestrator import importing, newsroom, webhook
from services.orchestrator.records import JobProgress, Phase
from services.orchestrator.webhook import Webhook, WebhookRules
from services.runtime.refusal import Refusal
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


def tell_all(store, teller: Webhook) -> int:
    told = 0
    while (news := store.claim_news()) is not None:
        teller.tell(news)
        told += 1
    return told


def test_every_change_of_state_is_told_once_and_in_order(store, receiver):
    teller = Webhook(store, WebhookRules(receiver.url), SECRET)
    job = create(store, tenant="acme")
    assert tell_all(store, teller) == 1
    lease = claim(store)
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 1, 10))
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 2, 10))
    assert tell_all(store, teller) == 1
    store.heartbeat(lease, LONG, JobProgress(Phase.ANALYSE, 3, 10))
    assert tell_all(store, teller) == 0
    store.finish_job(lease, MADE, REPORT)
    failed = create(store)
    store.release(claim(store), USELESS)
    tell_all(store, teller)
    assert tell_all(store, teller) == 0

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
    teller = Webhook(store, WebhookRules(receiver.url), SECRET)
    create(store)
    receiver.status = status
    assert tell_all(store, teller) == 1
    assert store.claim_news() is None  # not before its time
    claim(store)
    receiver.status = 200
    time.sleep(0.3)
    assert tell_all(store, teller) == 1
    assert receiver.types == ["queued", "running"]


def test_a_job_is_told_by_one_teller(store, receiver):
    create(store)
    news = store.claim_news()
    assert store.claim_news() is None
    claim(store)  # more happens while it tells
    Webhook(store, WebhookRules(receiver.url), SECRET).tell(news)
    assert receiver.types == ["queued"]
    assert tell_all(store, Webhook(store, WebhookRules(receiver.url), SECRET)) == 1
    assert receiver.types == ["queued", "running"]


def test_a_deleted_job_has_no_news(store, receiver):
    job = create(store)
    news = store.claim_news()
    store.cancel_job(job)
    store.delete_job(job)
    Webhook(store, WebhookRules(receiver.url), SECRET).tell(news)
    assert store.claim_news() is None


def test_a_job_tells_its_own_address_and_nobody_else(store, receiver, monkeypatch):
    """The receiver stands in for a public host: resolving and TLS are those of imports, and tested there."""
    asked = []
    monkeypatch.setattr(webhook, "find_address", lambda host, url: asked.append(host) or "192.0.2.1")
    monkeypatch.setattr(
        webhook, "connect", lambda host, address, timeout: http.client.HTTPConnection(*receiver.server.server_address)
    )
    rules = WebhookRules("http://127.0.0.1:1/never", ("hooks.example.com",))
    job = create(store, webhook="https://hooks.example.com/job?of=me")
    tell_all(store, Webhook(store, rules, SECRET))
    assert [event["data"]["name"] for event in receiver.heard] == [f"jobs/{job}"]
    assert asked == ["hooks.example.com"]
    receiver.status = 307
    store.cancel_job(job)
    tell_all(store, Webhook(store, rules, SECRET))
    assert store.claim_news() is None  # it waits to be told again
    assert receiver.types == ["queued"]


def test_an_internal_address_is_not_told(store, receiver, monkeypatch):
    monkeypatch.setattr(importing.socket, "getaddrinfo", lambda *about, **options: [(0, 0, 0, "", ("10.0.0.7", 443))])
    create(store, webhook="https://hooks.example.com/")
    sent = Webhook(store, WebhookRules(hosts=("hooks.example.com",)), SECRET)
    news = store.claim_news()
    with pytest.raises(Refusal, match="not of the public internet"):
        sent._post(news.changes[0])
    sent.tell(news)
    assert store.claim_news() is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://hooks.example.com:8443/",
        "https://me@hooks.example.com/",
        "https://other.example.com/",
        "file:///etc/passwd",
        "hooks.example.com",
    ],
)
def test_only_allowed_addresses_may_be_named(url):
    rules = WebhookRules(hosts=("hooks.example.com",))
    rules.check("")
    rules.check("https://hooks.example.com/a/b?c=d")
    with pytest.raises(Refusal) as refused:
        rules.check(url)
    assert refused.value.reason == "SOURCE_FORBIDDEN"


def test_news_are_told_again_with_the_same_ids_however_old(store, receiver, monkeypatch):
    teller = Webhook(store, WebhookRules(receiver.url), SECRET)
    job = create(store)
    store.finish_job(claim(store), MADE, REPORT)
    tell_all(store, teller)
    first, receiver.heard = receiver.heard, []
    monkeypatch.setattr(newsroom, "_KEEP_SECONDS", 0.5)
    time.sleep(0.6)
    store.replay_news(job)
    tell_all(store, teller)
    assert receiver.heard == first
    store.replay_news(job, after=first[1]["data"]["event"])
    tell_all(store, teller)
    assert receiver.heard == [*first, first[2]]


def test_a_replay_asked_for_while_news_are_told_is_not_forgotten(store, receiver):
    job = create(store)
    news = store.claim_news()
    store.replay_news(job)
    teller = Webhook(store, WebhookRules(receiver.url), SECRET)
    teller.tell(news)
    tell_all(store, teller)
    assert [event["id"] for event in receiver.heard] == [f"{job}.1"] * 2


def test_somebody_must_be_there_to_tell(store):
    job = store.get_job(create(store))
    assert WebhookRules("https://here/").find_target(job) == "https://here/"
    with pytest.raises(Refusal) as refused:
        WebhookRules().find_target(job)
    assert refused.value.reason == "NO_WEBHOOK"


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
