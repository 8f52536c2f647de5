"""How work flows through a stage: a real server whose engine does little, so that only the flow is tested."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.pipeline import pass_through, work_ahead
from services.restorer.servicer import RestorerServicer
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, to_crops
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop
from services.runtime.frames import PixelFormat
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import restorer_pb2, restorer_pb2_grpc
from tests.stages import STALL, run, serving

OPEN = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
BREAKS = 99  # a crop of this brightness breaks the engine


class Inverter:
    info = EngineInfo("inverter", "1")

    def restore(self, crops: Sequence[Crop], strength: float, *rest: object) -> list[Crop]:
        if (crops[0].pixels == BREAKS).all():
            raise ZeroDivisionError("a fault of the engine")
        return [replace(crop, pixels=255 - crop.pixels) for crop in crops]


@dataclass
class Item:
    """`level`: brightness of its crop; None: nothing to send."""

    number: int
    level: int | None
    answers: list[int] = field(default_factory=list)


def to_packet(sequence: int, item: Item) -> Packet | None:
    if item.level is None:
        return None
    batch, payload = from_crops(sequence, [Crop(item.number, 0, np.full((16, 16, 4), item.level, np.uint8), None)])
    return Packet(restorer_pb2.RestoreRequest(crops=batch), payload)


def take_answer(item: Item, answer: Packet) -> None:
    (crop,) = to_crops(answer.message.crops, answer.data, PixelFormat.RGBA32)
    assert crop.frame == item.number
    item.answers.append(int(crop.pixels[0, 0, 0]))


@dataclass
class Source:
    """Items as they come, how many were asked for, and whether the source was closed."""

    levels: Sequence[int | None]
    fails_at: int | None = None
    given: int = 0
    closed: bool = False

    async def items(self) -> AsyncIterator[Item]:
        try:
            for number, level in enumerate(self.levels):
                if number == self.fails_at:
                    raise KeyError("the frames ran out")
                self.given += 1
                yield Item(number, level)
        finally:
            self.closed = True


def flow(work: Callable[[ClientStream], Coroutine[Any, Any, None]]) -> None:
    """Does the work on a stream, and checks that it leaves no task running."""

    async def call() -> None:
        async with serving(RestorerServicer(Inverter())) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            async with ClientStream(stub.Restore, OPEN, (), STALL) as stream:
                before = asyncio.all_tasks()
                await work(stream)
                for _ in range(5):  # tasks that were cancelled end
                    await asyncio.sleep(0)
                left = {task for task in asyncio.all_tasks() - before if "pipeline" in repr(task.get_coro())}
                left |= {task for task in asyncio.all_tasks() - before if "ClientStream" in repr(task.get_coro())}
                assert not left

    run(call())


def pass_all(
    source: Source,
    make: Callable[[int, Item], Packet | None] = to_packet,
    take: Callable[[Item, Packet], None] = take_answer,
) -> list[Item]:
    passed: list[Item] = []

    async def work(stream: ClientStream) -> None:
        passed.extend([item async for item in pass_through(stream, source.items(), make, take)])

    try:
        flow(work)
    finally:
        assert source.closed
    return passed


@pytest.mark.parametrize(
    "levels",
    [
        [],
        [1],
        [None],
        [None] * 30,
        list(range(30)),
        [None, 1, 2, 3],
        [1, 2, 3, None],
        [None] * 10 + [5] + [None] * 10,
        [1, None] * 15,
        [None, None, 1, 2, None, 3, None, None, None, None, None, None, 4],
    ],
)
def test_items_keep_their_order_and_get_their_own_answers(levels: list[int | None]) -> None:
    passed = pass_all(Source(levels))
    assert [item.number for item in passed] == list(range(len(levels)))
    assert [item.answers for item in passed] == [[] if level is None else [255 - level] for level in levels]


@settings(max_examples=15, deadline=None)
@given(levels=st.lists(st.none() | st.integers(0, 90), max_size=30))
def test_any_mixture_keeps_its_order(levels: list[int | None]) -> None:
    passed = pass_all(Source(levels))
    assert [(item.number, item.level) for item in passed] == list(enumerate(levels))
    assert [item.answers for item in passed] == [[] if level is None else [255 - level] for level in levels]


def test_stages_follow_one_another() -> None:
    """Two streams in a row, as in a render: twice inverted is as it was."""
    source = Source([1, None, 2, 3, None] * 5)
    passed: list[Item] = []

    def send_again(sequence: int, item: Item) -> Packet | None:
        return to_packet(sequence, replace(item, level=item.answers[0])) if item.answers else None

    async def call() -> None:
        async with serving(RestorerServicer(Inverter())) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            async with (
                ClientStream(stub.Restore, OPEN, (), STALL) as first,
                ClientStream(stub.Restore, OPEN, (), STALL) as second,
            ):
                once = pass_through(first, source.items(), to_packet, take_answer)
                passed.extend([item async for item in pass_through(second, once, send_again, take_answer)])

    run(call())
    assert [item.number for item in passed] == list(range(25))
    assert all(item.answers == ([] if item.level is None else [255 - item.level, item.level]) for item in passed)


@pytest.mark.parametrize("at", [0, 1, 7, 19])
@pytest.mark.parametrize("level", [None, 5])
def test_an_error_of_the_source_reaches_the_caller(at: int, level: int | None) -> None:
    with pytest.raises(KeyError, match="ran out"):
        pass_all(Source([level] * 20, fails_at=at))


def test_an_error_in_making_a_message_reaches_the_caller() -> None:
    def make(sequence: int, item: Item) -> Packet | None:
        if item.number == 3:
            raise ValueError("cannot be sent")
        return to_packet(sequence, item)

    with pytest.raises(ValueError, match="cannot be sent"):
        pass_all(Source([1] * 20), make=make)


@pytest.mark.parametrize("at", [0, 4, 19])
def test_an_error_of_the_stage_reaches_the_caller(at: int) -> None:
    levels = [1] * 20
    levels[at] = BREAKS
    with pytest.raises(errors.InternalError, match="ZeroDivisionError"):
        pass_all(Source(levels))


def test_a_refusal_of_the_stage_reaches_the_caller() -> None:
    def make(sequence: int, item: Item) -> Packet | None:
        return to_packet(sequence if item.number < 3 else sequence + 1, item)

    with pytest.raises(errors.OutOfOrder):
        pass_all(Source([1] * 20), make=make)


def test_an_error_in_taking_an_answer_reaches_the_caller() -> None:
    def take(item: Item, answer: Packet) -> None:
        if item.number == 2:
            raise LookupError("nobody asked for this")
        take_answer(item, answer)

    with pytest.raises(LookupError, match="nobody asked"):
        pass_all(Source([1] * 20), take=take)


def test_a_server_that_goes_away_reaches_the_caller() -> None:
    async def call() -> None:
        async with serving(RestorerServicer(Inverter())) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            async with ClientStream(stub.Restore, OPEN, (), STALL) as stream:
                async for item in pass_through(stream, Source([1] * 1000).items(), to_packet, take_answer):
                    if item.number == 3:
                        await served.stop()

    with pytest.raises(errors.Unavailable):
        run(call())


@pytest.mark.parametrize("level", [None, 5])
def test_a_caller_that_loses_interest_leaves_nothing_running(level: int | None) -> None:
    source = Source([level] * 1000)

    async def work(stream: ClientStream) -> None:
        passing = pass_through(stream, source.items(), to_packet, take_answer)
        async for item in passing:
            if item.number == 5:
                break
        await passing.aclose()  # type: ignore[attr-defined]

    flow(work)
    assert source.closed
    assert source.given < 30


@pytest.mark.parametrize("level", [None, 5])
def test_a_slow_caller_holds_up_the_source(level: int | None) -> None:
    source, ahead = Source([level] * 60), []

    async def work(stream: ClientStream) -> None:
        async for item in pass_through(stream, source.items(), to_packet, take_answer):
            await asyncio.sleep(0.002)
            ahead.append(source.given - item.number)

    flow(work)
    assert max(ahead) < 12


async def numbers(count: int, fails_at: int = -1) -> AsyncIterator[int]:
    for number in range(count):
        if number == fails_at:
            raise ZeroDivisionError
        yield number


@settings(max_examples=20, deadline=None)
@given(pauses=st.lists(st.integers(0, 3), max_size=12), ahead=st.integers(0, 5))
def test_work_ahead_keeps_the_order_and_the_limit(pauses: list[int], ahead: int) -> None:
    busy = most = 0

    async def pause(number: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(pauses[number] / 1000)
        busy -= 1

    async def work() -> list[int]:
        return [number async for number in work_ahead(numbers(len(pauses)), pause, lambda: ahead)]

    assert run(work()) == list(range(len(pauses)))
    assert most <= max(1, ahead) + 1  # the one that is waited for, and those behind it


@pytest.mark.parametrize("source_fails", [True, False])
def test_work_ahead_ends_with_the_first_error_and_leaves_nothing_running(source_fails: bool) -> None:
    async def work() -> list[int]:
        seen = []

        async def one(number: int) -> None:
            if number > 3:
                await asyncio.sleep(30)
            if number == 3 and not source_fails:
                raise ZeroDivisionError

        async def consume() -> None:
            async for number in work_ahead(numbers(9, 3 if source_fails else -1), one, lambda: 4):
                seen.append(number)  # noqa: PERF401

        with pytest.raises(ZeroDivisionError):
            await consume()
        assert len(asyncio.all_tasks()) <= 2  # this one, and the clock of `run`
        return seen

    assert run(work()) == [0, 1, 2]
