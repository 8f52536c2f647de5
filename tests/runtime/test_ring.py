"""Payloads through shared memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.refusal import Refusal
from services.runtime.ring import FOLDER, RingReader, RingWriter, see_shared_memory
from syncline.v1 import media_pb2

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared memory on this system")
ROOT = Path(__file__).resolve().parents[2]


def names(maker: int | None = None) -> set[str]:
    """Of a process's rings, ours by default: others' tests run beside ours."""
    return {path.name for path in FOLDER.glob(f"syncline-{maker or os.getpid()}-*")}


@given(st.integers(1, 4), st.lists(st.lists(st.binary(max_size=40), max_size=3), max_size=12))
def test_what_is_written_is_read(slots: int, payloads: list[list[bytes]]) -> None:
    writer = RingWriter.make(slots, 120)
    with RingReader.open(writer.message) as reader:
        for sequence, payload in enumerate(payloads):
            assert reader.read(sequence, writer.write(sequence, payload)) == b"".join(payload)
    writer.close()


def test_a_view_that_is_still_held_does_not_keep_the_reader_from_closing() -> None:
    writer = RingWriter.make(1, 64)
    with RingReader.open(writer.message) as reader:
        view = reader.read(0, writer.write(0, [b"held"]))
    assert view == b"held"
    writer.close()


def test_the_file_is_private_and_gone_once_both_have_it() -> None:
    before = names()
    writer = RingWriter.make(2, 64)
    (name,) = names() - before
    assert (FOLDER / name).stat().st_mode & 0o777 == 0o600
    reader = RingReader.open(writer.message)
    assert names() == before
    assert reader.read(0, writer.write(0, [b"still there"])) == b"still there"
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    "ref",
    [
        media_pb2.BufferRef(slot=2, length=1),
        media_pb2.BufferRef(slot=0, length=65),
        media_pb2.BufferRef(slot=2**31, length=2**40),
        media_pb2.BufferRef(slot=1, length=1, generation=1),
        media_pb2.BufferRef(slot=0, length=1, generation=1),
    ],
)
def test_references_outside_the_ring_or_out_of_turn_are_refused(ref: media_pb2.BufferRef) -> None:
    writer = RingWriter.make(2, 64)
    with RingReader.open(writer.message) as reader, pytest.raises(Refusal) as raised:
        reader.read(1, ref)
    assert raised.value.reason == "INVALID_BATCH"
    writer.close()


def test_a_slot_that_was_written_over_is_noticed() -> None:
    writer = RingWriter.make(1, 64)
    with RingReader.open(writer.message) as reader:
        lost = writer.write(0, [b"lost"])
        reader.read(1, writer.write(1, [b"too early"]))
        with pytest.raises(Refusal, match="written over"):
            reader.read(0, lost)
    writer.close()


@pytest.mark.parametrize("name", ["", "../passwd", "/etc/passwd", "syncline-1-short", "other-1-" + "0" * 32])
def test_only_rings_are_opened(name: str) -> None:
    with pytest.raises(Refusal, match="not the name of a ring"):
        RingReader.open(media_pb2.SharedRing(name=name, slots=1, slot_bytes=1))


def test_links_are_not_followed(tmp_path: Path) -> None:
    name = f"syncline-{os.getpid()}-{'0' * 32}"
    (tmp_path / "secret").write_bytes(bytes(8))
    (FOLDER / name).symlink_to(tmp_path / "secret")
    try:
        with pytest.raises(OSError, match="symbolic"):
            RingReader.open(media_pb2.SharedRing(name=name, slots=1, slot_bytes=8))
    finally:
        (FOLDER / name).unlink()


def test_a_ring_of_another_size_than_told_is_refused() -> None:
    writer = RingWriter.make(2, 64)
    message = writer.message
    message.slot_bytes = 65
    with pytest.raises(Refusal, match="size"):
        RingReader.open(message)
    writer.close()


def test_more_than_the_memory_holds_is_an_error_at_once_and_leaves_nothing() -> None:
    before = names()
    with pytest.raises(OSError, match=r"space|memory|large|argument"):
        RingWriter.make(1000, 2**50)
    assert names() == before


def test_a_batch_without_room_is_an_error_and_the_others_go_on() -> None:
    room = os.statvfs(FOLDER)
    with RingWriter.make(3, 2 * room.f_blocks * room.f_frsize) as writer, RingReader.open(writer.message) as reader:
        assert reader.read(0, writer.write(0, [b"small"])) == b"small"
        with pytest.raises(OSError, match="No space left"):
            writer.write(1, [_Claimed(room.f_blocks * room.f_frsize + 1)])
        with pytest.raises(OSError, match="more than a slot"):
            writer.write(1, [_Claimed(2**62)])
        assert reader.read(2, writer.write(2, [b"goes on"])) == b"goes on"


class _Claimed(bytes):
    """Says that it is longer than it is."""

    def __new__(cls, length: int) -> Self:
        made = super().__new__(cls)
        made._length = length
        return made

    def __len__(self) -> int:
        return self._length


def test_what_a_killed_maker_left_is_swept() -> None:
    script = "import os; from services.runtime.ring import RingWriter; RingWriter.make(1, 64); os.kill(os.getpid(), 9)"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as maker:
        maker.wait()
    RingWriter.make(1, 64).close()
    assert not names(maker.pid)


def test_memory_is_told_by_host_mount_and_user() -> None:
    boot_id, device, user = see_shared_memory().split(":")
    assert len(boot_id) == 36
    assert int(device) == FOLDER.stat().st_dev
    assert int(user) == os.getuid()
