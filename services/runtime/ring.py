"""Payloads between processes of one host: a ring of slots in shared memory, made for one stream.

The server makes the file, the client opens it by the name in Opened, the server takes the name away: whoever is killed
after that leaves nothing behind. A ring whose maker was killed before is swept by the next one made.
"""

import contextlib
import mmap
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from services.runtime.refusal import Refusal
from services.runtime.wire import Buffer
from syncline.v1 import media_pb2

FOLDER = Path("/dev/shm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"syncline-(\d+)-[0-9a-f]{32}")


def see_shared_memory() -> str:
    """Which shared memory this process sees; empty where there is none. Equal texts mean the same memory."""
    try:
        return f"{_BOOT_ID.read_text().strip()}:{FOLDER.stat().st_dev}"
    except OSError:
        return ""


class RingWriter:
    """The server's end. Slots are used in turn: a batch goes into the slot that the batch `slots` before it left."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        """Raises OSError where shared memory is missing or too small."""
        _sweep()
        self._name = f"syncline-{os.getpid()}-{secrets.token_hex(16)}"
        self._slots, self._slot_bytes, self._named = slots, slot_bytes, True
        descriptor = os.open(FOLDER / self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, slots * slot_bytes)  # too little memory shows now, not as a SIGBUS later
            self._memory = mmap.mmap(descriptor, slots * slot_bytes)
        except BaseException:
            self.unlink()
            raise
        finally:
            os.close(descriptor)

    @property
    def message(self) -> media_pb2.SharedRing:
        return media_pb2.SharedRing(name=self._name, slots=self._slots, slot_bytes=self._slot_bytes)

    def write(self, sequence: int, payload: Sequence[Buffer]) -> media_pb2.BufferRef:
        """Puts the payload of batch `sequence` into its slot, which the client must have given back."""
        generation, slot = divmod(sequence, self._slots)
        start = end = slot * self._slot_bytes
        for buffer in payload:
            self._memory[end : end + len(buffer)] = buffer
            end += len(buffer)
        return media_pb2.BufferRef(slot=slot, length=end - start, generation=generation)

    def unlink(self) -> None:
        """Takes the name away; both ends keep the memory."""
        if self._named:
            self._named = False
            (FOLDER / self._name).unlink(missing_ok=True)

    def close(self) -> None:
        self.unlink()
        self._memory.close()


class RingReader:
    """The client's end. Raises Refusal INVALID_BATCH for names and references that are not what a ring's can be."""

    def __init__(self, ring: media_pb2.SharedRing) -> None:
        if not _NAME.fullmatch(ring.name):
            raise Refusal("INVALID_BATCH", f"{ring.name[:80]!r} is not the name of a ring")
        descriptor = os.open(FOLDER / ring.name, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not ring.slots or os.fstat(descriptor).st_size != ring.slots * ring.slot_bytes:
                raise Refusal("INVALID_BATCH", "the ring does not have the size that the server says")
            self._memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self._slots, self._slot_bytes = ring.slots, ring.slot_bytes
        self._generations = [0] * ring.slots

    def read(self, ref: media_pb2.BufferRef) -> memoryview:
        """The payload where it lies: it stays as it is until its slot is given back."""
        if ref.slot >= self._slots or ref.length > self._slot_bytes:
            raise Refusal("INVALID_BATCH", f"slot {ref.slot} with {ref.length} bytes lies outside the ring")
        if ref.generation != self._generations[ref.slot]:
            raise Refusal("INVALID_BATCH", f"slot {ref.slot} was written over", generation=ref.generation)
        self._generations[ref.slot] += 1
        start = ref.slot * self._slot_bytes
        return memoryview(self._memory)[start : start + ref.length]

    def close(self) -> None:
        with contextlib.suppress(
            BufferError
        ):  # the traceback of an error may still view it; it goes with the last view
            self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _sweep() -> None:
    """Removes rings whose makers have died. Whoever shares the memory shares the process numbers too, or should."""
    for path in FOLDER.glob("syncline-*"):
        match = _NAME.fullmatch(path.name)
        if match and not Path("/proc", match[1]).exists():
            path.unlink(missing_ok=True)
