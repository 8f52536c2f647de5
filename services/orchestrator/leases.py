"""Working under a lease: claimed, kept by heartbeats, given back; and a store that is out of reach for a while."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from services.orchestrator.records import ErrorRecord, JobProgress, Lease
from services.orchestrator.store import JobStore
from services.runtime.interceptors import as_failure
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread

Result = TypeVar("Result")

_BEAT_SECONDS = 0.5  # between heartbeats: how soon a cancel is noticed
_TELL_SECONDS = 120.0  # for which a result waits for a store that is out of reach
_log = structlog.get_logger("lease")


async def claim(store: JobStore, method: Callable[..., tuple[Any, ...] | None], *arguments: Any) -> Any:
    """What the store's claim_... gives; given back when the task is cancelled while the database is being asked."""
    claiming = asyncio.ensure_future(in_thread(method, *arguments))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        claimed = await claiming
        if claimed is not None:
            give_back(store, claimed[-1])
        raise


def give_back(store: JobStore, lease: Lease) -> None:
    """At once, whatever task is being cancelled. A lease that cannot be given back runs out."""
    with contextlib.suppress(Refusal):
        store.release(lease)


def record_error(error: BaseException) -> ErrorRecord:
    """As the store keeps it."""
    failure = as_failure(error)
    return ErrorRecord(failure.reason(), failure.message, failure.metadata)


async def tell(write: Callable[..., Result], *arguments: Any, ask: Callable[..., Any] = in_thread) -> Result:
    """A read or write of the store, again and again while its database is out of reach. `ask`: how, once."""
    give_up = asyncio.get_running_loop().time() + _TELL_SECONDS
    while True:
        try:
            result: Result = await ask(write, *arguments)
            return result
        except Refusal as refusal:
            if refusal.reason != "SERVICE_UNAVAILABLE" or asyncio.get_running_loop().time() > give_up:
                raise
        await asyncio.sleep(1)


async def while_held(
    store: JobStore,
    lease: Lease,
    seconds: float,
    work: Coroutine[Any, Any, Result],
    progress: Callable[[], JobProgress | None] = lambda: None,
) -> Result:
    """The result of the work, done for as long as the lease lasts; then it is cancelled: Refusal LEASE_LOST."""
    working = asyncio.ensure_future(work)
    beating = asyncio.ensure_future(_keep(store, lease, seconds, progress))
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Refusal("LEASE_LOST", f"job {lease.job} was ended or taken over", job=lease.job, fence=lease.fence)
    finally:
        for task in (working, beating):
            task.cancel()
        await asyncio.gather(working, beating, return_exceptions=True)


async def _keep(store: JobStore, lease: Lease, seconds: float, progress: Callable[[], JobProgress | None]) -> None:
    """Returns when the lease is lost: cancelled, or claimed by another."""
    while True:
        try:
            if not await in_thread(store.heartbeat, lease, seconds, progress()):
                return
        except Exception as error:  # may pass; if it does not, the lease runs out and nothing more is published
            _log.warning("heartbeat failed", job=lease.job, error=str(error))
        await asyncio.sleep(min(_BEAT_SECONDS, seconds / 4))
