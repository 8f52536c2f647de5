"""The restorer on the wire, with its real engine."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.restorer.engines import load_engine
from services.restorer.engines.classic import ClassicRestorer
from services.restorer.servicer import RestorerServicer
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, to_crops
from services.runtime.engine import Caller
from services.runtime.faces import Crop, CropOutcome
from services.runtime.frames import PixelFormat
from services.runtime.streams import MAX_BATCH_ITEMS
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import media_pb2, restorer_pb2, restorer_pb2_grpc
from tests.stages import (
    STALL,
    as_stream,
    converse,
    face_crop,
    is_packet,
    is_refused,
    pour,
    run,
    serving,
    wait_until_ended,
    wait_until_still,
    with_weight,
)

OPEN = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))


@pytest.fixture(scope="module")
def engine() -> ClassicRestorer:
    loaded = load_engine("classic")
    assert isinstance(loaded, ClassicRestorer)
    return loaded


def packet_of(sequence: int, crops: Sequence[Crop], strength: float | None = None) -> Packet:
    batch, payload = from_crops(sequence, crops)
    return Packet(restorer_pb2.RestoreRequest(crops=batch, strength=strength), payload)


def crops_of(answers: Sequence[Packet]) -> list[Crop]:
    return [
        crop
        for answer in answers
        if is_packet(answer, "crops")
        for crop in to_crops(answer.message.crops, answer.data, PixelFormat.RGBA32)
    ]


def restore(engine: Any, packets: Sequence[Packet], opening: Packet = OPEN) -> list[Packet]:
    async def call() -> list[Packet]:
        async with serving(RestorerServicer(engine)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            return await converse(stub.Restore, opening, packets)

    return run(call())


def refuse(
    engine: Any, error: type[errors.SynclineError], packets: Sequence[Packet], opening: Packet = OPEN
) -> errors.SynclineError:
    async def call() -> errors.SynclineError:
        async with serving(RestorerServicer(engine)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            refused = await is_refused(error, converse(stub.Restore, opening, packets))
            good = packet_of(0, [with_weight(face_crop(0))])
            assert len(crops_of(await converse(stub.Restore, OPEN, [good]))) == 1  # the next caller is served
            return refused

    return run(call())


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [with_weight(face_crop(frame)) for frame in range(6)]


def test_strength_0_gives_back_the_same_bytes(engine: ClassicRestorer, crops: list[Crop]) -> None:
    answered = crops_of(restore(engine, [packet_of(0, crops, 0.0)]))
    assert [crop.frame for crop in answered] == [crop.frame for crop in crops]
    for sent, got in zip(crops, answered, strict=True):
        assert np.array_equal(sent.pixels, got.pixels)


@pytest.mark.parametrize("strength", [None, 0.5, 1.0])
def test_only_the_replaced_part_changes_and_its_weight_never(
    engine: ClassicRestorer, crops: list[Crop], strength: float | None
) -> None:
    packets = [packet_of(sequence, crops[2 * sequence : 2 * sequence + 2], strength) for sequence in range(3)]
    answers = restore(engine, packets)
    assert [answer.message.crops.sequence for answer in answers] == [0, 1, 2]
    for sent, got in zip(crops, crops_of(answers), strict=True):
        kept = sent.pixels[..., 3] == 0
        assert np.array_equal(got.pixels[..., 3], sent.pixels[..., 3])
        assert np.array_equal(got.pixels[kept], sent.pixels[kept])
        assert np.array_equal(got.landmarks, sent.landmarks)
        whole = sent.pixels[..., 3] == 255
        assert not np.array_equal(got.pixels[whole], sent.pixels[whole])


def test_no_strength_means_all_of_it_and_half_means_less(engine: ClassicRestorer, crops: list[Crop]) -> None:
    one = crops[:1]
    by_default, full, half = crops_of(
        restore(engine, [packet_of(sequence, one, strength) for sequence, strength in enumerate((None, 1.0, 0.5))])
    )
    assert np.array_equal(by_default.pixels, full.pixels)
    sent = one[0].pixels.astype(int)
    assert 0 < np.abs(half.pixels - sent).sum() < np.abs(full.pixels - sent).sum()


def test_a_crop_is_restored_alike_alone_and_among_others(engine: ClassicRestorer, crops: list[Crop]) -> None:
    together = crops_of(restore(engine, [packet_of(0, crops)]))
    alone = crops_of(restore(engine, [packet_of(sequence, [crop]) for sequence, crop in enumerate(crops)]))
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_the_outcome_of_lipsync_comes_back(engine: ClassicRestorer, crops: list[Crop]) -> None:
    crop = Crop(3, 4, crops[0].pixels, crops[0].landmarks, CropOutcome.DRAWN)
    (answered,) = crops_of(restore(engine, [packet_of(0, [crop])]))
    assert (answered.frame, answered.pts, answered.outcome) == (3, 4, CropOutcome.DRAWN)


def test_a_client_that_heeds_no_credit_loses_nothing(engine: ClassicRestorer, crops: list[Crop]) -> None:
    packets = [packet_of(sequence, crops[:2]) for sequence in range(20)]

    async def call() -> list[Packet]:
        async with serving(RestorerServicer(engine)) as served:
            return await pour(restorer_pb2_grpc.RestorerServiceStub(served.channel).Restore, OPEN, packets)

    *batches, completed = run(call())
    assert [answer.message.crops.sequence for answer in batches] == list(range(20))
    told = completed.message.completed
    assert (told.batches, told.items, told.failed_items) == (20, 40, 0)


def altered(crops: Sequence[Crop], **fields: Any) -> Packet:
    """A good packet whose batch has fields changed."""
    batch, payload = from_crops(0, crops)
    for name, value in fields.items():
        setattr(batch, name, value)
    return Packet(restorer_pb2.RestoreRequest(crops=batch), payload)


def with_landmarks(crops: Sequence[Crop], numbers: Sequence[float]) -> Packet:
    packet = packet_of(0, crops)
    packet.message.crops.crops[0].landmarks.xyz[:] = numbers
    return packet


RGBA = np.zeros((32, 32, 4), np.uint8)
PLAIN = [Crop(0, 0, RGBA, None)]


@pytest.mark.parametrize(
    ("packets", "error"),
    [
        ([packet_of(0, [Crop(0, 0, RGBA[..., :3], None)])], errors.InvalidBatch),
        ([altered(PLAIN, pixel_format=0)], errors.InvalidBatch),
        ([altered(PLAIN, pixel_format=99)], errors.InvalidBatch),
        ([altered(PLAIN, width=33)], errors.InvalidBatch),
        ([altered(PLAIN, width=0)], errors.InvalidBatch),
        ([altered(PLAIN, width=2**32 - 1, height=2**32 - 1)], errors.InvalidBatch),
        ([packet_of(0, [Crop(0, 0, np.zeros((8, 8, 4), np.uint8), None)])], errors.InvalidBatch),
        ([packet_of(0, [Crop(0, 0, np.zeros((16, 514, 4), np.uint8), None)])], errors.InvalidBatch),
        ([packet_of(0, [])], errors.InvalidBatch),
        ([Packet(packet_of(0, PLAIN).message)], errors.InvalidBatch),
        ([packet_of(0, PLAIN * (MAX_BATCH_ITEMS + 1))], errors.BatchTooLarge),
        ([packet_of(1, PLAIN)], errors.OutOfOrder),
        ([packet_of(0, PLAIN), packet_of(2, PLAIN)], errors.OutOfOrder),
        ([packet_of(0, PLAIN), packet_of(0, PLAIN)], errors.OutOfOrder),
        ([OPEN], errors.OutOfOrder),
        ([Packet(restorer_pb2.RestoreRequest())], errors.OutOfOrder),
        ([packet_of(0, PLAIN, -0.1)], errors.InvalidOption),
        ([packet_of(0, PLAIN, 1.1)], errors.InvalidOption),
        ([packet_of(0, PLAIN, float("nan"))], errors.InvalidOption),
        ([with_landmarks(PLAIN, [float("nan")] * 1404)], errors.InvalidBatch),
        ([with_landmarks(PLAIN, [1.0] * 1403)], errors.InvalidBatch),
        ([with_landmarks(PLAIN, [])], errors.InvalidBatch),
    ],
)
def test_bad_batches_are_refused_with_their_reason(
    engine: ClassicRestorer, packets: list[Packet], error: type[errors.SynclineError]
) -> None:
    refuse(engine, error, packets)


@pytest.mark.parametrize("priority", [-101, 101])
def test_a_priority_out_of_range_is_refused(engine: ClassicRestorer, priority: int) -> None:
    packet = packet_of(0, PLAIN)
    packet.message.priority = priority
    refuse(engine, errors.InvalidOption, [packet])


class Remembering:
    """Keeps whose each batch was."""

    def __init__(self, engine: ClassicRestorer) -> None:
        self.info, self.met = engine.info, []

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller) -> list[Crop]:
        self.met.append(caller)
        return list(crops)


def test_each_batch_goes_by_its_own_priority(engine: ClassicRestorer, crops: list[Crop]) -> None:
    remembering, priorities = Remembering(engine), [0, 7, -3]
    packets = [packet_of(sequence, crops[:1]) for sequence in range(3)]
    for packet, priority in zip(packets, priorities, strict=True):
        packet.message.priority = priority
    restore(remembering, packets)
    assert [caller.priority for caller in remembering.met] == priorities
    assert len({caller.name for caller in remembering.met}) == 1


def test_an_outcome_that_is_none_is_refused(engine: ClassicRestorer) -> None:
    packet = packet_of(0, PLAIN)
    packet.message.crops.crops[0].outcome = 77
    refuse(engine, errors.InvalidBatch, [packet])


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        (packet_of(0, PLAIN), errors.OutOfOrder),
        (Packet(restorer_pb2.RestoreRequest()), errors.OutOfOrder),
        (Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(engine="gfpgan"))), errors.UnknownEngine),
        (Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(transports=[7]))), errors.InvalidOption),
    ],
)
def test_bad_openings_are_refused(engine: ClassicRestorer, opening: Packet, error: type[errors.SynclineError]) -> None:
    refuse(engine, error, [], opening)


class Counting:
    """The real engine, and how many batches it was given."""

    def __init__(self, engine: ClassicRestorer) -> None:
        self.info, self._engine, self.batches = engine.info, engine, 0

    def restore(self, crops: Sequence[Crop], strength: float, *rest: object) -> list[Crop]:
        self.batches += 1
        return self._engine.restore(crops, strength)


def test_a_client_that_goes_away_stops_its_work_and_nobody_else(engine: ClassicRestorer, crops: list[Crop]) -> None:
    counting = Counting(engine)

    def endless() -> Iterator[Packet]:
        sequence = 0
        while True:
            yield packet_of(sequence, crops)
            sequence += 1

    async def call() -> None:
        async with serving(RestorerServicer(counting)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            async with ClientStream(stub.Restore, OPEN, (), STALL) as stream:
                async for _ in stream.exchange(as_stream(endless())):
                    break
            assert await wait_until_ended(served, "Restore") == "CANCELLED"
            assert len(crops_of(await converse(stub.Restore, OPEN, [packet_of(0, crops)]))) == len(crops)
            await wait_until_still(lambda: counting.batches)

    run(call())


numbers = st.floats(width=32)
landmarks = st.one_of(
    st.none(),
    st.tuples(numbers, st.sampled_from([1404, 1404, 1403, 0])).map(lambda choice: [choice[0]] * choice[1]),
)


@st.composite
def requests(draw: st.DrawFn, due: int) -> tuple[Packet, bool]:
    """A message as a confused client may send it, and whether it is a batch of the sequence due."""
    kind = draw(st.sampled_from(["crops"] * 8 + ["open", "empty"]))
    if kind == "open":
        return OPEN, False
    if kind == "empty":
        return Packet(restorer_pb2.RestoreRequest(strength=draw(st.none() | numbers))), False
    count = draw(st.sampled_from([1, 1, 2, 3, 0, 65]))
    width, height = (draw(st.sampled_from([16, 24, 40, 40, 8, 2**32 - 1])) for _ in range(2))
    batch = media_pb2.CropBatch(
        sequence=draw(st.sampled_from([due, due, due, due, due + 1, 0, 2**64 - 1])), width=width, height=height
    )
    batch.pixel_format = draw(st.sampled_from([8, 8, 8, 8, 7, 0, 99]))
    for _ in range(count):
        info = batch.crops.add(frame=draw(st.integers(0, 2**64 - 1)), pts=draw(st.integers(-(2**63), 2**63 - 1)))
        info.outcome = draw(st.sampled_from([0, 1, 2, 3, 4, -5, 77]))
        points = draw(landmarks)
        if points is not None:
            info.landmarks.xyz.extend(points)
    size = min(count * width * height * 4, 65 * 40 * 40 * 4) + draw(st.sampled_from([0, 0, 0, 1, -1]))
    pixels = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, max(size, 0), np.uint8)
    flat = draw(st.sampled_from([None, None, 0, 255]))
    if flat is not None:
        pixels[3::4] = flat
    strength = draw(st.none() | st.sampled_from([0.0, 0.3, 1.0]) | numbers)
    return Packet(restorer_pb2.RestoreRequest(crops=batch, strength=strength), [pixels.data]), True


@st.composite
def conversations(draw: st.DrawFn) -> list[Packet]:
    packets: list[Packet] = [OPEN] if draw(st.sampled_from([True] * 9 + [False])) else []
    due = 0
    for _ in range(draw(st.integers(0, 5))):
        packet, counts = draw(requests(due))
        packets.append(packet)
        due += counts
    return packets


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversation=conversations())
def test_no_conversation_hangs_or_breaks_the_restorer(engine: ClassicRestorer, conversation: list[Packet]) -> None:
    async def call() -> None:
        async with serving(RestorerServicer(engine)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            opening, *packets = conversation or [Packet(restorer_pb2.RestoreRequest())]
            refused: errors.SynclineError | None = None
            answers: list[Packet] = []
            try:
                answers = await pour(stub.Restore, opening, packets)
            except errors.SynclineError as error:
                refused = error
            if refused is None:
                assert is_packet(answers.pop(), "completed")
                assert [answer.message.crops.sequence for answer in answers] == list(range(len(packets)))
            else:
                assert isinstance(refused, errors.InvalidInput | errors.BatchTooLarge), refused
                assert refused.message

    run(call())
