"""Batches over several restorers on several addresses, some of which are killed, frozen, cut off, slowed, drained."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.dispatch import Roster, dispatching
from benchmarks.fixed_cost import FixedCost, Replica, is_answer_to, make_packet, replica
from services.orchestrator.discovery import Endpoint, FixedList
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.pool import Pool
from services.orchestrator.stages import open_restorer
from services.restorer.servicer import RestorerServicer
from services.runtime.engine import Caller
from services.runtime.faces import Crop
from services.runtime.refusal import Refusal
from services.runtime.streams import CREDITS
from syncline.errors import InternalError, InvalidBatch, ServiceUnavailable
from syncline.v1 import restorer_pb2_grpc
from tests.stages import run, serving

COST = 0.05  # seconds a batch
REFUSED, BROKEN = 200, 201  # batches with these numbers meet a refusal, or a fault, of the engine


class Picky(FixedCost):
    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.met: list[int] = []

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller) -> list[Crop]:
        self.met += [crop.frame for crop in crops]
        if crops[0].frame == REFUSED:
            raise Refusal("INVALID_BATCH", "not these")
        if crops[0].frame == BROKEN:
            raise ZeroDivisionError
        return super().restore(crops, strength, caller)


@contextlib.asynccontextmanager
async def restorers(*engines: FixedCost) -> AsyncIterator[list[str]]:
    """In this process, on ports of loopback: their addresses."""
    async with contextlib.AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving(RestorerServicer(engine))) for engine in engines]
        yield [f"127.0.0.1:{each.running.port}" for each in served]


@pytest.fixture
def three() -> Iterator[list[Replica]]:
    """Processes on addresses of their own."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replica(f"127.0.0.{number}", COST)) for number in (2, 3, 4)]


async def pass_one(dispatcher: Dispatcher, number: int) -> None:
    ((answer,), _) = await dispatcher.exchange(partial(make_packet, number))
    assert is_answer_to(number, answer)


async def pass_all(dispatcher: Dispatcher, count: int) -> None:
    await asyncio.gather(*(pass_one(dispatcher, number) for number in range(count)))


def disturb(addresses: Sequence[str], count: int, disturbance: Callable[[], Any]) -> Dispatcher:
    """Every batch is answered, and right, though there is a disturbance once all replicas have work."""

    async def work() -> Dispatcher:
        async with dispatching(FixedList(list(addresses))) as dispatcher:
            passing = asyncio.ensure_future(pass_all(dispatcher, count))
            while len(dispatcher.answered) < len(addresses):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(disturbance)
            await passing
            return dispatcher

    return run(work())


def test_a_killed_restorer_costs_no_more_than_the_batches_it_held(three: list[Replica]) -> None:
    dispatcher = disturb([each.address for each in three], 60, lambda: three[0].send(signal.SIGKILL))
    assert 1 <= dispatcher.resent <= CREDITS
    assert sum(dispatcher.answered.values()) == 60
    assert min(dispatcher.answered[each.address] for each in three[1:]) > 10


def test_a_frozen_restorer_is_left_within_seconds_and_taken_back(three: list[Replica]) -> None:
    frozen = three[0]

    async def work() -> None:
        async with dispatching(FixedList([each.address for each in three])) as dispatcher:
            await pass_all(dispatcher, 9)
            frozen.send(signal.SIGSTOP)
            await pass_all(dispatcher, 9)
            assert 1 <= dispatcher.resent <= CREDITS
            before = dispatcher.answered[frozen.address]
            frozen.send(signal.SIGCONT)
            while dispatcher.answered[frozen.address] == before:
                await pass_all(dispatcher, 3)

    run(work())


def test_a_draining_restorer_finishes_what_it_has(three: list[Replica]) -> None:
    dispatcher = disturb([each.address for each in three], 120, lambda: three[0].send(signal.SIGTERM))
    assert dispatcher.resent == 0
    assert three[0].process.wait(10) == 0


def test_a_slow_restorer_gets_little() -> None:
    async def work() -> None:
        async with (
            restorers(FixedCost(0.5), FixedCost(COST), FixedCost(COST)) as addresses,
            dispatching(FixedList(addresses)) as dispatcher,
        ):
            await pass_all(dispatcher, 30)
            assert dispatcher.answered[addresses[0]] <= 2 * CREDITS
            assert dispatcher.resent == 0

    run(work())


def test_replicas_join_and_leave_in_mid_work() -> None:
    async def work() -> None:
        async with restorers(FixedCost(COST), FixedCost(COST)) as (first, second):
            roster = Roster()
            roster.tell(first)
            async with dispatching(roster) as dispatcher:
                passing = asyncio.ensure_future(pass_all(dispatcher, 60))
                while not dispatcher.answered[first]:
                    await asyncio.sleep(0.01)
                roster.tell(first, second)
                while not dispatcher.answered[second]:
                    await asyncio.sleep(0.01)
                roster.tell(second)
                await asyncio.sleep(CREDITS * COST + 0.5)
                left = dispatcher.answered[first]
                await passing
                assert dispatcher.answered[first] == left
                assert dispatcher.resent == 0

    run(work())


def test_the_own_zone_comes_first() -> None:
    class Zones:
        async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
            yield frozenset({Endpoint(near, zone="north"), Endpoint(far, zone="south")})

    async def work(count: int) -> int:
        pool = Pool("restorer", Zones(), restorer_pb2_grpc.RestorerServiceStub, 20, zone="north")
        dispatcher = Dispatcher(pool, open_restorer, 60)
        await pass_all(dispatcher, 1)
        while dispatcher.credits < 2 * CREDITS:
            await asyncio.sleep(0.01)
        before = dispatcher.answered[far]
        await pass_all(dispatcher, count)
        await dispatcher.close()
        await pool.close()
        return dispatcher.answered[far] - before

    async def both() -> tuple[int, int]:
        nonlocal near, far
        async with restorers(FixedCost(COST), FixedCost(COST)) as (near, far):
            return await work(CREDITS), await work(4 * CREDITS)

    near = far = ""
    few, many = run(both())
    assert few == 0
    assert many > 0  # the other zone serves what the own one has no room for


def test_a_refused_batch_is_refused_and_its_neighbours_are_not() -> None:
    engine = Picky(COST)

    async def work() -> None:
        async with restorers(engine) as addresses, dispatching(FixedList(addresses)) as dispatcher:
            numbers = [1, 2, REFUSED, 3, 4]
            passed = await asyncio.gather(*(pass_one(dispatcher, n) for n in numbers), return_exceptions=True)
            assert [type(each) for each in passed] == [type(None)] * 2 + [InvalidBatch] + [type(None)] * 2

    run(work())
    assert engine.met.count(REFUSED) == 1


def test_a_batch_that_breaks_every_stream_is_given_up() -> None:
    engines = [Picky(COST), Picky(COST)]

    async def work() -> None:
        async with restorers(*engines) as addresses, dispatching(FixedList(addresses)) as dispatcher:
            broken = asyncio.ensure_future(pass_one(dispatcher, BROKEN))
            with pytest.raises(InternalError):
                await broken
            await pass_one(dispatcher, 1)

    run(work())
    assert sum(engine.met.count(BROKEN) for engine in engines) == 3
    assert all(engine.met.count(BROKEN) for engine in engines)


def test_a_cancelled_batch_leaves_the_stream_usable() -> None:
    async def work() -> None:
        async with restorers(FixedCost(0.3)) as addresses, dispatching(FixedList(addresses)) as dispatcher:
            passing = [asyncio.ensure_future(pass_one(dispatcher, number)) for number in range(6)]
            await asyncio.sleep(0.4)
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            assert dispatcher.pending == 0
            await pass_one(dispatcher, 9)
            assert dispatcher.resent == 0

    run(work())


def test_work_waits_for_a_restorer_and_says_whom_it_waited_for() -> None:
    async def work() -> None:
        async with dispatching(FixedList(["127.0.0.1:1"]), wait=1) as dispatcher:
            with pytest.raises(ServiceUnavailable, match=r"restorer cannot be reached.*127\.0\.0\.1:1"):
                await pass_one(dispatcher, 1)

    run(work())


def test_failures_rest_a_replica_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.pool.random.uniform", lambda low, high: 1.0)
    clock = 0.0
    monkeypatch.setattr("services.orchestrator.pool.time", SimpleNamespace(monotonic=lambda: clock))

    async def work() -> None:
        nonlocal clock
        async with restorers(FixedCost(0)) as addresses:
            pool = Pool("restorer", FixedList(addresses), restorer_pb2_grpc.RestorerServiceStub, 20)
            async with pool.use() as member:
                pass
            rests = []
            for _ in range(9):
                member.note(ServiceUnavailable("broke"))
                member._unwell = False  # as a probe finds it
                begun = clock
                while not member.available:
                    clock += 0.25
                rests.append(clock - begun)
            assert rests == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
            member.note(None)  # an answer ends the count
            member.note(ServiceUnavailable("broke"))
            clock += 0.5
            assert not member.available  # it was not probed yet
            while not member.available:
                await asyncio.sleep(0.01)
            await pool.close()

    run(work())


@pytest.fixture
def island() -> Iterator[tuple[str, list[str]]]:
    """A network namespace with one address: the address, and the command that runs something there."""
    name, host = f"syncline-{os.getpid()}", f"sl{os.getpid() % 100000}"
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    commands = [
        f"ip netns add {name}",
        f"ip link add {host} type veth peer name eth0 netns {name}",
        f"ip addr add 198.18.7.1/30 dev {host}",
        f"ip link set {host} up",
        f"ip -n {name} addr add 198.18.7.2/30 dev eth0",
        f"ip -n {name} link set eth0 up",
    ]
    for command in commands:
        made = subprocess.run(command.split(), capture_output=True, text=True)
        if made.returncode:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    yield "198.18.7.2", ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_restorer_that_is_cut_off_is_left_within_seconds(island: tuple[str, list[str]]) -> None:
    host, within = island
    with replica(host, COST, within) as far, replica("127.0.0.2", COST) as near:
        cut = [*within[:3], within[3], "ip", "link", "set", "eth0", "down"]
        dispatcher = disturb([far.address, near.address], 60, partial(subprocess.run, cut, check=True))
        assert 1 <= dispatcher.resent <= CREDITS
        assert sum(dispatcher.answered.values()) == 60
