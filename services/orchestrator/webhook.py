"""Tells web addresses of every change of a job's state: CloudEvents 1.0 in JSON, signed as Standard Webhooks are.

A job's own address is one that a client named: it is checked as those of importing.py are, when it is named and again
each time it is told. The deployment's address is told of the jobs that have none of their own.

    webhook-id          the event's id, the same however often it is sent: receivers drop what they have seen
    webhook-timestamp   seconds since the Unix epoch, of this attempt
    webhook-signature   "v1," and base64 of HMAC-SHA256 over "id.timestamp.body" with the secret

An event is told once the address answers 2xx, in order within its job; else again after 2 s, 4 s ... up to an hour, for
a day. `syncline.webhooks` checks signatures on the other side.
"""

import asyncio
import http.client
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from services.orchestrator.importing import connect, find_address, split_address
from services.orchestrator.newsroom import News
from services.orchestrator.records import EventRecord, JobRecord
from services.orchestrator.store import JobStore
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.webhooks import sign

_log = structlog.get_logger("webhook")
_LOOK_SECONDS = 0.5  # between looks for news
_ANSWER_SECONDS = 10.0  # that an address has
_AT_ONCE = 8  # jobs whose news are being told
HOSTS_VARIABLE = "ORCHESTRATOR_WEBHOOK_HOSTS"


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """`url`: the deployment's own, empty: none; `hosts`: of addresses that jobs may name, "*" for any part of one."""

    url: str = ""
    hosts: tuple[str, ...] = ()

    def check(self, url: str) -> None:
        """Raises Refusal SOURCE_FORBIDDEN for what a job may not name."""
        if url:
            split_address(url, self.hosts, HOSTS_VARIABLE)

    def find_target(self, job: JobRecord) -> str:
        """Who is told of the job. Raises Refusal NO_WEBHOOK where nobody is."""
        if not (job.webhook or self.url):
            raise Refusal("NO_WEBHOOK", f"neither job {job.id} nor this server has a webhook to tell", job=job.id)
        return job.webhook or self.url


class Webhook:
    """Runs until cancelled; of several orchestrators with one database, each event is told by one."""

    def __init__(self, store: JobStore, rules: WebhookRules, secret: str) -> None:
        self._store = store
        self._rules = rules
        self._secret = secret
        # What the address answers is not followed elsewhere: it could lead into the deployment's own network.
        self._opener = urllib.request.build_opener(_NoRedirection)

    async def run(self) -> None:
        free = asyncio.Semaphore(_AT_ONCE)  # an address that is slow to answer holds up no other
        async with asyncio.TaskGroup() as telling:
            while True:
                await free.acquire()
                news = await self._claim()
                if news is None:
                    free.release()
                    await asyncio.sleep(_LOOK_SECONDS)
                else:
                    telling.create_task(self._tell(news)).add_done_callback(lambda _: free.release())

    async def _claim(self) -> News | None:
        try:
            return await in_thread(self._store.claim_news)
        except Exception as error:  # the database is out of reach: the news wait there
            _log.warning("no news can be told", error=str(error))
            return None

    async def _tell(self, news: News) -> None:
        try:
            await in_thread(self.tell, news)
        except Exception as error:
            _log.warning("what was told is not noted: it will be told again", job=news.job, error=str(error))

    def tell(self, news: News) -> None:
        """Sends a job's news, oldest first, up to the first that does not arrive."""
        for change in news.changes:
            try:
                self._post(change)
            except (OSError, http.client.HTTPException, Refusal) as error:
                _log.warning("not told", job=news.job, number=change.number, error=str(error))
                self._store.told(news, change.number - 1, failed=True)
                return
        self._store.told(news, news.seen)

    def _post(self, change: EventRecord) -> None:
        body = json.dumps(to_cloud_event(change)).encode()
        identifier, now = f"{change.job.id}.{change.number}", str(int(time.time()))
        headers = {
            "Content-Type": "application/cloudevents+json",
            "webhook-id": identifier,
            "webhook-timestamp": now,
            "webhook-signature": sign(self._secret, identifier, now, body),
        }
        if change.job.webhook:
            self._post_outside(change.job.webhook, body, headers)
        elif self._rules.url:
            request = urllib.request.Request(self._rules.url, body, headers, method="POST")
            with self._opener.open(request, timeout=_ANSWER_SECONDS):
                pass  # other than 2xx raises

    def _post_outside(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        host, target = split_address(url, self._rules.hosts, HOSTS_VARIABLE)
        connection = connect(host, find_address(host, url), _ANSWER_SECONDS)
        try:
            connection.request("POST", target, body, {**headers, "Host": host})
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise OSError(f"{host} answers {status}")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def to_cloud_event(change: EventRecord) -> dict[str, Any]:
    """`data` holds what GetJob says of the job, by the proto's names, as far as it changes."""
    job = change.job
    return {
        "specversion": "1.0",
        "id": f"{job.id}.{change.number}",
        "source": f"jobs/{job.id}",
        "type": f"syncline.job.{job.state.lower()}",
        "time": datetime.fromtimestamp(change.time / 1000, UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": {
            "name": f"jobs/{job.id}",
            "event": change.number,
            "state": job.state.lower(),
            "tenant": job.tenant,
            "batch": f"batches/{job.batch}" if job.batch else "",
            "result": job.result.digest if job.result else None,
            "report": job.report.digest if job.report else None,
            "error": {"reason": job.error.reason, "message": job.error.message} if job.error else None,
        },
    }
