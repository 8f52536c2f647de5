"""Payloads between processes of one host: a ring of slots in shared memory, made for one stream.

The server makes the file, the client opens it by the name in Opened and takes the name away: whoever is killed after
that leaves nothing behind. A ring whose maker was killed before is swept by the next one made.
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
    """Which shared memory this process sees, and as whom: the same for both where it can be shared. Empty for none."""
    try:
        return f"{_BOOT_ID.read_text().strip()}:{FOLDER.stat().st_dev}:{os.getuid()}"
    except OSError:
        return ""


def can_share(transports: Sequence[int], shared_memory: str) -> bool:
    """Whether a client whose Open says this can share memory with this process."""
    if media_pb2.TRANSPORT_SHARED_MEMORY not in transports or not shared_memory:
        return False
    return shared_memory == see_shared_memory()


class _Ring:
    """The slots as one end sees them. The batch with number `sequence` lies in slot `sequence % slots`."""

    _access = mmap.ACCESS_READ

    def __init__(self, ring: media_pb2.SharedRing, descriptor: int) -> None:
        """Takes the descriptor over, once it is made."""
        self.message = ring
        self._memory = mmap.mmap(descriptor, ring.slots * ring.slot_bytes, access=self._access)
        self._descriptor = descriptor

    @classmethod
    def make(cls, slots: int, slot_bytes: int) -> Self:
        """The server's end. Raises OSError where there is no shared memory."""
        _sweep()
        name = f"syncline-{os.getpid()}-{secrets.token_hex(16)}"
        descriptor = os.open(FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        ring = media_pb2.SharedRing(name=name, slots=slots, slot_bytes=slot_bytes)
        try:
            os.ftruncate(descriptor, slots * slot_bytes)
            return cls(ring, descriptor)
        except BaseException:
            os.close(descriptor)
            (FOLDER / name).unlink()
            raise

    @classmethod
    def open(cls, ring: media_pb2.SharedRing) -> Self:
        """The client's end; takes the name away. Raises Refusal INVALID_BATCH for what is not a ring's name or size."""
        if not _NAME.fullmatch(ring.name):
            raise Refusal("INVALID_BATCH", f"{ring.name[:80]!r} is not the name of a ring")
        mode = os.O_RDONLY if cls._access == mmap.ACCESS_READ else os.O_RDWR
        descriptor = os.open(FOLDER / ring.name, mode | os.O_NOFOLLOW)
        try:
            if not ring.slots or os.fstat(descriptor).st_size != ring.slots * ring.slot_bytes:
                raise Refusal("INVALID_BATCH", "the ring does not have the size that the server says")
            opened = cls(ring, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        (FOLDER / ring.name).unlink(missing_ok=True)  # both ends keep the memory
        return opened

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # an error's traceback may still view it; it goes with the last view
            self._memory.close()
        (FOLDER / self.message.name).unlink(missing_ok=True)  # a client that never came
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class RingWriter(_Ring):
    """The end that writes. A batch may be written once the one `slots` before it is needed no more."""

    _access = mmap.ACCESS_WRITE

    def __init__(self, ring: media_pb2.SharedRing, descriptor: int) -> None:
        super().__init__(ring, descriptor)
        self._reserved = [0] * ring.slots  # bytes

    def write(self, sequence: int, payload: Sequence[Buffer]) -> media_pb2.BufferRef:
        """Puts the payload of batch `sequence` into its slot. Raises OSError when there is no room for it."""
        turn, slot = divmod(sequence, self.message.slots)
        start = slot * self.message.slot_bytes
        length = sum(map(len, payload))
        if length > self.message.slot_bytes:
            raise OSError(f"{length} bytes are more than a slot holds")
        if length > self._reserved[slot]:
            os.posix_fallocate(self._descriptor, start, length)  # too little memory is an error here, a SIGBUS later
            self._reserved[slot] = length
        end = start
        for buffer in payload:
            self._memory[end : end + len(buffer)] = buffer
            end += len(buffer)
        return media_pb2.BufferRef(slot=slot, length=length, generation=turn)


class RingReader(_Ring):
    """The end that reads."""

    def __init__(self, ring: media_pb2.SharedRing, descriptor: int) -> None:
        super().__init__(ring, descriptor)
        self._due = 0  # the least sequence that was not read

    def read(self, sequence: int, ref: media_pb2.BufferRef) -> memoryview:
        """The payload of batch `sequence` where it lies: as it is until that slot is written again.

        Raises Refusal INVALID_BATCH for references that are not what that batch's can be.
        """
        slots, slot_bytes = self.message.slots, self.message.slot_bytes
        if ref.slot >= slots or ref.length > slot_bytes:
            raise Refusal("INVALID_BATCH", f"slot {ref.slot} with {ref.length} bytes lies outside the ring")
        if sequence < self._due or (ref.generation, ref.slot) != divmod(sequence, slots):
            raise Refusal("INVALID_BATCH", f"slot {ref.slot} was written over", generation=ref.generation)
        self._due = sequence + 1
        start = ref.slot * slot_bytes
        return memoryview(self._memory)[start : start + ref.length]


def _sweep() -> None:
    """Removes rings whose makers have died. Whoever shares the memory shares the process numbers too, or should."""
    for path in FOLDER.glob("syncline-*"):
        match = _NAME.fullmatch(path.name)
        if match and not Path("/proc", match[1]).exists():
            path.unlink(missing_ok=True)
