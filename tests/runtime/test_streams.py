"""The handshake, both sides, over a real server: a restorer whose engine only inverts colours."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.restorer.servicer import RestorerServicer
from services.runtime.blobs import Spool
from services.runtime.calls import ClientStream
from services.runtime.channel import open_channel
from services.runtime.config import ServerConfig
from services.runtime.convert import from_crops, to_crops
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop
from services.runtime.frames import PixelFormat
from services.runtime.server import start
from services.runtime.streams import MAX_BATCH_ITEMS, ServerStream, blob_chunks, entered_in_thread
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import lipsync_pb2, media_pb2, restorer_pb2, restorer_pb2_grpc


class Inverter:
    info = EngineInfo("inverter", "1")

    def restore(self, crops: Sequence[Crop], strength: float, *rest: object) -> list[Crop]:
        if strength == 0.5:
            raise ZeroDivisionError("a fault of the engine")
        return [replace(crop, pixels=255 - crop.pixels) for crop in crops]


@contextlib.asynccontextmanager
async def restorer_stub() -> AsyncIterator[Any]:
    running = await start(RestorerServicer(Inverter()), ServerConfig(port=0))
    channel = open_channel(f"127.0.0.1:{running.port}")
    try:
        yield restorer_pb2_grpc.RestorerServiceStub(channel)
    finally:
        await channel.close()
        await running.stop(0)


def crop_packet(sequence: int, count: int = 2, side: int = 16, strength: float | None = None) -> Packet:
    crops = [Crop(number, 0, np.full((side, side, 4), sequence, np.uint8), None) for number in range(count)]
    batch, payload = from_crops(sequence, crops)
    return Packet(restorer_pb2.RestoreRequest(crops=batch, strength=strength), payload)


async def as_stream(packets: Sequence[Packet]) -> AsyncIterator[Packet]:
    for packet in packets:
        yield packet


async def restore(packets: Sequence[Packet], engine: str = "") -> list[Packet]:
    async with restorer_stub() as stub:
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(engine=engine)))
        async with ClientStream(stub.Restore, opening, (), stall=10) as stream:
            return [packet async for packet in stream.exchange(as_stream(packets))]


def test_batches_come_back_in_order_whatever_their_number() -> None:
    answers = asyncio.run(restore([crop_packet(sequence) for sequence in range(20)]))
    assert [answer.message.crops.sequence for answer in answers] == list(range(20))
    for answer in answers:
        crops = to_crops(answer.message.crops, answer.data, PixelFormat.RGBA32)
        assert (crops[1].pixels == 255 - answer.message.crops.sequence).all()


def test_no_batches_at_all_is_a_whole_stream() -> None:
    assert asyncio.run(restore([])) == []


@pytest.mark.parametrize(
    ("packets", "error"),
    [
        ([crop_packet(1)], errors.OutOfOrder),
        ([crop_packet(0), crop_packet(0)], errors.OutOfOrder),
        ([crop_packet(0, count=MAX_BATCH_ITEMS + 1)], errors.BatchTooLarge),
        ([crop_packet(0, side=8)], errors.InvalidBatch),
        ([crop_packet(0, strength=2)], errors.InvalidOption),
        ([crop_packet(0, strength=0.5)], errors.InternalError),
        ([Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))], errors.OutOfOrder),
        ([Packet(crop_packet(0).message, [b"too few bytes"])], errors.InvalidBatch),
    ],
)
def test_a_wrong_message_ends_the_stream_with_its_reason(
    packets: list[Packet], error: type[errors.SynclineError]
) -> None:
    with pytest.raises(error) as raised:
        asyncio.run(restore(packets))
    assert raised.value.message


def test_pixels_of_another_format_are_refused() -> None:
    batch, payload = from_crops(0, [Crop(0, 0, np.zeros((16, 16, 3), np.uint8), None)])
    with pytest.raises(errors.InvalidBatch, match="RGBA32"):
        asyncio.run(restore([Packet(restorer_pb2.RestoreRequest(crops=batch), payload)]))


def test_an_unknown_engine_is_refused_and_named() -> None:
    with pytest.raises(errors.UnknownEngine, match=r"gfpgan.*inverter"):
        asyncio.run(restore([], engine="gfpgan"))


def test_a_stream_must_begin_with_open() -> None:
    async def call() -> None:
        async with restorer_stub() as stub, ClientStream(stub.Restore, crop_packet(0), ()):
            pass

    with pytest.raises(errors.OutOfOrder, match="open"):
        asyncio.run(call())


def test_a_transport_the_server_cannot_do_is_refused() -> None:
    async def call() -> None:
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(transports=[0])))
        async with restorer_stub() as stub, ClientStream(stub.Restore, opening, ()):
            pass

    with pytest.raises(errors.InvalidOption, match="INLINE"):
        asyncio.run(call())


def test_an_unreachable_server_is_unavailable() -> None:
    async def call() -> None:
        channel = open_channel("127.0.0.1:1")
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
        async with ClientStream(restorer_pb2_grpc.RestorerServiceStub(channel).Restore, opening, ()):
            pass

    with pytest.raises(errors.ServiceUnavailable):
        asyncio.run(call())


def test_a_silent_server_stalls() -> None:
    class Silent(Inverter):
        def restore(self, crops: Sequence[Crop], strength: float, *rest: object) -> list[Crop]:
            import time

            time.sleep(1.5)
            return list(crops)

    async def call() -> None:
        running = await start(RestorerServicer(Silent()), ServerConfig(port=0))
        channel = open_channel(f"127.0.0.1:{running.port}")
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
        stub = restorer_pb2_grpc.RestorerServiceStub(channel)
        try:
            async with ClientStream(stub.Restore, opening, (), stall=0.5) as stream:
                async for _ in stream.exchange(as_stream([crop_packet(0)])):
                    pass
        finally:
            await channel.close()
            await running.stop(0)

    with pytest.raises(errors.Stalled, match=r"0\.5 seconds"):
        asyncio.run(call())


def test_an_error_in_what_is_sent_reaches_the_caller() -> None:
    async def failing() -> AsyncIterator[Packet]:
        yield crop_packet(0)
        raise KeyError("the frames ran out")

    async def call() -> None:
        async with restorer_stub() as stub:
            opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
            async with ClientStream(stub.Restore, opening, ()) as stream:
                async for _ in stream.exchange(failing()):
                    pass

    with pytest.raises(KeyError):
        asyncio.run(call())


def send_blob(content: bytes) -> list[Packet]:
    async def send() -> list[Packet]:
        chunks = blob_chunks(Spool.of(content))
        return [Packet(lipsync_pb2.SyncRequest(blob=chunk), payload) async for chunk, payload in chunks]

    return asyncio.run(send())


def read_blob(chunks: list[Packet], digest: str) -> bytes:
    async def read() -> bytes:
        blob = (await ServerStream(as_stream(chunks)).read_blobs("blob", [digest]))[digest]
        return b"".join(blob.pieces())

    return asyncio.run(read())


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_blobs_arrive_whole(size: int) -> None:
    blob = np.random.default_rng(size).bytes(size)
    chunks = send_blob(blob)
    assert read_blob(chunks, hashlib.sha256(blob).hexdigest()) == blob


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chunks: chunks[1:], "OUT_OF_ORDER"),
        (lambda chunks: chunks[:1], "OUT_OF_ORDER"),
        (lambda chunks: [chunks[0], Packet(chunks[1].message, [b"x" * len(chunks[1].data)])], "CHECKSUM_MISMATCH"),
        (lambda chunks: [Packet(chunks[0].message, [bytes(9_000_001)])], "BATCH_TOO_LARGE"),
    ],
)
def test_a_blob_that_is_not_what_it_says_is_refused(change: Any, reason: str) -> None:
    blob = np.random.default_rng(0).bytes(2_000_000)
    chunks = send_blob(blob)
    with pytest.raises(Exception, match=r".") as raised:
        read_blob(change(chunks), hashlib.sha256(blob).hexdigest())
    assert getattr(raised.value, "reason", None) == reason


def test_terms_name_the_engine() -> None:
    async def call() -> media_pb2.StreamTerms:
        async with restorer_stub() as stub:
            opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
            async with ClientStream(stub.Restore, opening, ()) as stream:
                terms: media_pb2.StreamTerms = stream.opened.terms
                return terms

    terms = asyncio.run(call())
    assert (terms.engine.name, terms.engine.version, terms.transport) == ("inverter", "1", media_pb2.TRANSPORT_INLINE)


class Slow:
    """What opens and closes in a while, and keeps what it was closed with."""

    def __enter__(self) -> "Slow":
        time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        time.sleep(0.05)
        self.closed_with = kind


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_loop_turns_while_something_opens_and_closes(error: type[Exception] | None) -> None:
    slow, turns = Slow(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    async def call() -> None:
        counting = asyncio.ensure_future(count())
        try:
            async with entered_in_thread(slow) as entered:
                assert entered is slow
                before = turns
                if error is not None:
                    raise error
            assert turns > before + 5
        finally:
            counting.cancel()

    with contextlib.nullcontext() if error is None else pytest.raises(error):
        asyncio.run(call())
    assert slow.closed_with is error
    assert turns > 10
