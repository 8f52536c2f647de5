"""The decoder on the wire, with its real engine, on media whose truth is known: every frame's luma is its number."""

import asyncio
import hashlib
import threading
from collections.abc import Coroutine, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from services.decoder.engines import FrameStream, load_engine
from services.decoder.engines.pyav import PyAVDecoder
from services.decoder.servicer import DecoderServicer
from services.runtime.calls import ClientStream
from services.runtime.convert import from_fraction, to_fraction, to_frames, to_samples
from services.runtime.frames import Frame
from syncline import errors
from syncline.v1 import decoder_pb2 as pb
from syncline.v1 import decoder_pb2_grpc, media_pb2
from tests.decoder.test_pyav import numbers, write_video, write_wave
from tests.stages import STALL, is_packet, is_refused, run, serving, wait_until_ended

COUNT = 150  # frames: three batches
RATE = Fraction(30000, 1001)
MORE = pb.DecodeFramesRequest(credit=media_pb2.Credit(batches=1))
TONE = (np.sin(np.arange(100_000) / 20)[:, None] * [9000, -5000]).astype(np.int16)  # stereo


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def keep(store: Path, path: Path) -> str:
    """Puts a file where the orchestrator would; its digest."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    place = store / "assets" / digest[:2] / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return digest


@pytest.fixture(scope="module")
def video(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """150 frames of 30000/1001 a second, numbered from 0 to 49 three times."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    return keep(store, write_video(path, COUNT, time_base=1 / RATE))


@pytest.fixture(scope="module")
def sound(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return keep(store, write_wave(tmp_path_factory.mktemp("sound") / "sound.wav", TONE, 44100))


@pytest.fixture(scope="module")
def photo(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 99, np.uint8))
    return keep(store, path)


@pytest.fixture(scope="module")
def text(store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("This is not a video.\n" * 100)
    return keep(store, path)


def use(store: Path, work: Any, engine: Any = None) -> Any:
    """What `work`, given the stub and the server, returns."""

    async def call() -> Any:
        async with serving(DecoderServicer(engine or load_engine("pyav"), store)) as served:
            return await work(decoder_pb2_grpc.DecoderServiceStub(served.channel), served)

    return run(call())


def opening(source: str, **fields: Any) -> pb.DecodeFramesRequest:
    return pb.DecodeFramesRequest(open=pb.DecodeFramesOpen(source=source, **fields))


async def decode(stub: Any, request: pb.DecodeFramesRequest) -> tuple[Any, list[Frame], media_pb2.Completed]:
    """Opened, all frames, Completed; checks sequences and that one format holds for all."""
    frames: list[Frame] = []
    async with ClientStream(stub.DecodeFrames, request, (), STALL) as stream:
        sequence = 0
        while is_packet(packet := await stream.read(), "batch"):
            assert packet is not None
            assert packet.message.batch.sequence == sequence
            assert packet.message.batch.format == stream.opened.format
            frames += to_frames(packet.message.batch, packet.data)
            sequence += 1
            await stream.send(MORE)
        assert packet is not None
        assert is_packet(packet, "completed")
        await stream.half_close()
        assert await stream.read() is None
        return stream.opened, frames, packet.message.completed


async def hear(stub: Any, **request: Any) -> list[tuple[media_pb2.AudioChunk, np.ndarray]]:
    chunks, last = [], None
    try:
        async for packet in stub.DecodeAudio(pb.DecodeAudioRequest(**request), timeout=STALL):
            last = packet.message
            if is_packet(packet, "chunk"):
                chunks.append((last.chunk, to_samples(last.chunk, packet.data)))
    except grpc.RpcError as error:
        raise errors.from_rpc_error(error) from error
    assert last is not None
    assert last.completed.batches == len(chunks)
    assert last.completed.items == sum(len(samples) for _, samples in chunks)
    return chunks


async def inspect(stub: Any, source: str) -> pb.MediaInfo:
    try:
        response: pb.InspectResponse = await stub.Inspect(pb.InspectRequest(source=source), timeout=STALL)
    except grpc.RpcError as error:
        raise errors.from_rpc_error(error) from error
    return response.info


def test_facts_of_a_video(store: Path, video: str) -> None:
    info = use(store, lambda stub, _: inspect(stub, video))
    assert (info.kind, info.video.codec, info.video.frame_count) == (pb.MediaInfo.KIND_VIDEO, "h264", COUNT)
    assert to_fraction(info.video.frame_rate) == RATE
    duration = to_fraction(info.duration)
    assert duration is not None
    assert abs(duration - COUNT / RATE) < 1 / RATE  # the muxer guesses how long the last frame stays
    assert (info.video.format.width, info.video.format.height) == (64, 48)
    assert not info.HasField("audio")
    assert [advice.code for advice in info.advice] == ["NO_AUDIO"]


def test_facts_of_sound_and_photo(store: Path, sound: str, photo: str) -> None:
    info = use(store, lambda stub, _: inspect(stub, sound))
    assert (info.kind, info.audio.sample_rate, info.audio.channels) == (pb.MediaInfo.KIND_AUDIO, 44100, 2)
    assert to_fraction(info.audio.duration) == Fraction(len(TONE), 44100)
    info = use(store, lambda stub, _: inspect(stub, photo))
    assert info.kind == pb.MediaInfo.KIND_PHOTO
    assert not info.HasField("duration")


@pytest.mark.parametrize("credits", [None, 1, 16])
def test_every_frame_comes_once_and_in_order(store: Path, video: str, credits: int | None) -> None:
    opened, frames, completed = use(store, lambda stub, _: decode(stub, opening(video, credits=credits)))
    assert opened.terms.credits == (credits or 2)
    assert opened.terms.engine.name == "pyav"
    time_base = to_fraction(opened.time_base)
    assert time_base is not None
    assert [frame.pts * time_base for frame in frames] == [number / RATE for number in range(COUNT)]
    assert numbers(iter(frames)) == [number % 50 for number in range(COUNT)]
    assert (completed.batches, completed.items) == (3, COUNT)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, 10 / RATE, range(10)),
        (40 / RATE, 90 / RATE, range(40, 90)),
        (40 / RATE - Fraction(1, 10**6), 90 / RATE + Fraction(1, 10**6), range(40, 91)),
        (40 / RATE + Fraction(1, 10**6), 90 / RATE - Fraction(1, 10**6), range(41, 90)),
        (149 / RATE, None, range(149, 150)),
        (Fraction(-5), Fraction(1, 10**9), range(1)),
        (Fraction(2), Fraction(1), range(0)),
        (Fraction(1000), None, range(0)),
        (None, Fraction(-1), range(0)),
        (Fraction(-(2**63)), None, range(150)),
        (Fraction(2**63 - 1), Fraction(2**63 - 1), range(0)),
        (Fraction(2**63 - 1, 3), None, range(0)),
    ],
)
def test_a_range_is_exact(
    store: Path, video: str, start: Fraction | None, end: Fraction | None, expected: range
) -> None:
    request = opening(video, start=from_fraction(start), end=from_fraction(end))
    opened, frames, completed = use(store, lambda stub, _: decode(stub, request))
    time_base = to_fraction(opened.time_base)
    assert time_base is not None
    assert [round(frame.pts * time_base * RATE) for frame in frames] == list(expected)
    assert numbers(iter(frames)) == [number % 50 for number in expected]
    assert completed.items == len(expected)


def test_a_photo_is_one_frame_at_time_0(store: Path, photo: str) -> None:
    _, frames, _ = use(store, lambda stub, _: decode(stub, opening(photo)))
    assert [frame.pts for frame in frames] == [0]


def test_no_batch_is_sent_without_credit(store: Path, video: str) -> None:
    async def call(stub: Any, _: Any) -> None:
        async with ClientStream(stub.DecodeFrames, opening(video, credits=1), (), STALL) as stream:
            assert is_packet(await stream.read(), "batch")
            second = asyncio.ensure_future(stream.read())
            await asyncio.wait({second}, timeout=0.3)
            assert not second.done()
            await stream.send(MORE)
            assert is_packet(await second, "batch")

    use(store, call)


@pytest.mark.parametrize(
    "message",
    [
        opening("0" * 64),
        pb.DecodeFramesRequest(),
        pb.DecodeFramesRequest(credit=media_pb2.Credit(batches=0)),
        None,
    ],
    ids=["open", "empty", "no credit", "half-close"],
)
def test_where_credit_is_due_nothing_else_will_do(
    store: Path, video: str, message: pb.DecodeFramesRequest | None
) -> None:
    async def go_wrong(stub: Any) -> None:
        async with ClientStream(stub.DecodeFrames, opening(video, credits=1), (), STALL) as stream:
            assert is_packet(await stream.read(), "batch")
            if message is None:
                await stream.half_close()
            else:
                await stream.send(message)
            while await stream.read() is not None:
                pass

    async def call(stub: Any, _: Any) -> None:
        await is_refused(errors.OutOfOrder, go_wrong(stub))
        assert len((await decode(stub, opening(video)))[1]) == COUNT

    use(store, call)


def test_sound_comes_whole_sample_by_sample(store: Path, sound: str) -> None:
    chunks = use(store, lambda stub, _: hear(stub, source=sound))
    assert [chunk.sequence for chunk, _ in chunks] == list(range(3))
    assert [chunk.first_sample for chunk, _ in chunks] == [0, 44100, 88200]
    assert {(chunk.sample_rate, chunk.channels) for chunk, _ in chunks} == {(44100, 2)}
    assert np.array_equal(np.concatenate([samples for _, samples in chunks]), TONE / np.float32(32768))


def test_sound_is_resampled_and_mixed_as_asked(store: Path, sound: str) -> None:
    chunks = use(store, lambda stub, _: hear(stub, source=sound, sample_rate=16000, channels=1))
    heard = np.concatenate([samples for _, samples in chunks])[:, 0]
    assert len(heard) == pytest.approx(len(TONE) * 16000 / 44100, abs=2)
    times = np.arange(len(heard)) * 44100 / 16000
    truth = np.interp(times, np.arange(len(TONE)), TONE.mean(axis=1) / 32768)
    assert np.abs(heard - truth)[100:-100].max() < 0.01


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"source": "../../etc/passwd"}, errors.InvalidName),
        ({"source": ""}, errors.InvalidName),
        ({"source": "/" * 64}, errors.InvalidName),
        ({"source": "A" * 64}, errors.InvalidName),
        ({"source": "0" * 64 + "\n"}, errors.InvalidName),
        ({"source": "0" * 64}, errors.AssetNotFound),
        ({"source": "text"}, errors.NotMedia),
        ({"source": "sound"}, errors.NoVideo),
        ({"source": "video", "credits": 0}, errors.InvalidOption),
        ({"source": "video", "credits": 17}, errors.InvalidOption),
        ({"source": "video", "credits": 2**32 - 1}, errors.InvalidOption),
        ({"source": "video", "transports": [7]}, errors.InvalidOption),
        ({"source": "video", "start": media_pb2.Rational(numerator=1, denominator=-1)}, errors.InvalidOption),
        ({"source": "video", "end": media_pb2.Rational(numerator=1, denominator=-1)}, errors.InvalidOption),
    ],
)
def test_bad_openings_are_refused(
    store: Path, video: str, sound: str, text: str, fields: dict[str, Any], error: type[errors.SynclineError]
) -> None:
    known = {"video": video, "sound": sound, "text": text}
    request = opening(**fields | {"source": known.get(fields["source"], fields["source"])})

    async def call(stub: Any, _: Any) -> None:
        refused = await is_refused(error, decode(stub, request))
        assert str(store) not in refused.message
        assert len((await decode(stub, opening(video)))[1]) == COUNT

    use(store, call)


def test_a_range_not_set_is_the_whole(store: Path, video: str) -> None:
    unset = media_pb2.Rational(numerator=5, denominator=0)
    _, frames, _ = use(store, lambda stub, _: decode(stub, opening(video, start=unset, end=unset)))
    assert len(frames) == COUNT


def test_a_stream_must_begin_with_open(store: Path) -> None:
    async def call(stub: Any, _: Any) -> None:
        for request in (MORE, pb.DecodeFramesRequest()):
            await is_refused(errors.OutOfOrder, decode(stub, request))

    use(store, call)


@pytest.mark.parametrize("source", ["../../etc/passwd", "0" * 64, "text"])
def test_inspect_and_sound_refuse_what_frames_refuse(store: Path, text: str, source: str) -> None:
    error = {"text": errors.NotMedia, "0" * 64: errors.AssetNotFound}.get(source, errors.InvalidName)
    digest = text if source == "text" else source

    async def call(stub: Any, _: Any) -> None:
        works: list[Coroutine[Any, Any, Any]] = [inspect(stub, digest), hear(stub, source=digest)]
        for work in works:
            refused = await is_refused(error, work)
            assert str(store) not in refused.message

    use(store, call)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sample_rate": 0}, errors.InvalidOption),
        ({"sample_rate": 7999}, errors.InvalidOption),
        ({"sample_rate": 192001}, errors.InvalidOption),
        ({"channels": 0}, errors.InvalidOption),
        ({"channels": 9}, errors.InvalidOption),
        ({}, errors.NoAudio),
    ],
)
def test_bad_wishes_for_sound_are_refused(
    store: Path, video: str, options: dict[str, int], error: type[errors.SynclineError]
) -> None:
    use(store, lambda stub, _: is_refused(error, hear(stub, source=video, **options)))


class Watched:
    """The real engine, which says how many frames were decoded and when decoding has ended."""

    def __init__(self) -> None:
        self._engine = PyAVDecoder()
        self.info, self.frames, self.ended = self._engine.info, 0, threading.Event()

    def decode_frames(self, path: Path, start: Fraction | None, end: Fraction | None) -> FrameStream:
        stream = self._engine.decode_frames(path, start, end)
        return FrameStream(stream.format, stream.time_base, self._watch(stream.frames))

    def _watch(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        try:
            for frame in frames:
                self.frames += 1
                yield frame
        finally:
            self.ended.set()


@pytest.mark.parametrize("credits", [1, 16])
def test_a_client_that_goes_away_stops_its_decoding_and_nobody_else(store: Path, tmp_path: Path, credits: int) -> None:
    long = keep(store, write_video(tmp_path / "long.mp4", 400, size=(640, 480), options={"preset": "ultrafast"}))
    watched = Watched()

    async def call(stub: Any, served: Any) -> None:
        async with ClientStream(stub.DecodeFrames, opening(long, credits=credits), (), STALL) as stream:
            assert is_packet(await stream.read(), "batch")
        # Where the server waits for credit, a client that went away may look like one that half-closed.
        assert await wait_until_ended(served, "DecodeFrames") in ("CANCELLED", "INVALID_ARGUMENT")
        assert await asyncio.get_running_loop().run_in_executor(None, watched.ended.wait, STALL)
        assert watched.frames < 400
        assert len((await decode(stub, opening(long, end=from_fraction(Fraction(1)))))[1]) == 25

    use(store, call, watched)
