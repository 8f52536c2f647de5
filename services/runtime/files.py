"""Files that are whole or not there: written beside, checked, then moved to where readers look."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.runtime.refusal import Refusal

# What a network's file system says while its server is away.
_GONE = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the store: its SHA-256 and its size in bytes."""

    digest: str
    size: int


def hash_file(path: Path) -> Asset:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Asset(digest, file.tell())


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


@contextmanager
def refuse_full_disk(disk: str = "The store's disk") -> Iterator[None]:
    """Turns "no space left", of the system or of FFmpeg, into DISK_FULL, and a disk that went away into its like."""
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise Refusal("SERVICE_UNAVAILABLE", f"{disk} cannot be reached: {error.strerror}.") from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refusal("DISK_FULL", f"{disk} is full: free some space, then try again.") from error


def publish_file(path: Path, target: Path) -> None:
    """Moves a written file to where readers look, so that after a crash it is there whole or not at all."""
    sync_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    sync_path(target.parent)


def sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
