"""A stage's replicas as the worker uses them: one channel each, the least busy first, the failing ones rested."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.orchestrator.discovery import Discovery, Endpoint
from services.runtime.channel import open_channel
from services.runtime.config import ConfigError
from services.runtime.tls import ClientKeys
from syncline.errors import Exhausted, InternalError, ServiceUnavailable, Stalled, Unavailable, from_rpc_error

_log = structlog.get_logger("pool")
_PROBE_SECONDS = 1.0  # between looks at a replica's health
_ANSWER_SECONDS = 3.0  # that an answer may take: a busy machine is not a frozen one
_SILENCES = 2  # unanswered probes in a row that make a replica frozen or cut off
_REST_SECONDS = 0.5  # after a first failure; doubles with each further one
_MAX_REST_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_RENEW_SECONDS = 5.0  # between looks whether the certificates were replaced


class Member:
    """One replica and what is known of it. `outstanding`: calls or batches under way on it."""

    def __init__(self, endpoint: Endpoint, channel: Any, make_stub: Callable[[Any], Any], remote: bool) -> None:
        self.endpoint = endpoint
        self.remote = remote  # in another zone: second choice
        self.channel = channel
        self.stub = make_stub(channel)
        self.outstanding = 0
        self.gone = False  # no longer among the replicas
        self.lost = False  # it answers nothing: what is under way there will not come back
        self.trouble = ""  # its last failure
        self._unwell = False  # a probe found it unable to take work, or it failed and was not probed since
        self._failures = 0
        self._rest_until = 0.0

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def state(self) -> str:
        """ "ready", or why it is given no work: "gone", "lost", "draining", "unwell", "resting"."""
        if self.gone or self.lost:
            return "gone" if self.gone else "lost"
        if self.endpoint.draining:
            return "draining"
        if self._unwell:
            return "unwell"
        return "resting" if self._failures and time.monotonic() < self._rest_until else "ready"

    @property
    def available(self) -> bool:
        """May be given work."""
        return self.state == "ready"

    def note(self, failure: BaseException | None) -> None:
        """How a call ended: a failure of the replica or of the way to it rests it, any answer of its own does not."""
        if not isinstance(failure, Unavailable | Stalled | Exhausted | InternalError):
            self._failures = 0
            return
        self.trouble = str(failure)
        rest = min(_MAX_REST_SECONDS, _REST_SECONDS * 2 ** min(self._failures, 8)) * random.uniform(0.8, 1.2)
        self._failures += 1
        self._rest_until = time.monotonic() + rest
        self._unwell = True
        _log.warning("replica rested", address=self.address, seconds=round(rest, 1), error=str(failure))

    async def probe(self) -> None:
        """Keeps `available` and `lost` true to what the replica says of its health, until it is gone."""
        check = health_pb2_grpc.HealthStub(self.channel).Check
        silences = 0
        while not (self.gone and not self.outstanding):
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    silences += 1
                    self._set_lost(silences >= _SILENCES)
                else:
                    self._unwell = True
                    self.trouble = str(from_rpc_error(error))
                continue
            silences = 0
            self._set_lost(False)
            self._unwell = answer.status != health_pb2.HealthCheckResponse.SERVING

    def _set_lost(self, lost: bool) -> None:
        if lost != self.lost:
            self.lost = lost
            _log.warning("replica answers nothing" if lost else "replica answers again", address=self.address)


class Pool:
    """All replicas of a stage. Used on one event loop.

    `wait`: seconds that work waits for one to be available; `zone`: whose replicas come first; `keys`: of TLS.
    """

    def __init__(
        self,
        stage: str,
        discovery: Discovery,
        make_stub: Callable[[Any], Any],
        wait: float,
        zone: str = "",
        keys: ClientKeys | None = None,
    ) -> None:
        self.stage = stage
        self.wait = wait
        self._discovery = discovery
        self._make_stub = make_stub
        self._zone = zone
        self._keys = keys
        self._credentials = keys.read() if keys else None
        self._members: dict[str, Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._started = False

    @property
    def members(self) -> list[Member]:
        """All that are known now, available or not; begins to look for them."""
        self._start()
        return self.known

    @property
    def known(self) -> list[Member]:
        """All that are known now, from any thread."""
        return list(self._members.values())

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Member]:
        """The least busy replica, counted as busy with one more call. Raises ServiceUnavailable when none comes up."""
        member = await self._pick()
        member.outstanding += 1
        try:
            yield member
        finally:
            member.outstanding -= 1

    async def changed(self, seconds: float) -> None:
        """Waits until the replicas have changed, at most so long."""
        self._start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # unlike wait_for of Python 3.11 it swallows no cancel
                await self._changed.wait()

    def unavailable(self) -> ServiceUnavailable:
        """Why nothing can be done now, for a person."""
        known = [f"{address}: {member.trouble or member.state}" for address, member in sorted(self._members.items())]
        message = f"the {self.stage} cannot be reached: no replica was ready for {self.wait:g} s"
        return ServiceUnavailable(f"{message} ({'; '.join(known) or 'none is known'})")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for member in self._members.values():
            await member.channel.close()

    async def _pick(self) -> Member:
        end = time.monotonic() + self.wait
        while not (available := [member for member in self.members if member.available]):
            if time.monotonic() >= end:
                raise self.unavailable()
            await self.changed(0.1)
        least = min((member.remote, member.outstanding) for member in available)
        return random.choice([member for member in available if (member.remote, member.outstanding) == least])

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._run(self._follow())
            if self._keys:
                self._run(self._renew(self._keys))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self) -> None:
        while True:
            try:
                async for endpoints in self._discovery.watch():
                    self._update({endpoint.address: endpoint for endpoint in endpoints})
                return
            except Exception as error:  # what is known stays in force
                _log.warning("replicas cannot be looked up", stage=self.stage, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _renew(self, keys: ClientKeys) -> None:
        """Connects anew once the certificates were replaced; what is under way ends on the old connections."""
        age = keys.age()
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            if (latest := keys.age()) == age:
                continue
            try:
                self._credentials = keys.read()
            except ConfigError as error:  # in the middle of being replaced
                _log.warning("the certificates stay as they were", stage=self.stage, error=str(error))
                continue
            age = latest
            endpoints = {member.address: member.endpoint for member in self.known}
            self._update({})
            self._update(endpoints)

    def _update(self, endpoints: dict[str, Endpoint]) -> None:
        for address, endpoint in endpoints.items():
            known = self._members.get(address)
            if known is None:
                remote = bool(self._zone and endpoint.zone and endpoint.zone != self._zone)
                channel = open_channel(address, self._credentials, self.stage)
                self._members[address] = member = Member(endpoint, channel, self._make_stub, remote)
                self._run(self._attend(member))
                _log.info("replica found", stage=self.stage, address=address)
            else:
                known.endpoint = endpoint
        for address in self._members.keys() - endpoints.keys():
            _log.info("replica gone", stage=self.stage, address=address)
            self._members.pop(address).gone = True
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _attend(self, member: Member) -> None:
        try:
            await member.probe()
        finally:
            if member.gone:
                await member.channel.close()
