"""Files on their way in: taken in pieces, gone on with where they broke off, stored once they are as announced."""

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, takewhile
from pathlib import Path

from services.runtime.bucket_cache import BucketCache
from services.runtime.files import Asset, hash_file, refuse_full_disk, write_file
from services.runtime.refusal import Refusal

PART_BYTES = 8 << 20  # of an upload into a bucket: what is sent again at most, and what it takes of memory

Keep = Callable[[Path, Asset], None]


class Upload(ABC):
    """An asset on its way in: append the bytes from `offset` on, in order, then finish."""

    def __init__(self, asset: Asset) -> None:
        self._asset = asset
        self.offset = 0

    def append(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Two uploads of one digest may run at once.

        Raises Refusal CHECKSUM_MISMATCH for bytes beyond the announced size, DISK_FULL, SERVICE_UNAVAILABLE.
        """
        end = self.offset + len(chunk)
        if end > self._asset.size:
            message = f"More bytes came than the {self._asset.size} that were announced."
            raise Refusal("CHECKSUM_MISMATCH", message, digest=self._asset.digest, size_bytes=self._asset.size)
        self._take(chunk)
        self.offset = end

    @abstractmethod
    def _take(self, chunk: bytes | memoryview) -> None: ...

    @abstractmethod
    def finish(self) -> Asset:
        """Stores the file. Raises Refusal CHECKSUM_MISMATCH when it is not the one announced; its bytes are dropped."""

    def _check(self, found: Asset, drop: Callable[[], None]) -> None:
        if found != self._asset:
            drop()
            message = f"The {found.size} bytes that came have digest {found.digest}: upload the file again."
            raise Refusal("CHECKSUM_MISMATCH", message, digest=self._asset.digest, found_digest=found.digest)

    def _given_up(self) -> Refusal:
        message = "The upload was given up in the meantime: begin it again."
        return Refusal("SERVICE_UNAVAILABLE", message, digest=self._asset.digest)


class FolderUpload(Upload):
    """Into one file, which all uploads of the asset fill, whichever process of whichever host they come to."""

    def __init__(self, asset: Asset, path: Path, part: Path, keep: Keep, there: bool) -> None:
        """`path`: where it will lie; `part`: until then; `keep` moves it there; `there`: it is stored already."""
        super().__init__(asset)
        self._path = path
        self._part = part
        self._keep = keep
        self._there = there
        self.offset = asset.size if there else self._part_size()

    def _take(self, chunk: bytes | memoryview) -> None:
        if self._path.is_file():
            return
        with refuse_full_disk(), self._part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            there = os.fstat(file.fileno()).st_size
            if there < self.offset:
                raise self._given_up()
            file.write(memoryview(chunk)[there - self.offset :])

    def finish(self) -> Asset:
        if self._there or self._path.is_file():
            self._part.unlink(missing_ok=True)
            return self._asset
        self._part.touch()
        with self._part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._path.is_file():  # another upload of the file was just ahead
                self._part.unlink(missing_ok=True)
                return self._asset
            self._check(hash_file(self._part), self._part.unlink)
            self._keep(self._part, self._asset)
        return self._asset

    def _part_size(self) -> int:
        """Bytes already there; none if they cannot be the beginning of this file."""
        try:
            size = self._part.stat().st_size
        except FileNotFoundError:
            return 0
        if size > self._asset.size:
            self._part.unlink(missing_ok=True)
            return 0
        return size


class BucketUpload(Upload):
    """Into numbered parts in the bucket, from which any host goes on: uploads/<digest>/<number>, all of PART_BYTES.

    What comes after the last whole part waits in memory for the end of the file, or is sent again.
    """

    def __init__(
        self,
        asset: Asset,
        cache: BucketCache,
        open_scratch: Callable[[], AbstractContextManager[Path]],
        keep: Keep,
        there: bool,
    ) -> None:
        """`open_scratch`: an empty file; `keep` stores such a one; `there`: the asset is stored already."""
        super().__init__(asset)
        self._cache = cache
        self._folder = f"uploads/{asset.digest}/"
        self._open_scratch = open_scratch
        self._keep = keep
        self._there = there
        self._tail = bytearray()
        self._parts = 0 if there else self._count_parts()
        self.offset = asset.size if there else self._parts * PART_BYTES

    def _take(self, chunk: bytes | memoryview) -> None:
        self._tail += chunk
        while len(self._tail) >= PART_BYTES:
            with self._cache.own_errors():
                self._cache.bucket.put(self._name(self._parts), bytes(self._tail[:PART_BYTES]))
            del self._tail[:PART_BYTES]
            self._parts += 1

    def finish(self) -> Asset:
        if not self._there:
            with self._open_scratch() as path:
                write_file(path, chain(self._read_parts(), [bytes(self._tail)]))
                self._check(hash_file(path), self._drop)
                self._keep(path, self._asset)
        self._drop()
        return self._asset

    def _read_parts(self) -> Iterator[memoryview]:
        for number in range(self._parts):
            with self._cache.own_errors():
                try:
                    yield from self._cache.bucket.open(self._name(number)).read(0)
                except FileNotFoundError as error:  # another upload of the asset was just ahead, or brought other bytes
                    raise self._given_up() from error

    def _count_parts(self) -> int:
        """Those from the first one on that can be the beginning of this file."""
        with self._cache.own_errors():
            sizes = {stored.name: stored.size for stored in self._cache.bucket.list(self._folder)}
        numbers = range(self._asset.size // PART_BYTES)
        return sum(1 for _ in takewhile(lambda number: sizes.get(self._name(number)) == PART_BYTES, numbers))

    def _drop(self) -> None:
        with self._cache.own_errors():
            for stored in list(self._cache.bucket.list(self._folder)):
                self._cache.bucket.remove(stored.name)

    def _name(self, number: int) -> str:
        return f"{self._folder}{number:06}"
