"""Bytes and arrays that lie in files and are read where they are needed: no memory grows with them.

A file that is mapped would be handier, but all that was ever read of it counts as memory of the process.
"""

import hashlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from math import prod
from operator import index
from pathlib import Path
from typing import IO, Any, Self, overload

import numpy as np

from services.runtime.files import refuse_full_disk

PIECE_BYTES = 1 << 20


class Blob:
    """Bytes in a file, which stays open for as long as anybody holds the blob. Any number of threads may read them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        weakref.finalize(self, file.close)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises FileNotFoundError."""
        return cls(path.open("rb", buffering=0))

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """All bytes from `start` to before `end`, a megabyte at a time."""
        end = self.size if end is None else end
        for place in range(start, end, PIECE_BYTES):
            yield self.read(place, min(PIECE_BYTES, end - place))

    def hash(self) -> str:
        """SHA-256, hexadecimal."""
        hashed = hashlib.sha256()
        for piece in self.pieces():
            hashed.update(piece)
        return hashed.hexdigest()


class Spool(Blob):
    """A blob in the making, in a temporary file without a name: nothing is left of it however the process ends."""

    def __init__(self) -> None:
        with _refuse():
            super().__init__(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - open as long as the blob lives

    @classmethod
    def of(cls, *contents: bytes | memoryview) -> Self:
        spool = cls()
        for content in contents:
            spool.append(content)
        return spool

    def append(self, content: bytes | memoryview) -> None:
        """Raises Refusal DISK_FULL."""
        left = memoryview(content).cast("B")
        with _refuse():
            while left:
                written = os.pwrite(self._file.fileno(), left, self.size)
                self.size, left = self.size + written, left[written:]


class StoredArray:
    """An array in a blob, C order. A slice of its rows is another one; a row, and np.asarray() of all, are read."""

    def __init__(self, blob: Blob, dtype: Any, shape: tuple[int, ...], start: int = 0) -> None:
        """`start`: of its first byte."""
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self._blob = blob
        self._start = start
        self._row_bytes = prod(shape[1:]) * self.dtype.itemsize
        self._bytes = prod(shape) * self.dtype.itemsize

    @classmethod
    def open(cls, path: Path, dtype: Any, *row: int) -> Self:
        """All rows of that shape in a file. Raises FileNotFoundError."""
        blob = Blob.open(path)
        return cls(blob, dtype, (blob.size // (prod(row) * np.dtype(dtype).itemsize), *row))

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, key: slice) -> Self: ...
    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> np.ndarray: ...
    def __getitem__(self, key: slice | int | np.integer[Any]) -> "StoredArray | np.ndarray":
        if not isinstance(key, slice):
            row = index(key)
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of {len(self)}")
            return np.asarray(self[row : row + 1])[0]
        first, end, step = key.indices(len(self))
        if step != 1:
            raise IndexError("rows follow one another")
        shape = (max(end - first, 0), *self.shape[1:])
        return type(self)(self._blob, self.dtype, shape, self._start + first * self._row_bytes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read-only unless a copy is asked for, as what is written into it goes nowhere."""
        array = np.frombuffer(self._blob.read(self._start, self._bytes), self.dtype).reshape(self.shape)
        return array.astype(self.dtype if dtype is None else dtype, copy=bool(copy))

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, a megabyte at a time."""
        return self._blob.pieces(self._start, self._start + self._bytes)


def _refuse() -> AbstractContextManager[None]:
    return refuse_full_disk(f"The disk of temporary files ({tempfile.gettempdir()})")


Rows = np.ndarray | StoredArray
