"""The lipsync stage on the wire, with its real engine, on a portrait that sways and a synthetic voice."""

import hashlib
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from examples.demo import speak
from services.lipsync.engines import SPEECH_RATE, Expression, Rendering, load_engine
from services.lipsync.engines.rewrite import RewriteEngine, blob
from services.lipsync.servicer import LipsyncServicer
from services.runtime.blobs import PIECE_BYTES, Blob, Spool
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, from_fraction, from_mesh, from_samples, to_crops
from services.runtime.engine import Caller
from services.runtime.faces import Crop, CropOutcome
from services.runtime.frames import PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.streams import MAX_BATCH_ITEMS, blob_chunks
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import lipsync_pb2 as pb
from syncline.v1 import lipsync_pb2_grpc, media_pb2
from tests.stages import (
    STALL,
    as_stream,
    converse,
    face_crop,
    is_packet,
    is_refused,
    run,
    serving,
    wait_until_ended,
    wait_until_still,
)

RATE = 25
FRAMES = 40
FACELESS = 17  # the output frame that has no face
TIME_BASE = from_fraction(Fraction(1, RATE))
UNKNOWN = "0" * 64


@pytest.fixture(scope="module")
def engine() -> RewriteEngine:
    loaded = load_engine("rewrite")
    assert isinstance(loaded, RewriteEngine)
    return loaded


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """(n,) float32 at SPEECH_RATE."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    speak("Bob may open my mouth wide.", path)
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
        rate = file.getframerate()
    times = np.arange(len(samples) * SPEECH_RATE // rate) * rate / SPEECH_RATE
    return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [face_crop(frame) for frame in range(FRAMES)]


def use(engine: Any, work: Any) -> Any:
    """What `work`, given the stub and the server, returns."""

    async def call() -> Any:
        async with serving(LipsyncServicer(engine)) as served:
            return await work(lipsync_pb2_grpc.LipsyncServiceStub(served.channel), served)

    return run(call())


def prepare_open(**fields: Any) -> Packet:
    return Packet(pb.PrepareRequest(open=pb.PrepareOpen(**{"time_base": TIME_BASE, "crop_scale": 1.0} | fields)))


def plan_open(prepared: bytes | str, **fields: Any) -> Packet:
    wanted: dict[str, Any] = {"prepared_digest": digest_of(prepared), "frame_count": FRAMES, "time_base": TIME_BASE}
    return Packet(pb.PlanRequest(open=pb.PlanOpen(**wanted | fields)))


def sync_open(prepared: bytes | str, plan: bytes | str, **fields: Any) -> Packet:
    wanted = pb.SyncOpen(prepared_digest=digest_of(prepared), plan_digest=digest_of(plan), **fields)
    return Packet(pb.SyncRequest(open=wanted))


def digest_of(content: bytes | str) -> str:
    return content if isinstance(content, str) else hashlib.sha256(content).hexdigest()


def speech_of(request: Any, voice: np.ndarray, block: int = SPEECH_RATE) -> list[Packet]:
    packets = []
    for sequence, first in enumerate(range(0, len(voice), block)):
        chunk, payload = from_samples(sequence, voice[first : first + block], SPEECH_RATE, first)
        packets.append(Packet(request(speech=chunk), payload))
    return packets


def crops_of(request: Any, crops: Sequence[Crop], size: int = 8) -> list[Packet]:
    packets = []
    for sequence, first in enumerate(range(0, len(crops), size)):
        batch, payload = from_crops(sequence, crops[first : first + size])
        packets.append(Packet(request(crops=batch), payload))
    return packets


def point_of(crop: Crop, frame: int | None = None) -> pb.TrackPoint:
    number = crop.frame if frame is None else frame
    landmarks = None if crop.landmarks is None else from_mesh(crop.landmarks)
    return pb.TrackPoint(frame=number, pts=number, source_frame=crop.frame, landmarks=landmarks)


def track_of(points: Sequence[pb.TrackPoint], size: int = 16) -> list[Packet]:
    starts = enumerate(range(0, len(points), size))
    return [
        Packet(pb.PlanRequest(track=pb.TrackBatch(sequence=sequence, points=points[first : first + size])))
        for sequence, first in starts
    ]


async def prepare(stub: Any, packets: Sequence[Packet], opening: Packet | None = None) -> tuple[bytes, Any]:
    """The blob and its summary."""
    pieces, summary = [], None
    async with ClientStream(stub.Prepare, opening or prepare_open(), (), STALL) as stream:
        async for answer in stream.exchange(as_stream(packets)):
            if is_packet(answer, "summary"):
                summary = answer.message.summary
            elif is_packet(answer, "prepared"):
                pieces.append(bytes(answer.data))
                digest = answer.message.prepared.digest
    content = b"".join(pieces)
    assert digest == digest_of(content)
    return content, summary


async def plan(stub: Any, prepared: bytes, packets: Sequence[Packet], opening: Packet | None = None) -> bytes:
    async with ClientStream(stub.Plan, opening or plan_open(prepared), (), STALL) as stream:
        if stream.opened.missing:
            async for chunk, payload in blob_chunks(Spool.of(prepared)):
                await stream.send(Packet(pb.PlanRequest(prepared=chunk), payload))
        answers = [answer async for answer in stream.exchange(as_stream(packets))]
    return b"".join(bytes(answer.data) for answer in answers if is_packet(answer, "plan"))


async def sync(
    stub: Any, prepared: bytes, plan: bytes, packets: Sequence[Packet], missing: list[str] | None = None
) -> list[Packet]:
    """The answers; `missing` takes the digests that the server asked for."""
    async with ClientStream(stub.Sync, sync_open(prepared, plan), (), STALL) as stream:
        asked = list(stream.opened.missing)
        if missing is not None:
            missing += asked
        for content in (content for content in (prepared, plan) if digest_of(content) in asked):
            async for chunk, payload in blob_chunks(Spool.of(content)):
                await stream.send(Packet(pb.SyncRequest(blob=chunk), payload))
        return [answer async for answer in stream.exchange(as_stream(packets))]


def synced_crops(answers: Sequence[Packet]) -> list[Crop]:
    batches = [answer for answer in answers if is_packet(answer, "crops")]
    return [crop for answer in batches for crop in to_crops(answer.message.crops, answer.data, PixelFormat.RGBA32)]


@dataclass(frozen=True)
class Made:
    prepared: bytes
    summary: Any
    plan: bytes


@pytest.fixture(scope="module")
def made(engine: RewriteEngine, voice: np.ndarray, crops: list[Crop]) -> Made:
    """A source and a job on it, by way of the wire."""

    async def call(stub: Any, _: Any) -> Made:
        learned, summary = await prepare(stub, speech_of(pb.PrepareRequest, voice) + crops_of(pb.PrepareRequest, crops))
        points = [point_of(crop) for crop in crops]
        points[FACELESS].ClearField("landmarks")
        packets = [*track_of(points)[:1], *speech_of(pb.PlanRequest, voice), *track_of(points)[1:]]
        return Made(learned, summary, await plan(stub, learned, packets))

    made: Made = use(engine, call)
    return made


def test_a_source_is_learned(made: Made) -> None:
    assert 0 < made.summary.candidates <= FRAMES
    assert -1 <= made.summary.fit_correlation <= 1
    assert len(made.prepared) < 64 * 2**20


def test_learning_does_not_depend_on_the_messages(
    engine: RewriteEngine, made: Made, voice: np.ndarray, crops: list[Crop]
) -> None:
    packets = crops_of(pb.PrepareRequest, crops, 3) + speech_of(pb.PrepareRequest, voice, 5000)
    again, _ = use(engine, lambda stub, _: prepare(stub, packets))
    assert again == made.prepared


def test_a_source_without_sound_or_face_is_learned_all_the_same(engine: RewriteEngine, crops: list[Crop]) -> None:
    _, summary = use(engine, lambda stub, _: prepare(stub, crops_of(pb.PrepareRequest, crops[:8])))
    assert (summary.candidates > 0, summary.fitted) == (True, False)
    empty, summary = use(engine, lambda stub, _: prepare(stub, []))
    assert (summary.candidates, len(empty) > 0) == (0, True)


def test_lips_move_and_the_rest_stays(engine: RewriteEngine, made: Made, crops: list[Crop]) -> None:
    answers = use(engine, lambda stub, _: sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops)))
    assert [answer.message.crops.sequence for answer in answers] == list(range(5))
    synced = synced_crops(answers)
    assert [crop.frame for crop in synced] == list(range(FRAMES))
    moved = []
    for sent, got in zip(crops, synced, strict=True):
        weight = got.pixels[..., 3]
        assert np.array_equal(got.pixels[weight == 0][:, :3], sent.pixels[weight == 0])
        if got.frame == FACELESS:
            assert got.outcome is CropOutcome.PASSED_THROUGH
            assert not weight.any()
            continue
        assert got.outcome in (CropOutcome.SYNCED, CropOutcome.WARPED, CropOutcome.DRAWN)
        assert (weight[0] == 0).all()
        assert (weight[-1] == 0).all()
        change = np.abs(got.pixels[..., :3].astype(int) - sent.pixels).sum(axis=2) * (weight > 0)
        assert sent.landmarks is not None
        low, high = sent.landmarks[:, :2].min(axis=0), sent.landmarks[:, :2].max(axis=0)
        rows, columns = np.nonzero(change > 30)
        assert not len(rows) or (
            rows.min() > (low[1] + high[1]) / 2 - 30 and columns.min() > low[0] - 20 and columns.max() < high[0] + 20
        )
        moved.append(float(change.mean()))
    assert max(moved) > 1  # the mouth speaks
    assert np.std(moved) > 0.1  # and does not just stand open


def test_a_crop_is_rendered_alike_alone_and_among_others(engine: RewriteEngine, made: Made, crops: list[Crop]) -> None:
    async def call(stub: Any, _: Any) -> list[list[Crop]]:
        together = await sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops, 40))
        alone = await sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops[30:20:-1], 1))
        return [synced_crops(together), synced_crops(alone)]

    together, alone = use(engine, call)
    elsewhere = synced_crops(
        use(engine, lambda stub, _: sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops[25:26])))
    )
    assert [crop.frame for crop in alone] == list(range(30, 20, -1))
    for crop in [*alone, *elsewhere]:
        assert np.array_equal(crop.pixels, together[crop.frame].pixels)
        assert crop.outcome is together[crop.frame].outcome


def test_blobs_are_asked_for_once(engine: RewriteEngine, made: Made, crops: list[Crop]) -> None:
    async def call(stub: Any, _: Any) -> list[list[str]]:
        asked: list[list[str]] = [[], []]
        for missing in asked:
            await sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops[:1]), missing)
        async with ClientStream(stub.Plan, plan_open(made.prepared), (), STALL) as stream:
            asked.append(list(stream.opened.missing))
        return asked

    assert use(engine, call) == [[digest_of(made.prepared), digest_of(made.plan)], [], []]


def test_a_crop_that_the_plan_does_not_know_is_one_items_error(
    engine: RewriteEngine, made: Made, crops: list[Crop]
) -> None:
    strange = [crops[0], replace(crops[1], frame=FRAMES), replace(crops[2], frame=2**63 - 1), crops[3]]
    answers = use(engine, lambda stub, _: sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, strange)))
    first, second, batch = (answer.message for answer in answers)
    assert [(error.error.sequence, error.error.item) for error in (first, second)] == [(0, 1), (0, 2)]
    assert type(errors.from_status(first.error.status)) is errors.InvalidBatch
    assert [crop.frame for crop in batch.crops.crops] == [0, 3]


def test_a_crop_without_a_face_passes_through(engine: RewriteEngine, made: Made, crops: list[Crop]) -> None:
    faceless = [replace(crops[5], landmarks=None)]
    (got,) = synced_crops(
        use(engine, lambda stub, _: sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, faceless)))
    )
    assert got.outcome is CropOutcome.PASSED_THROUGH
    assert np.array_equal(got.pixels[..., :3], crops[5].pixels)


PLAIN = Crop(0, 0, np.zeros((32, 32, 3), np.uint8), None)


def one_batch(request: Any, crops: Sequence[Crop], sequence: int = 0) -> Packet:
    batch, payload = from_crops(sequence, crops)
    return Packet(request(crops=batch), payload)


def with_landmarks(request: Any, numbers: Sequence[float]) -> Packet:
    packet = one_batch(request, [PLAIN])
    packet.message.crops.crops[0].landmarks.xyz[:] = numbers
    return packet


def sound(request: Any, samples: np.ndarray, rate: int = SPEECH_RATE, sequence: int = 0, first: int = 0) -> Packet:
    chunk, payload = from_samples(sequence, samples, rate, first)
    return Packet(request(speech=chunk), payload)


SECOND = np.zeros(SPEECH_RATE, np.float32)


def bad_speech(request: Any) -> list[tuple[list[Packet], type[errors.SynclineError]]]:
    mono = sound(request, SECOND)
    return [
        ([sound(request, SECOND, 8000)], errors.InvalidBatch),
        ([sound(request, np.zeros((100, 2), np.float32))], errors.InvalidBatch),
        ([sound(request, np.full(100, np.nan, np.float32))], errors.InvalidBatch),
        ([Packet(mono.message, [bytes(1001)])], errors.InvalidBatch),
        ([sound(request, SECOND, sequence=1)], errors.OutOfOrder),
        ([mono, sound(request, SECOND, sequence=2, first=SPEECH_RATE)], errors.OutOfOrder),
        ([mono, mono], errors.OutOfOrder),
        ([mono, sound(request, SECOND, sequence=1, first=0)], errors.OutOfOrder),
        ([mono, sound(request, SECOND, sequence=1, first=5 * SPEECH_RATE)], errors.OutOfOrder),
    ]


def bad_crops(request: Any) -> list[tuple[list[Packet], type[errors.SynclineError]]]:
    wide = replace(PLAIN, pixels=np.zeros((32, 514, 3), np.uint8))
    return [
        ([one_batch(request, [replace(PLAIN, pixels=np.zeros((32, 32, 4), np.uint8))])], errors.InvalidBatch),
        ([one_batch(request, [wide])], errors.InvalidBatch),
        ([one_batch(request, [])], errors.InvalidBatch),
        ([Packet(one_batch(request, [PLAIN]).message, [b"too few"])], errors.InvalidBatch),
        ([with_landmarks(request, [float("nan")] * 1404)], errors.InvalidBatch),
        ([with_landmarks(request, [1.0] * 1403)], errors.InvalidBatch),
        ([one_batch(request, [PLAIN] * (MAX_BATCH_ITEMS + 1))], errors.BatchTooLarge),
        ([one_batch(request, [PLAIN], 1)], errors.OutOfOrder),
        ([one_batch(request, [PLAIN]), one_batch(request, [PLAIN], 2)], errors.OutOfOrder),
        ([Packet(request())], errors.OutOfOrder),
    ]


@pytest.mark.parametrize(
    ("packets", "error"),
    [*bad_speech(pb.PrepareRequest), *bad_crops(pb.PrepareRequest), ([prepare_open()], errors.OutOfOrder)],
)
def test_prepare_refuses_bad_messages(
    engine: RewriteEngine, packets: list[Packet], error: type[errors.SynclineError]
) -> None:
    async def call(stub: Any, _: Any) -> None:
        await is_refused(error, prepare(stub, packets))
        await prepare(stub, [])

    use(engine, call)


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        (one_batch(pb.PrepareRequest, [PLAIN]), errors.OutOfOrder),
        (prepare_open(engine="wav2lip"), errors.UnknownEngine),
        (prepare_open(time_base=None), errors.InvalidOption),
        (prepare_open(time_base=media_pb2.Rational(numerator=-1, denominator=25)), errors.InvalidOption),
        (prepare_open(time_base=media_pb2.Rational(numerator=1, denominator=-25)), errors.InvalidOption),
        (prepare_open(time_base=media_pb2.Rational(numerator=0, denominator=1)), errors.InvalidOption),
        (prepare_open(crop_scale=0.0), errors.InvalidOption),
        (prepare_open(crop_scale=1.5), errors.InvalidOption),
        (prepare_open(crop_scale=float("nan")), errors.InvalidOption),
        (prepare_open(transports=[9]), errors.InvalidOption),
    ],
)
def test_prepare_refuses_bad_openings(
    engine: RewriteEngine, opening: Packet, error: type[errors.SynclineError]
) -> None:
    use(engine, lambda stub, _: is_refused(error, prepare(stub, [], opening)))


@pytest.mark.parametrize("frame", [2**63, 2**64 - 1])
def test_prepare_takes_any_frame_number_or_says_no(engine: RewriteEngine, crops: list[Crop], frame: int) -> None:
    packets = [one_batch(pb.PrepareRequest, [replace(crops[0], frame=frame)])]
    use(engine, lambda stub, _: is_refused(errors.InvalidBatch, prepare(stub, packets)))


def points(count: int, first: int = 0) -> list[pb.TrackPoint]:
    return [pb.TrackPoint(frame=number, pts=number) for number in range(first, first + count)]


def broken_point(numbers: Sequence[float]) -> pb.TrackPoint:
    return pb.TrackPoint(landmarks=media_pb2.Landmarks(xyz=numbers))


@pytest.mark.parametrize(
    ("packets", "error"),
    [
        *bad_speech(pb.PlanRequest),
        (track_of(points(FRAMES - 1)), errors.OutOfOrder),
        (track_of(points(FRAMES + 1)), errors.OutOfOrder),
        ([], errors.OutOfOrder),
        (track_of(points(FRAMES)[::-1]), errors.OutOfOrder),
        (track_of(points(FRAMES, 1)), errors.OutOfOrder),
        (track_of(points(3) + points(3)), errors.OutOfOrder),
        (track_of(points(FRAMES))[1:], errors.OutOfOrder),
        (track_of(points(MAX_BATCH_ITEMS + 1), MAX_BATCH_ITEMS + 1), errors.BatchTooLarge),
        ([Packet(pb.PlanRequest(track=pb.TrackBatch()))], errors.InvalidBatch),
        (track_of([broken_point([float("nan")] * 1404)]), errors.InvalidBatch),
        (track_of([broken_point([1.0] * 1403)]), errors.InvalidBatch),
        (track_of([pb.TrackPoint(source_frame=2**64 - 1), *points(FRAMES - 1, 1)]), errors.InvalidBatch),
        ([plan_open(UNKNOWN)], errors.OutOfOrder),
        ([Packet(pb.PlanRequest())], errors.OutOfOrder),
    ],
)
def test_plan_refuses_bad_messages(
    engine: RewriteEngine, made: Made, packets: list[Packet], error: type[errors.SynclineError]
) -> None:
    async def call(stub: Any, _: Any) -> None:
        await is_refused(error, plan(stub, made.prepared, packets))
        assert await plan(stub, made.prepared, track_of(points(FRAMES)))

    use(engine, call)


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        (plan_open("../../etc/passwd"), errors.InvalidName),
        (plan_open(""), errors.InvalidName),
        (plan_open("A" * 64), errors.InvalidName),
        (plan_open(UNKNOWN, engine="wav2lip"), errors.UnknownEngine),
        (plan_open(UNKNOWN, frame_count=0), errors.InvalidOption),
        (plan_open(UNKNOWN, time_base=None), errors.InvalidOption),
        (plan_open(UNKNOWN, time_base=media_pb2.Rational(numerator=-1, denominator=25)), errors.InvalidOption),
        (plan_open(UNKNOWN), errors.OutOfOrder),  # the blob that Opened asks for does not come
        (Packet(pb.PlanRequest()), errors.OutOfOrder),
    ],
)
def test_plan_refuses_bad_openings(engine: RewriteEngine, opening: Packet, error: type[errors.SynclineError]) -> None:
    async def call(stub: Any, _: Any) -> None:
        async def talk() -> None:
            async with ClientStream(stub.Plan, opening, (), STALL) as stream:
                async for _ in stream.exchange(as_stream(track_of(points(3)))):
                    pass

        await is_refused(error, talk())

    use(engine, call)


@pytest.mark.parametrize(
    ("prepared", "plan"),
    [("../../etc/passwd", UNKNOWN), (UNKNOWN, "../../etc/passwd"), ("", ""), (UNKNOWN, "f" * 63 + "\n")],
)
def test_sync_refuses_names_that_are_no_digest(engine: RewriteEngine, prepared: str, plan: str) -> None:
    async def call(stub: Any, _: Any) -> None:
        async def talk() -> None:
            async with ClientStream(stub.Sync, sync_open(prepared, plan), (), STALL):
                pass

        await is_refused(errors.InvalidName, talk())

    use(engine, call)


def test_the_expression_is_echoed_as_it_is_applied(engine: RewriteEngine) -> None:
    async def opened(method: Any, opening: Packet) -> Any:
        async with ClientStream(method, opening, (), STALL) as stream:
            return stream.opened.expression

    async def call(stub: Any, _: Any) -> None:
        for method, opening in ((stub.Plan, plan_open(UNKNOWN)), (stub.Sync, sync_open(UNKNOWN, UNKNOWN))):
            plain = await opened(method, opening)
            assert (plain.mouth_intensity, plain.smoothing, plain.closure_strength, plain.padding) == pytest.approx(
                (1, 0.2, 0.5, 1)
            )
        some = pb.Expression(smoothing=0, padding=1.5)
        given = await opened(stub.Sync, sync_open(UNKNOWN, UNKNOWN, expression=some))
        assert (given.mouth_intensity, given.smoothing, given.closure_strength, given.padding) == (1, 0, 0.5, 1.5)

    use(engine, call)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mouth_intensity", 0.0), ("smoothing", 1.5), ("closure_strength", float("nan")), ("padding", 2.0)],
)
def test_an_expression_out_of_range_is_refused(engine: RewriteEngine, field: str, value: float) -> None:
    bad = pb.Expression(**{field: value})

    async def call(stub: Any, _: Any) -> None:
        for method, opening in (
            (stub.Plan, plan_open(UNKNOWN, expression=bad)),
            (stub.Sync, sync_open(UNKNOWN, UNKNOWN, expression=bad)),
        ):
            refused = await is_refused(errors.InvalidOption, converse(method, opening))
            assert refused.metadata["field"] == field
            assert "the range is" in refused.message

    use(engine, call)


def damaged(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def reversioned(content: bytes) -> bytes:
    return content[:8] + bytes([content[8] + 1]) + content[9:]


@pytest.mark.parametrize(
    "change",
    [damaged, reversioned, lambda content: content[:-100], lambda _: b"", lambda _: b"another engine's" * 100],
    ids=["damaged", "other version", "cut off", "empty", "another engine's"],
)
def test_blobs_that_cannot_be_used_are_refused(
    engine: RewriteEngine, made: Made, crops: list[Crop], change: Any
) -> None:
    packets = crops_of(pb.SyncRequest, crops[:2])

    async def call(stub: Any, _: Any) -> None:
        spoilt = change(made.prepared)
        await is_refused(errors.BlobUnusable, plan(stub, spoilt, track_of(points(FRAMES))))
        await is_refused(errors.BlobUnusable, sync(stub, spoilt, made.plan, packets))
        await is_refused(errors.BlobUnusable, sync(stub, made.prepared, change(made.plan), packets))
        await is_refused(errors.BlobUnusable, sync(stub, made.plan, made.prepared, packets))
        assert len(synced_crops(await sync(stub, made.prepared, made.plan, packets))) == 2

    use(engine, call)


def test_a_plan_for_another_source_is_refused(engine: RewriteEngine, made: Made, crops: list[Crop]) -> None:
    async def call(stub: Any, _: Any) -> None:
        faceless, _summary = await prepare(stub, [])
        mouths = {"candidates": np.full(FRAMES, 3, np.int32)}  # of which the other source does not have the last
        packed = blob.pack("plan", blob.unpack("plan", Spool.of(made.plan)) | mouths)
        other = packed.read(0, packed.size)
        await is_refused(errors.BlobUnusable, sync(stub, faceless, other, crops_of(pb.SyncRequest, crops[:1])))

    use(engine, call)


def pieces(content: bytes, **fields: Any) -> list[Packet]:
    """A blob's message with fields set to something else."""
    packets = []
    for offset in range(0, len(content), PIECE_BYTES):
        whole = {"digest": digest_of(content), "total_bytes": len(content), "offset": offset}
        chunk = media_pb2.BlobChunk(**(whole | fields))
        packets.append(Packet(pb.SyncRequest(blob=chunk), [content[offset : offset + PIECE_BYTES]]))
    return packets


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda content: pieces(content, digest=UNKNOWN), errors.OutOfOrder),
        (lambda content: pieces(content, offset=1), errors.OutOfOrder),
        (lambda content: pieces(content, total_bytes=10), errors.BatchTooLarge),
        (lambda content: pieces(content, total_bytes=2**40), errors.BatchTooLarge),
        (
            lambda content: [Packet(packet.message, [damaged(bytes(packet.data))]) for packet in pieces(content)],
            errors.ChecksumMismatch,
        ),
        (lambda content: [], errors.OutOfOrder),
        (lambda content: [one_batch(pb.SyncRequest, [PLAIN])], errors.OutOfOrder),
        (lambda content: pieces(content) * 2, errors.OutOfOrder),
    ],
    ids=["digest", "offset", "announced too small", "announced too large", "altered", "none", "crops", "twice"],
)
def test_blobs_that_come_otherwise_than_announced_are_refused(
    engine: RewriteEngine, made: Made, change: Any, error: type[errors.SynclineError]
) -> None:
    async def call(stub: Any, _: Any) -> None:
        async def talk() -> None:
            async with ClientStream(stub.Sync, sync_open(made.prepared, made.plan), (), STALL) as stream:
                for packet in change(made.prepared):
                    await stream.send(packet)
                await stream.half_close()
                while await stream.read() is not None:
                    pass

        await is_refused(error, talk())

    use(engine, call)


@pytest.mark.parametrize(("packets", "error"), [*bad_crops(pb.SyncRequest), (pieces(b"late"), errors.OutOfOrder)])
def test_sync_refuses_bad_messages(
    engine: RewriteEngine, made: Made, packets: list[Packet], error: type[errors.SynclineError]
) -> None:
    use(engine, lambda stub, _: is_refused(error, sync(stub, made.prepared, made.plan, packets)))


class Counting:
    """The real engine, and how many crops it has rendered."""

    def __init__(self, engine: RewriteEngine) -> None:
        self.info, self._engine, self.crops = engine.info, engine, 0

    def open_rendering(self, prepared: Blob, plan: Blob, expression: Expression) -> "Counting":
        self._rendering: Rendering = self._engine.open_rendering(prepared, plan, expression)
        return self

    def sync_batch(self, crops: Sequence[Crop], caller: Caller) -> list[Crop | Refusal]:
        self.crops += len(crops)
        return self._rendering.sync_batch(crops)


def test_a_client_that_goes_away_stops_its_work_and_nobody_else(
    engine: RewriteEngine, made: Made, crops: list[Crop]
) -> None:
    counting = Counting(engine)

    def endless() -> Iterator[Packet]:
        sequence = 0
        while True:
            yield one_batch(pb.SyncRequest, crops[:4], sequence)
            sequence += 1

    async def call(stub: Any, served: Any) -> None:
        async with ClientStream(stub.Sync, sync_open(made.prepared, made.plan), (), STALL) as stream:
            for content in (made.prepared, made.plan):
                async for chunk, payload in blob_chunks(Spool.of(content)):
                    await stream.send(Packet(pb.SyncRequest(blob=chunk), payload))
            async for _ in stream.exchange(as_stream(endless())):
                break
        assert await wait_until_ended(served, "Sync") == "CANCELLED"
        assert len(synced_crops(await sync(stub, made.prepared, made.plan, crops_of(pb.SyncRequest, crops[:2])))) == 2
        await wait_until_still(lambda: counting.crops)

    use(counting, call)
