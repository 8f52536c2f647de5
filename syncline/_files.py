"""Files on the user's side: what is sent, and what arrives."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from syncline import errors
from syncline.types import Asset

CHUNK_BYTES = 1024 * 1024


def describe_file(path: Path) -> Asset:
    """The file's SHA-256 and size, read without holding it in memory."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Asset(digest, file.tell())


def read_chunks(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class Arriving:
    """Bytes of an asset as they arrive, in order; complete only with the right digest.

    Raises ChecksumMismatch.
    """

    def __init__(self, asset: Asset, sink: IO[bytes]) -> None:
        self.asset = asset
        self.size = 0
        self._sink = sink
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self._sink.write(data)
        self._hash.update(data)
        self.size += len(data)

    def check(self) -> None:
        """Call once no more bytes will come."""
        if self._hash.hexdigest() != self.asset.digest:
            raise errors.ChecksumMismatch(
                f"{self.size} bytes arrived, but not those of {self.asset.digest} ({self.asset.size_bytes} bytes)",
                {"digest": self.asset.digest, "received": self._hash.hexdigest()},
            )


class NewFile:
    """A file that appears under its name only when it is whole: written beside it, flushed to disk, renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f".{secrets.token_hex(8)}.part")

    def __enter__(self) -> Self:
        self.file = self._part.open("xb")
        return self

    def keep(self) -> None:
        """Gives the file its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._part.replace(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which a full disk refuses again
            self.file.close()
        self._part.unlink(missing_ok=True)
