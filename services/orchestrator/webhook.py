"""Tells a web address of every change of a job's state: CloudEvents 1.0 in JSON, signed as Standard Webhooks are.

    webhook-id          the event's id, the same however often it is sent: receivers drop what they have seen
    webhook-timestamp   seconds since the Unix epoch, of this attempt
    webhook-signature   "v1," and base64 of HMAC-SHA256 over "id.timestamp.body" with the secret

An event is told once the address answers 2xx, in order within its job; else again after 2 s, 4 s ... up to an hour, for
a day. `syncline.webhooks` checks signatures on the other side.
"""

import asyncio
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import structlog

from services.orchestrator.newsroom import News
from services.orchestrator.records import EventRecord
from services.orchestrator.store import JobStore
from services.runtime.streams import in_thread
from syncline.webhooks import sign

_log = structlog.get_logger("webhook")
_LOOK_SECONDS = 0.5  # between looks for news
_ANSWER_SECONDS = 10.0  # that the address has


class Webhook:
    """Runs until cancelled; of several orchestrators with one address, each event is told by one."""

    def __init__(self, store: JobStore, url: str, secret: str) -> None:
        self._store = store
        self._url = url
        self._secret = secret
        # What the address answers is not followed elsewhere: it could lead into the deployment's own network.
        self._opener = urllib.request.build_opener(_NoRedirection)

    async def run(self) -> None:
        while True:
            try:
                while (news := await in_thread(self._store.claim_news)) is not None:
                    await in_thread(self.tell, news)
            except Exception as error:  # the database is out of reach: the news wait there
                _log.warning("no news can be told", error=str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    def tell(self, news: News) -> None:
        """Sends a job's news, oldest first, up to the first that does not arrive."""
        for change in news.changes:
            try:
                self._post(change)
            except (OSError, urllib.error.URLError) as error:
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
        request = urllib.request.Request(self._url, body, headers, method="POST")
        with self._opener.open(request, timeout=_ANSWER_SECONDS):
            pass  # other than 2xx raises


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
