"""Files of the deployment: what clients upload, what stages learn, what jobs make. A local folder.

    assets/<first two digits>/<digest>     by the SHA-256 of their content, never changed once there
    uploads/<digest>.part                  uploads under way; the next one goes on where the last broke off
    artifacts/<kind>/<SHA-256 of the key>  by what they were made from
    scratch/                               files being written

Nothing a client sends becomes a path: digests are checked to be digests, keys are hashed.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from services.runtime.refusal import Refusal

CHUNK_BYTES = 1 << 20
UPLOAD_SECONDS = 7 * 24 * 3600  # an upload that nobody went on with for so long is given up
GRACE_SECONDS = (
    3600  # between writing an asset or seeing that it is there, and noting who needs it, lies less than this
)
SCRATCH_SECONDS = 60  # between creating a scratch file and locking it lies less than this

# What a network's file system says while its server is away.
_GONE = {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9_]*")


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
def refuse_full_disk() -> Iterator[None]:
    """Turns "no space left", of the system or of FFmpeg, into DISK_FULL, and a disk that went away into its like."""
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise Refusal("SERVICE_UNAVAILABLE", f"The store's disk cannot be reached: {error.strerror}.") from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refusal("DISK_FULL", "The store's disk is full: free some space, then try again.") from error


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


class ArtifactStore:
    """Any number of processes may share one folder. All methods may block."""

    def __init__(self, root: Path, free_bytes: int = 0) -> None:
        self._root = root
        self._free_bytes = free_bytes
        for name in ("assets", "uploads", "artifacts", "scratch"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self._sweep()

    # Assets

    def path_of(self, digest: str) -> Path:
        """Where the asset lies. Raises Refusal INVALID_NAME, ASSET_NOT_FOUND."""
        path = self._asset_path(digest)
        if not path.is_file():
            raise Refusal("ASSET_NOT_FOUND", f"No asset {digest} is stored: upload it first.", digest=digest)
        return path

    def find_asset(self, digest: str) -> Asset | None:
        path = self._asset_path(digest)
        return Asset(digest, path.stat().st_size) if path.is_file() else None

    def put(self, chunks: Iterable[bytes | memoryview]) -> Asset:
        """Stores the bytes under their digest."""
        with self.scratch() as path:
            write_file(path, chunks)
            return self.adopt(path)

    def adopt(self, path: Path) -> Asset:
        """Moves a finished file of the same disk into the store, under its digest."""
        asset = hash_file(path)
        with refuse_full_disk():
            if self.find_asset(asset.digest) == asset:
                os.utime(self._asset_path(asset.digest))
                path.unlink()
            else:
                publish_file(path, self._asset_path(asset.digest))
        return asset

    def read(self, digest: str, offset: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The asset's bytes from `offset` on."""
        with self.path_of(digest).open("rb") as file:
            file.seek(offset)
            while chunk := file.read(chunk_bytes):
                yield chunk

    def check_room(self, size: int = 0) -> None:
        """Raises Refusal DISK_FULL when so many bytes more would leave less free than shall be."""
        free = shutil.disk_usage(self._root).free
        if free - size < self._free_bytes:
            message = f"The store's disk has {free >> 20} MB free, of which {self._free_bytes >> 20} shall stay so."
            raise Refusal("DISK_FULL", message, free=free, wanted=size)

    def open_upload(self, digest: str, size: int) -> "Upload":
        """An upload of the asset, at the first byte still wanted. Raises as check_room."""
        if self.find_asset(digest) is None:
            self.check_room(size)
        return Upload(Asset(digest, size), self._asset_path(digest), self._root / "uploads" / f"{digest}.part")

    # Artifacts

    def artifact_path(self, kind: str, key: str) -> Path:
        """Where the artifact lies, or will. `kind` is a word of ours, `key` any text: what it was made from.

        Asking counts as using it.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"{kind!r} is not a kind of artifact")
        path = self._root / "artifacts" / kind / hashlib.sha256(key.encode()).hexdigest()
        with suppress(FileNotFoundError):
            os.utime(path)
        return path

    def put_artifact(self, kind: str, key: str, chunks: Iterable[bytes | memoryview]) -> Asset:
        """Writes the artifact, whole or not at all; one that is there is replaced."""
        with self.scratch() as path:
            write_file(path, chunks)
            asset = hash_file(path)
            publish_file(path, self.artifact_path(kind, key))
        return asset

    def adopt_artifact(self, kind: str, key: str, path: Path) -> None:
        """Moves a finished file of the same disk to where the artifact lies."""
        with refuse_full_disk():
            publish_file(path, self.artifact_path(kind, key))

    def get_artifact(self, kind: str, key: str) -> bytes | None:
        try:
            return self.artifact_path(kind, key).read_bytes()
        except FileNotFoundError:
            return None

    @contextmanager
    def scratch(self, suffix: str = "") -> Iterator[Path]:
        """An empty file of one's own on the store's disk, gone after the block unless adopt() moved it.

        A full disk inside the block becomes Refusal DISK_FULL, one that went away SERVICE_UNAVAILABLE.
        """
        path = self._root / "scratch" / f"{uuid.uuid4().hex}{suffix}"
        try:
            with refuse_full_disk(), path.open("xb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)  # says for as long as its process lives that the file is not stale
                    yield path
                finally:
                    path.unlink(missing_ok=True)
        except FileNotFoundError as error:
            if path.parent.is_dir():
                raise
            message = f"The store's disk is not at {self._root}: was it unmounted?"
            raise Refusal("SERVICE_UNAVAILABLE", message) from error

    # Clean-up

    def sweep(self, find_live: Callable[[], Collection[str]], seconds: float, grace: float = GRACE_SECONDS) -> set[str]:
        """Removes artifacts not used for so long, and assets that are not live; the digests of those.

        `find_live`: digests of the assets that somebody needs. One that changed within `grace` seconds is spared: who
        needs it may just be writing that down.
        """
        self._sweep()
        now = time.time()
        for path in (self._root / "artifacts").glob("*/*"):
            _remove_older(path, now - seconds)
        old = {path.name: path for path in (self._root / "assets").glob("*/*") if _is_older(path, now - grace)}
        live = set(find_live())
        return {digest for digest, path in old.items() if digest not in live and _remove_older(path, now - grace)}

    def _asset_path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise Refusal("INVALID_NAME", f"{digest[:80]!r} is not a digest: 64 lower-case hexadecimal digits.")
        return self._root / "assets" / digest[:2] / digest

    def _sweep(self) -> None:
        """Removes what killed processes left half written, and uploads given up."""
        now = time.time()
        for path in (self._root / "scratch").iterdir():
            with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if now - os.fstat(file.fileno()).st_mtime > SCRATCH_SECONDS:
                    path.unlink()
        for path in (self._root / "uploads").iterdir():
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > UPLOAD_SECONDS:
                    path.unlink()


def _is_older(path: Path, instant: float) -> bool:
    try:
        return path.stat().st_mtime <= instant
    except FileNotFoundError:  # somebody else sweeps as well
        return False


def _remove_older(path: Path, instant: float) -> bool:
    """Whether the file was there, and last touched before that instant."""
    if _is_older(path, instant):
        with suppress(FileNotFoundError):
            path.unlink()
            return True
    return False


class Upload:
    """An asset on its way in: append the bytes from `offset` on, in order, then finish."""

    def __init__(self, asset: Asset, path: Path, part: Path) -> None:
        self._asset = asset
        self._path = path
        self._part = part
        self.offset = asset.size if path.is_file() else self._part_size()

    def append(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Two uploads of one digest may run at once; they fill one file.

        Raises Refusal CHECKSUM_MISMATCH for bytes beyond the announced size, DISK_FULL.
        """
        end = self.offset + len(chunk)
        if end > self._asset.size:
            message = f"More bytes came than the {self._asset.size} that were announced."
            raise Refusal("CHECKSUM_MISMATCH", message, digest=self._asset.digest, size_bytes=self._asset.size)
        if not self._path.is_file():
            with refuse_full_disk(), self._part.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                there = os.fstat(file.fileno()).st_size
                if there < self.offset:
                    message = "The upload was given up in the meantime: begin it again."
                    raise Refusal("SERVICE_UNAVAILABLE", message, digest=self._asset.digest)
                file.write(memoryview(chunk)[there - self.offset :])
        self.offset = end

    def finish(self) -> Asset:
        """Stores the file. Raises Refusal CHECKSUM_MISMATCH when it is not the one announced; its bytes are dropped."""
        if self._path.is_file():
            self._part.unlink(missing_ok=True)
            return self._asset
        self._part.touch()
        with self._part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._path.is_file():  # another upload of the file was just ahead
                self._part.unlink(missing_ok=True)
                return self._asset
            found = hash_file(self._part)
            if found != self._asset:
                self._part.unlink(missing_ok=True)
                message = f"The {found.size} bytes that came have digest {found.digest}: upload the file again."
                raise Refusal("CHECKSUM_MISMATCH", message, digest=self._asset.digest, found_digest=found.digest)
            with refuse_full_disk():
                publish_file(self._part, self._path)
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
