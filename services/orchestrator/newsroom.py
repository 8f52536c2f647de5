"""Which changes of state are still to be told, and to whom it fell to tell them."""

import random
from dataclasses import dataclass

import sqlalchemy as sa

from services.orchestrator.database import Database
from services.orchestrator.records import EventRecord
from services.orchestrator.rows import to_event
from services.orchestrator.schema import event, job
from services.orchestrator.transitions import find_job

_HOLD_SECONDS = 60.0  # for which a job's news are one teller's
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 3600.0  # seconds before a failed telling is tried again
_KEEP_SECONDS = 24 * 3600.0  # news older than this are not told any more

_NEXT = (
    sa.select(job)
    .where(job.c.news.is_(True), job.c.news_after <= sa.bindparam("now", type_=sa.BigInteger))
    .order_by(job.c.news_after)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)
_JOB = sa.select(job).where(job.c.id == sa.bindparam("job")).with_for_update(key_share=True)
_EVENTS = (
    sa.select(event)
    .where(event.c.job == sa.bindparam("job"), event.c.number >= sa.bindparam("told"))
    .order_by(event.c.number)
)


@dataclass(frozen=True, slots=True)
class News:
    """Changes of a job's state that nobody was told yet, oldest first. `seen`: its newest event when they were read.

    `replay_time`: when they were last asked for again, 0: never.
    """

    job: str
    seen: int
    replay_time: int
    changes: list[EventRecord]


class Newsroom:
    _database: Database

    def claim_news(self) -> News | None:
        """One job's news, for the caller alone for a minute; None: there are none now."""
        with self._database.writing() as tx:
            row = tx.first(_NEXT, now=tx.now)
            if row is None:
                return None
            tx.update(job, {"id": row["id"]}, {"news_after": tx.after(_HOLD_SECONDS)})
            events = [to_event(row, found) for found in tx.all(_EVENTS, job=row["id"], told=row["told"])]
            before = events[0].job.state if row["told"] else None
            changes = []
            for happened in events[1:] if row["told"] else events:
                if happened.job.state != before and max(happened.time, row["replay_time"]) >= tx.after(-_KEEP_SECONDS):
                    changes.append(happened)
                before = happened.job.state
            return News(row["id"], row["last_event"], row["replay_time"], changes)

    def replay_news(self, job_id: str, after: int = 0) -> None:
        """Has the job's changes of state be told once more, from the one behind that event on, however old they are.

        Raises Refusal JOB_NOT_FOUND.
        """
        with self._database.writing() as tx:
            row = find_job(tx, job_id, lock=True)
            told = min(row["told"], after)
            values = {"told": told, "news": True, "news_after": 0, "news_attempts": 0, "replay_time": tx.now}
            tx.update(job, {"id": job_id}, values)

    def told(self, news: News, number: int, failed: bool = False) -> None:
        """Everything up to that event was told; `failed`: the next was not, and is tried again later."""
        with self._database.writing() as tx:
            row = tx.first(_JOB, job=news.job)
            if row is None or row["replay_time"] != news.replay_time:  # deleted, or asked for again, meanwhile
                return
            if failed:
                attempts = row["news_attempts"] + 1
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts - 1, 20)) * random.uniform(0.75, 1)
                values = {"news_after": tx.after(pause), "news_attempts": attempts}
            else:
                values = {"news": row["last_event"] > news.seen, "news_after": 0, "news_attempts": 0}
            tx.update(job, {"id": news.job}, values | {"told": number})
