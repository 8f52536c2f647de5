"""Pictures through shared memory and back, between a real restorer and its clients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.stages import transports
from services.restorer.servicer import RestorerServicer
from services.runtime import picture_rings
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, to_crops
from services.runtime.engine import ANYBODY, Caller, EngineInfo
from services.runtime.faces import Crop
from services.runtime.frames import PixelFormat
from services.runtime.picture_rings import PictureRings
from services.runtime.ring import FOLDER, RingWriter, see_shared_memory
from services.runtime.wire import Buffer, Packet
from syncline import errors
from syncline.v1 import media_pb2, restorer_pb2, restorer_pb2_grpc
from tests.stages import STALL, converse, is_packet, is_refused, rings, run, serving

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared memory on this system")
SHARED = media_pb2.TRANSPORT_SHARED_MEMORY


class Inverting:
    """An engine whose every answer shows which crop it answers."""

    info = EngineInfo("inverting", "1")

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        return [Crop(crop.frame, crop.pts, 255 - crop.pixels, crop.landmarks) for crop in crops]


def opening(**offered: Any) -> Packet:
    return Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(**transports() | offered)))


def packet_of(sequence: int, count: int = 2, side: int = 24) -> Packet:
    random = np.random.default_rng(sequence)
    crops = [Crop(number, 0, random.integers(0, 256, (side, side, 4), np.uint8), None) for number in range(count)]
    batch, payload = from_crops(sequence, crops)
    return Packet(restorer_pb2.RestoreRequest(crops=batch), payload)


def pixels_of(packets: Sequence[Packet]) -> list[np.ndarray]:
    batches = [packet for packet in packets if is_packet(packet, "crops")]
    return [crop.pixels for each in batches for crop in to_crops(each.message.crops, each.data, PixelFormat.RGBA32)]


def restore(packets: Sequence[Packet], **offered: Any) -> tuple[int, list[np.ndarray]]:
    """The transport, and the pixels that came back."""

    async def call() -> tuple[int, list[np.ndarray]]:
        async with serving(RestorerServicer(Inverting())) as served:
            method = restorer_pb2_grpc.RestorerServiceStub(served.channel).Restore
            async with ClientStream(method, opening(**offered), (), STALL) as stream:
                transport = stream.opened.terms.transport
            return transport, pixels_of(await converse(method, opening(**offered), packets))

    found = run(call())
    assert not rings()
    return found


def test_shared_memory_brings_what_messages_bring() -> None:
    packets = [packet_of(sequence, count=1 + sequence % 3) for sequence in range(20)]  # several turns of the rings
    wanted = [255 - np.frombuffer(part, np.uint8) for packet in packets for part in packet.payload]
    for offered, transport in (({}, SHARED), ({"shared_memory": "another host:1:0"}, media_pb2.TRANSPORT_INLINE)):
        used, found = restore(packets, **offered)
        assert used == transport
        assert len(found) == len(wanted)
        assert all(np.array_equal(one.ravel(), other) for one, other in zip(found, wanted, strict=True))


def test_crops_are_not_in_the_messages_where_memory_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    place = PictureRings.place

    def note(end: PictureRings, packet: Packet) -> Packet:
        sent.append(place(end, packet))
        return sent[-1]

    monkeypatch.setattr(PictureRings, "place", note)
    restore([packet_of(sequence) for sequence in range(4)])
    crops = [packet for packet in sent if is_packet(packet, "crops")]
    assert len(crops) == 8  # four there and four back
    assert all(packet.message.crops.HasField("ref") and not packet.payload for packet in crops)


def test_batches_that_find_no_room_go_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = [packet_of(sequence) for sequence in range(12)]
    _, wanted = restore(packets)
    write = RingWriter.write

    def sometimes_full(ring: RingWriter, sequence: int, payload: Sequence[Buffer]) -> media_pb2.BufferRef:
        if sequence % 3 == 1:
            raise OSError("no space left")
        return write(ring, sequence, payload)

    monkeypatch.setattr(RingWriter, "write", sometimes_full)
    transport, found = restore([packet_of(sequence) for sequence in range(12)])
    assert transport == SHARED
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("answers", [False, True])
def test_pictures_are_copied_unless_they_stay_until_they_are_answered(answers: bool) -> None:
    terms = media_pb2.StreamTerms(credits=2)
    server = PictureRings.offer(terms, [SHARED], see_shared_memory(), answers)
    client = PictureRings.accept(terms)
    assert server is not None
    assert client is not None
    asked = server.fetch(client.place(packet_of(0)))
    answer = client.fetch(server.place(packet_of(0)))
    assert isinstance(asked.data, memoryview if answers else bytes)
    assert not answers or isinstance(answer.data, bytes)  # the server may write over it before it is used
    assert all(b"".join(packet.payload) == b"".join(packet_of(0).payload) for packet in (asked, answer))
    del asked
    server.close()
    client.close()


@pytest.mark.parametrize("made_before", [0, 1])
def test_where_rings_cannot_be_made_messages_bring_the_crops(monkeypatch: pytest.MonkeyPatch, made_before: int) -> None:
    def missing(slots: int, slot_bytes: int) -> None:
        raise OSError("no such folder")

    monkeypatch.setattr((picture_rings.RingReader, picture_rings.RingWriter)[made_before], "make", missing)
    transport, found = restore([packet_of(0)])
    assert (transport, len(found)) == (media_pb2.TRANSPORT_INLINE, 2)


@pytest.mark.parametrize(
    "ref",
    [
        {"slot": 3, "length": 24 * 24 * 4},
        {"slot": 0, "length": 2**40},
        {"slot": 0, "length": 24 * 24 * 4, "generation": 1},
        {"slot": 1, "length": 24 * 24 * 4},
        {"slot": 0, "length": 5},
    ],
    ids=["outside", "too long", "stale", "another's", "too short"],
)
@pytest.mark.parametrize("offered", [{}, {"shared_memory": ""}], ids=["rings", "no rings"])
def test_hostile_references_are_refused(ref: dict[str, int], offered: dict[str, Any]) -> None:
    hostile = packet_of(0, count=1)
    hostile.message.crops.ref.CopyFrom(media_pb2.BufferRef(**ref))

    async def call() -> None:
        async with serving(RestorerServicer(Inverting())) as served:
            method = restorer_pb2_grpc.RestorerServiceStub(served.channel).Restore
            await is_refused(errors.InvalidBatch, converse(method, opening(**offered), [Packet(hostile.message)]))
            assert len(pixels_of(await converse(method, opening(), [packet_of(0)]))) == 2  # the next caller is served

    run(call())
    assert not rings()


def test_a_client_that_leaves_early_leaves_nothing() -> None:
    async def call() -> None:
        async with serving(RestorerServicer(Inverting())) as served:
            method = restorer_pb2_grpc.RestorerServiceStub(served.channel).Restore
            async with ClientStream(method, opening(), (), STALL) as stream:
                await stream.send_batch(packet_of(0))
                assert (await stream.read()) is not None
                assert not rings()  # both ends have them open

    run(call())
    assert not rings()


@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=3), max_size=10), st.integers(1, 4))
def test_what_is_placed_is_fetched(payloads: list[list[bytes]], credits: int) -> None:
    terms = media_pb2.StreamTerms(credits=credits)
    server = PictureRings.offer(terms, **transports(), answers=True)
    assert server is not None
    client = PictureRings.accept(terms)
    assert client is not None
    for sequence, payload in enumerate(payloads):
        for one, other in ((client, server), (server, client)):
            message = restorer_pb2.RestoreRequest(crops=media_pb2.CropBatch(sequence=sequence))
            fetched = other.fetch(one.place(Packet(message, payload)))
            assert bytes(fetched.data) == b"".join(payload)
    client.close()
    server.close()
    assert not rings()
