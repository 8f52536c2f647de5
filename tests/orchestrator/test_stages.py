"""Frames on their way from a real decoder to the worker: inline and through shared memory."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.decoder import outlet
from services.decoder.engines import load_engine
from services.decoder.servicer import DecoderServicer
from services.orchestrator import stages as stages_module
from services.orchestrator.pacing import Pace
from services.orchestrator.stages import Stages
from services.runtime.frames import Frame, copy_frame
from services.runtime.ring import FOLDER, RingWriter
from services.runtime.streams import MAX_BATCH_ITEMS
from services.runtime.wire import Buffer
from syncline.v1 import media_pb2
from tests.end_to_end.conftest import write_video
from tests.stages import rings, run, serving

INLINE, SHARED = media_pb2.TRANSPORT_INLINE, media_pb2.TRANSPORT_SHARED_MEMORY
COUNT = 3 * MAX_BATCH_ITEMS + 5  # several turns of the ring


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with one video of small frames, each of another brightness; and its digest."""
    store = tmp_path_factory.mktemp("store")
    write_video(store / "video.mp4", [np.full((32, 48, 3), number, np.uint8) for number in range(COUNT)])
    content = (store / "video.mp4").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (store / "assets" / digest[:2]).mkdir(parents=True)
    (store / "assets" / digest[:2] / digest).write_bytes(content)
    return store, digest


def read_all(source: tuple[Path, str], most: int = COUNT, pace: Pace | None = None) -> tuple[int, list[Frame]]:
    """The transport used, and the frames; stops reading at `most`."""
    store, digest = source

    async def call() -> tuple[int, list[Frame]]:
        async with serving(DecoderServicer(load_engine("pyav"), store)) as served:
            address = f"127.0.0.1:{served.running.port}"
            stages = Stages(address, address, address, address, stall=30)
            frames: list[Frame] = []
            stages = stages.at_pace(pace) if pace else stages
            async with stages.decode_frames(digest, (), copy_frame) as reader:
                transport = reader.terms.transport
                async for batch in reader:
                    frames += batch
                    if len(frames) >= most:
                        break
            await stages.close()
            return transport, frames

    return run(call())


needs_memory = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared memory on this system")


def test_frames_read_at_a_slower_pace_are_the_same_frames(source: tuple[Path, str]) -> None:
    slow = Pace(0.25, lambda: True)
    slow.slowed = True
    _, paced = read_all(source, pace=slow)
    assert [frame.pts for frame in paced] == [frame.pts for frame in read_all(source)[1]]


@needs_memory
def test_shared_memory_brings_what_messages_bring(source: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    transport, shared = read_all(source)
    assert transport == SHARED
    monkeypatch.setattr(stages_module, "see_shared_memory", lambda: "")
    transport, inline = read_all(source)
    assert transport == INLINE
    assert len(shared) == len(inline) == COUNT
    for one, other in zip(shared, inline, strict=True):
        assert (one.pts, one.format) == (other.pts, other.format)
        assert all(np.array_equal(*planes) for planes in zip(one.planes, other.planes, strict=True))
    assert not rings()


def test_peers_that_see_other_memory_use_messages(source: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages_module, "see_shared_memory", lambda: "another host:1")
    assert read_all(source)[0] == INLINE


def test_where_memory_cannot_be_shared_messages_bring_the_frames(
    source: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(slots: int, slot_bytes: int) -> None:
        raise OSError("no such folder")

    monkeypatch.setattr(outlet.RingWriter, "make", missing)
    transport, frames = read_all(source)
    assert (transport, len(frames)) == (INLINE, COUNT)


@needs_memory
def test_batches_that_find_no_room_come_in_messages(source: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, wanted = read_all(source)
    write = outlet.RingWriter.write

    def sometimes_full(ring: RingWriter, sequence: int, payload: Sequence[Buffer]) -> media_pb2.BufferRef:
        if sequence % 2:
            raise OSError("no space left")
        return write(ring, sequence, payload)

    monkeypatch.setattr(outlet.RingWriter, "write", sometimes_full)
    transport, frames = read_all(source)
    assert transport == SHARED
    assert len(frames) == COUNT
    for frame, other in zip(frames, wanted, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(frame.planes, other.planes, strict=True))


@needs_memory
def test_a_reader_that_stops_early_leaves_nothing(source: tuple[Path, str]) -> None:
    assert len(read_all(source, most=1)[1]) < COUNT
    assert not rings()
