"""Stages as their clients see them: a real servicer on a free port of loopback, and conversations with it."""

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
import skimage.data
import structlog

from services.detector.engines import load_engine
from services.runtime.calls import ClientStream
from services.runtime.channel import open_channel
from services.runtime.config import ServerConfig
from services.runtime.faces import Crop
from services.runtime.ring import FOLDER
from services.runtime.server import RunningServer, Servicer, start
from services.runtime.wire import Packet
from syncline import errors

Result = TypeVar("Result")

HANGS = 60  # seconds after which a test is taken to hang: far above what a busy machine needs
STALL = 30  # seconds without a word from the server


@dataclass
class Served:
    """A stage that serves. `calls`: its log of calls that ended."""

    channel: Any
    running: RunningServer
    calls: list[Any] = field(default_factory=list)

    async def stop(self) -> None:
        """At once, as when the machine dies."""
        await self.running.stop(0)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which must not hang."""

    async def in_time() -> Result:
        return await asyncio.wait_for(work, HANGS)

    return asyncio.run(in_time())


def rings() -> list[str]:
    """Names of this process's rings in shared memory: others' tests run beside ours."""
    return [path.name for path in FOLDER.glob(f"syncline-{os.getpid()}-*")]


@contextlib.asynccontextmanager
async def serving(servicer: Servicer) -> AsyncIterator[Served]:
    """A server for as long as the block lasts. Fails when it logs an error that nobody handled."""
    unhandled: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # gRPC's one poller serves all loops of the process: what it still brings to a loop of an earlier test is no
        # error of this one.
        if "PollerCompletionQueue" not in str(context) or "Event loop is closed" not in str(context):
            unhandled.append(str(context))

    asyncio.get_running_loop().set_exception_handler(note)
    handler = _Collector(unhandled)
    logging.getLogger().addHandler(handler)
    running = await start(servicer, ServerConfig(port=0))
    channel = open_channel(f"127.0.0.1:{running.port}")
    try:
        with structlog.testing.capture_logs() as calls:
            yield Served(channel, running, calls)
    finally:
        await channel.close()
        await running.stop(1)  # calls just cancelled end first: one that meets a stopped server logs an error
        gc.collect(1)  # errors of tasks that nobody waits for are told when the task is collected
        await asyncio.sleep(0)
        logging.getLogger().removeHandler(handler)
    assert not unhandled, unhandled


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


async def as_stream(packets: Iterable[Any]) -> AsyncIterator[Any]:
    for packet in packets:
        yield packet


async def converse(method: Any, opening: Any, packets: Iterable[Any] = ()) -> list[Any]:
    """The server's answers to the packets, as fast as its credit allows."""
    async with ClientStream(method, opening, (), STALL) as stream:
        return [packet async for packet in stream.exchange(as_stream(packets))]


async def pour(method: Any, opening: Any, packets: Sequence[Any]) -> list[Any]:
    """As converse, by a client that heeds no credit; everything that came is returned, Completed as well."""
    async with ClientStream(method, opening, (), STALL) as stream:
        for packet in packets:
            await stream.send(packet)
        await stream.half_close()
        answers = []
        while (answer := await stream.read()) is not None:
            answers.append(answer)
        return answers


async def is_refused(error: type[errors.SynclineError], work: Coroutine[Any, Any, Any]) -> errors.SynclineError:
    """Expects exactly this class and a message that a person can act on."""
    with pytest.raises(errors.SynclineError) as raised:
        await work
    assert type(raised.value) is error, raised.value
    assert len(raised.value.message) > 15
    return raised.value


async def wait_until_ended(served: Served, method: str) -> str:
    """The status with which the last call of the method ended, once it has."""
    while not (ended := [call["code"] for call in served.calls if call.get("method") == method]):
        await asyncio.sleep(0.01)
    return str(ended[-1])


async def wait_until_still(count: Callable[[], int]) -> None:
    """Until the count of work done has not grown for a while: the batch under way may end, none may follow."""
    before = -1
    while before != (before := count()):
        await asyncio.sleep(0.3)


@cache
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """The photo that scikit-image carries, (512, 512, 3) uint8, and the mesh (468, 3) of its face."""
    photo = skimage.data.astronaut()
    found = load_engine("blazeface", 2).landmark(photo[:300, 100:360], None)
    assert found is not None
    return photo, found[1] + np.array([100, 0, 0], np.float32)


def sway(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The portrait and its mesh, moved by some whole pixels as a head that sways."""
    photo, mesh = portrait()
    x, y = round(6 * np.sin(frame / 3)), round(4 * np.sin(frame / 2))
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    moved = cv2.warpAffine(photo, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    return moved, mesh + np.array([x, y, 0], np.float32)


def face_crop(frame: int, side: int = 192) -> Crop:
    """A crop of the swaying portrait about its lower face, RGB, with its mesh; pts count frames."""
    picture, mesh = sway(frame)
    left, top = 222 - side // 2, 150 - side // 2
    pixels = np.ascontiguousarray(picture[top : top + side, left : left + side])
    return Crop(frame, frame, pixels, mesh - np.array([left, top, 0], np.float32))


def with_weight(crop: Crop) -> Crop:
    """The crop as lipsync hands it on: RGBA, its mouth replaced by a brighter one under a soft mask."""
    height, width = crop.pixels.shape[:2]
    weight = np.zeros((height, width), np.uint8)
    cv2.ellipse(weight, (width // 2, height // 2), (width // 4, height // 5), 0, 0, 360, 255, -1)
    weight = cv2.GaussianBlur(weight, (0, 0), max(width / 60, 0.5))
    weight[0] = 0  # the border keeps the frame's pixels
    brighter = np.where(weight[..., None] > 0, np.minimum(crop.pixels.astype(int) + 9, 255), crop.pixels)
    pixels = np.dstack([brighter.astype(np.uint8), weight])
    return Crop(crop.frame, crop.pts, pixels, crop.landmarks, crop.outcome)


def merge(message: Any, **changes: Any) -> Any:
    """A copy of a message with fields set."""
    changed = type(message)()
    changed.CopyFrom(message)
    changed.MergeFrom(type(message)(**changes))
    return changed


def is_packet(answer: Any, kind: str) -> bool:
    message = answer.message if isinstance(answer, Packet) else answer
    return bool(message.WhichOneof("message") == kind)
