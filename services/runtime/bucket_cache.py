"""Copies of a bucket's files on the local disk."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import structlog

from services.runtime.buckets import Bucket
from services.runtime.config import ConfigError
from services.runtime.files import publish_file, refuse_full_disk
from services.runtime.refusal import Refusal

SPARE_SECONDS = 600.0  # between asking for a file and opening it lies less than this
_ATTEMPTS = 2  # at a file whose bytes do not have their digest
_log = structlog.get_logger("cache")


class BucketCache:
    """A folder that holds files of a bucket under their names there, `most_bytes` of them or little more.

    What was used least lately goes first, but nothing that was used within the last ten minutes. Any number of
    processes may share the folder. All methods block. Raise Refusal SERVICE_UNAVAILABLE, DISK_FULL.
    """

    def __init__(self, bucket: Bucket, root: Path, most_bytes: int) -> None:
        self.bucket = bucket
        self._root = root
        self._most_bytes = most_bytes
        self._new_bytes = 0  # since the last look at the folder
        (root / "scratch").mkdir(parents=True, exist_ok=True)

    def find(self, name: str, digest: str = "") -> Path | None:
        """Where the file lies, fetched unless it is here. `digest`: its SHA-256; default: as the bucket has it.

        Raises Refusal CHECKSUM_MISMATCH when the bucket holds other bytes.
        """
        path = self._root / name
        with suppress(FileNotFoundError):
            os.utime(path)
            return path
        try:
            self._fetch(name, path, digest)
        except FileNotFoundError:
            return None
        return path

    def publish(self, path: Path, name: str, digest: str) -> None:
        """Moves a written file of the same disk into the bucket and the folder."""
        with self.own_errors():
            self.bucket.upload(path, name, digest)
        self.keep(path, name)

    def keep(self, path: Path, name: str) -> None:
        """Moves a written file that the bucket has into the folder."""
        size = path.stat().st_size
        publish_file(path, self._root / name)
        self._count(size)

    def forget(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def trim(self) -> None:
        """Removes what is too much."""
        self._new_bytes = 0
        files = self._list()
        self._drop(files, sum(size for _, size, _ in files) - self._most_bytes)

    def make_room(self, size: int) -> None:
        """Removes so many bytes, if there are as many that may go."""
        self._drop(self._list(), size)

    def _list(self) -> list[tuple[float, int, Path]]:
        """When each was last used, in seconds since the Unix epoch; its size; where it is."""
        files = []
        for folder in ("assets", "artifacts"):
            for path in (self._root / folder).glob("*/*"):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, path))
        return sorted(files)

    def _drop(self, files: list[tuple[float, int, Path]], size: int) -> None:
        for used, file_size, path in files:
            if size <= 0 or used > time.time() - SPARE_SECONDS:
                return
            path.unlink(missing_ok=True)
            size -= file_size

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """A bucket that refuses its owner may think better of it: its rights are changed while we run."""
        try:
            yield
        except PermissionError as error:
            raise Refusal("SERVICE_UNAVAILABLE", str(error)) from error

    def _fetch(self, name: str, path: Path, digest: str) -> None:
        """Raises FileNotFoundError when the bucket has no such file of ours."""
        scratch = self._root / "scratch" / f"fetch-{hashlib.sha256(name.encode()).hexdigest()}"
        with self.own_errors(), refuse_full_disk(), _locked(scratch) as file:
            if path.is_file():  # somebody else fetched it meanwhile
                scratch.unlink()
                return
            try:
                size = self._copy(name, file, digest)
            except BaseException:
                scratch.unlink()
                raise
            publish_file(scratch, path)
        self._count(size)

    def _copy(self, name: str, file: IO[bytes], digest: str) -> int:
        found = self.bucket.open(name)
        wanted = digest or found.digest
        if not wanted:
            raise FileNotFoundError(f"nobody noted the digest of {name}")
        for _ in range(_ATTEMPTS):
            hashed = hashlib.sha256()
            file.seek(0)
            file.truncate()
            for chunk in found.read(0):
                file.write(chunk)
                hashed.update(chunk)
            file.flush()
            if hashed.hexdigest() == wanted:
                return found.size
        message = f"{self.bucket.uri} has other bytes as {name} than were written: remove them, and make them anew."
        raise Refusal("CHECKSUM_MISMATCH", message, name=name)

    def _count(self, size: int) -> None:
        self._new_bytes += size
        if self._new_bytes > self._most_bytes // 10:
            self.trim()


def open_cache(variable: str, uri: str, root: Path, most_bytes: int) -> BucketCache | None:
    """The cache of the bucket that the variable names, None when it names none. One out of reach may yet come.

    Raises ConfigError when it will never do.
    """
    if not uri:
        return None
    try:
        cache = BucketCache(Bucket(uri), root, most_bytes)
        next(cache.bucket.list("assets/"), None)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        raise ConfigError(f"{variable}={uri!r}: {error}") from error
    except Refusal as refusal:
        _log.warning("the store is out of reach", uri=uri, error=refusal.message)
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, which one alone holds; whoever waited for it gets it as it was left, or a new one."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_same = os.path.samestat(path.stat(), os.fstat(file.fileno()))
            except FileNotFoundError:
                is_same = False
            if is_same:
                yield file
                return
