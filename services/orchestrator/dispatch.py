"""Batches to whichever replica is freest: one long-lived stream to each, and a batch whose stream broke goes elsewhere.

For stages without state, where any replica can do any batch of any job. No batch is lost and none is answered twice: a
batch waits in exactly one place, and the answers of a broken stream are not heard any more.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
from prometheus_client import Counter as MetricCounter

from services.orchestrator.pool import Member, Pool
from services.runtime.calls import ClientStream
from services.runtime.wire import Packet
from syncline.errors import (
    BatchTooLarge,
    FailedPrecondition,
    InternalError,
    InvalidInput,
    ServiceUnavailable,
    Stalled,
    SynclineError,
)

_log = structlog.get_logger("dispatch")
RESENT = MetricCounter("syncline_batches_resent", "Batches sent again because their stream broke", ["reason"])
_TICK_SECONDS = 0.25  # between looks at what no message tells: silence, drain
_MAX_TRIES = 3  # streams that may break under one batch before it is held to be the cause


class Exchanged(NamedTuple):
    """The answers to one batch: errors of its items, then the batch. `seconds`: that the replica worked on it."""

    answers: list[Packet]
    seconds: float


@dataclass(eq=False)
class _Work:
    """One batch on its way. `to_packet` makes its message for a place in a stream."""

    to_packet: Callable[[int], Packet]
    done: asyncio.Future["Exchanged"]
    since: float  # time.monotonic() when it began to wait for a stream
    sent: float = 0.0  # time.monotonic()
    answers: list[Packet] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)  # where its stream broke


class _Lane:
    """One replica's stream, and the batches that it has, in the order sent."""

    def __init__(self, member: Member, stream: ClientStream) -> None:
        self.member = member
        self.stream = stream
        self.credits = int(stream.opened.terms.credits)
        self.waiting: dict[int, _Work] = {}
        self.outbox: asyncio.Queue[Packet] = asyncio.Queue()
        self.heard = time.monotonic()
        self._sequence = 0
        self._free_since = 0.0  # time.monotonic() of the last batch's answer

    def rank(self, work: _Work) -> tuple[bool, bool, int]:
        """The lower the better: not where the batch's stream broke before, near by, and with the least under way."""
        return (self.member.address in work.tried, self.member.remote, len(self.waiting))

    def give(self, work: _Work) -> None:
        work.sent = time.monotonic()
        if not self.waiting:
            self.heard = work.sent
        self.outbox.put_nowait(work.to_packet(self._sequence))
        self.waiting[self._sequence] = work
        self.member.outstanding += 1
        self._sequence += 1

    def take(self, packet: Packet) -> bool:
        """Whether this answers a batch. Errors of a batch's items come before it."""
        self.heard = time.monotonic()
        kind = packet.message.WhichOneof("message")
        if kind in ("progress", "completed"):
            return False
        sequence = getattr(packet.message, kind).sequence
        work = self.waiting.get(sequence)
        if work is None:
            raise InternalError(f"{self.member.address} answered a batch that it was not asked for")
        work.answers.append(packet)
        if kind == "error":
            return False
        del self.waiting[sequence]
        self.member.outstanding -= 1
        self.member.note(None)
        if not work.done.done():
            work.done.set_result(Exchanged(work.answers, self.heard - max(work.sent, self._free_since)))
        self._free_since = self.heard
        return True

    async def send(self) -> None:
        while True:
            await self.stream.send(await self.outbox.get())


class Dispatcher:
    """`open_stream(member)` opens a stream of batches; `stall`: seconds of silence that break one with work on it."""

    def __init__(self, pool: Pool, open_stream: Callable[[Member], ClientStream], stall: float) -> None:
        self._pool = pool
        self._open_stream = open_stream
        self._stall = stall
        self._pending: deque[_Work] = deque()
        self._lanes: dict[Member, _Lane] = {}
        self._tasks: dict[Member, asyncio.Task[None]] = {}
        self._tending: asyncio.Task[None] | None = None
        self.resent = 0  # batches that were sent again
        self.answered: Counter[str] = Counter()  # batches by address

    @property
    def credits(self) -> int:
        """How many batches all replicas together take now."""
        return sum(lane.credits for lane in self._lanes.values() if lane.member.available)

    @property
    def pending(self) -> int:
        """Batches that wait for a replica with credit."""
        return len(self._pending)

    async def exchange(self, to_packet: Callable[[int], Packet]) -> Exchanged:
        """One batch there and back. `to_packet(sequence)` makes its message.

        Raises what the stage refuses the batch with, and ServiceUnavailable when no replica comes up.
        """
        if self._tending is None:
            self._tending = asyncio.create_task(self._tend())
        work = _Work(to_packet, asyncio.get_running_loop().create_future(), time.monotonic())
        self._pending.append(work)
        self._pump()
        try:
            return await work.done
        finally:
            if work in self._pending:  # cancelled before it was sent; a failed remove() would print the whole batch
                self._pending.remove(work)

    async def close(self) -> None:
        tasks = [task for task in (self._tending, *self._tasks.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        """Gives what is pending to the lanes with credit: its own zone first, then the one with the least under way."""
        while self._pending and self._pending[0].done.done():
            self._pending.popleft()
        while self._pending:
            free = [lane for lane in self._lanes.values() if len(lane.waiting) < lane.credits and lane.member.available]
            if not free:
                return
            work = self._pending.popleft()
            if not work.done.done():
                _, best = min((lane.rank(work), number) for number, lane in enumerate(free))
                free[best].give(work)

    async def _tend(self) -> None:
        """Keeps a stream open to every replica that is available."""
        while True:
            for member in self._pool.members:
                if member.available and member not in self._tasks:
                    self._tasks[member] = asyncio.create_task(self._run(member))
            if not self._lanes:
                self._give_up()
            self._pump()
            await self._pool.changed(_TICK_SECONDS)

    def _give_up(self) -> None:
        for work in self._pending:
            if time.monotonic() - work.since > self._pool.wait and not work.done.done():
                work.done.set_exception(self._pool.unavailable())

    async def _run(self, member: Member) -> None:
        """One stream from opening to end."""
        stream = self._open_stream(member)
        lane: _Lane | None = None
        error: Exception | None = None
        try:
            async with stream:
                lane = self._lanes[member] = _Lane(member, stream)
                self._pump()
                await self._converse(lane)
        except Exception as raised:
            error = raised
        finally:
            self._lanes.pop(member, None)
            self._tasks.pop(member, None)
            if lane is not None:
                member.outstanding -= len(lane.waiting)
            if error is not None:
                member.note(error if lane else ServiceUnavailable(f"no stream can be opened: {error}"))
                self._send_elsewhere(lane, error)

    async def _converse(self, lane: _Lane) -> None:
        """Returns when the replica drains and has nothing more to answer."""
        sender = asyncio.create_task(lane.send())
        reader = asyncio.create_task(lane.stream.read())
        closed = False
        try:
            while True:
                await asyncio.wait({reader, sender}, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if reader.done():
                    packet = reader.result()
                    if packet is None:
                        break
                    self.answered[lane.member.address] += lane.take(packet)
                    self._pump()
                    reader = asyncio.create_task(lane.stream.read())
                elif sender.done():
                    sender.result()
                elif lane.member.lost:
                    raise ServiceUnavailable(f"{lane.member.address} answers nothing any more")
                elif lane.waiting and time.monotonic() - lane.heard > self._stall:
                    raise Stalled(f"no answer from {lane.member.address} for {self._stall:g} seconds")
                elif not lane.member.available and not lane.waiting and not closed:
                    self._lanes.pop(lane.member, None)
                    await lane.stream.half_close()
                    closed = True
            if lane.waiting:
                raise ServiceUnavailable(f"{lane.member.address} ended its stream before all was answered")
        finally:
            for task in (reader, sender):
                task.cancel()
            await asyncio.gather(reader, sender, return_exceptions=True)

    def _send_elsewhere(self, lane: _Lane | None, error: Exception) -> None:
        """What a broken stream had waits again, before all else. A batch that the stage refuses is not tried again."""
        if lane is None or not lane.waiting:
            return
        works = [work for work in lane.waiting.values() if not work.done.done()]
        refused = works[0] if works and isinstance(error, InvalidInput | FailedPrecondition | BatchTooLarge) else None
        for work in reversed(works):
            work.tried.append(lane.member.address)
            if work is refused or len(work.tried) >= _MAX_TRIES:
                work.done.set_exception(error)
                continue
            work.answers.clear()
            work.since = time.monotonic()
            self._pending.appendleft(work)
            self.resent += 1
            RESENT.labels(error.reason() if isinstance(error, SynclineError) else type(error).__name__).inc()
        _log.warning("stream broke", address=lane.member.address, batches=len(works), error=str(error))
        self._pump()
