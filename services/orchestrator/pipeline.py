"""How work flows through one stage and out again in its old order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from services.runtime.calls import ClientStream
from services.runtime.wire import Packet
from syncline.errors import InternalError

Item = TypeVar("Item")


async def pass_through(
    stream: ClientStream,
    items: AsyncIterator[Item],
    to_packet: Callable[[int, Item], Packet | None],
    take_answer: Callable[[Item, Packet], None],
) -> AsyncGenerator[Item, None]:
    """Sends each item's packet down the stream, hands the answer to the item, and yields the items in order.

    `to_packet(sequence, item)` gives None for an item that has nothing to send: it keeps its place and passes by.
    How many items are under way is bounded by the stream's credit.
    """
    loop = asyncio.get_running_loop()
    ordered: asyncio.Queue[tuple[Item, asyncio.Future[None]]] = asyncio.Queue(maxsize=1)
    waiting: deque[tuple[Item, asyncio.Future[None]]] = deque()

    async def packets() -> AsyncIterator[Packet]:
        sequence = 0
        async for item in items:
            answered: asyncio.Future[None] = loop.create_future()
            packet = to_packet(sequence, item)
            if packet is None:
                answered.set_result(None)
            else:
                sequence += 1
                waiting.append((item, answered))
            await ordered.put((item, answered))
            if packet is not None:
                yield packet

    async def read_answers() -> None:
        async for packet in stream.exchange(packets()):
            kind = packet.message.WhichOneof("message")
            if kind == "progress":
                continue
            if not waiting:
                raise InternalError("the stage answered more than it was asked")
            item, answered = waiting[0]
            take_answer(item, packet)
            if kind != "error":  # errors of a batch's items come before its answer
                waiting.popleft()
                answered.set_result(None)
        if waiting:
            raise InternalError("the stage ended its stream before all was answered")

    reader = asyncio.ensure_future(read_answers())
    try:
        while (entry := await _first(ordered.get(), reader)) is not None or not ordered.empty():
            item, answered = entry or ordered.get_nowait()
            await _first(answered, reader)
            yield item
        reader.result()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)  # nothing is left running


async def work_ahead(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[None]], ahead: Callable[[], int]
) -> AsyncGenerator[Item, None]:
    """Works on up to `ahead()` items at a time and yields them in order, each when its work is done."""
    ordered: asyncio.Queue[tuple[Item, asyncio.Future[None]]] = asyncio.Queue()
    taken = asyncio.Event()

    async def begin() -> None:
        async for item in items:
            ordered.put_nowait((item, asyncio.ensure_future(work(item))))
            while ordered.qsize() >= max(1, ahead()):
                taken.clear()
                await taken.wait()

    beginner = asyncio.ensure_future(begin())
    try:
        while (entry := await _first(ordered.get(), beginner)) is not None or not ordered.empty():
            item, worked = entry or ordered.get_nowait()
            try:
                await worked
            finally:
                worked.cancel()
            taken.set()
            yield item
        beginner.result()
    finally:
        beginner.cancel()
        left = [ordered.get_nowait()[1] for _ in range(ordered.qsize())]
        for worked in left:
            worked.cancel()
        await asyncio.gather(beginner, *left, return_exceptions=True)  # nothing is left running


async def _first(wanted: Any, reader: "asyncio.Future[None]") -> Any:
    """The result wanted, or None when the reader ended without it. Raises the reader's error when that comes first."""
    future = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait({future, reader}, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        reader.result()
        return None
    finally:
        if not future.done():
            future.cancel()
