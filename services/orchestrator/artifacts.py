"""Files of the deployment: what clients upload, what stages learn, what jobs make. A local folder.

    assets/<first two digits>/<digest>     by the SHA-256 of their content, never changed once there
    uploads/<digest>.part                  uploads under way; the next one goes on where the last broke off
    artifacts/<kind>/<SHA-256 of the key>  by what they were made from
    scratch/                               files being written

Nothing a client sends becomes a path: digests are checked to be digests, keys are hashed.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.orchestrator.uploads import FolderUpload, Upload
from services.runtime.files import Asset, hash_file, publish_file, refuse_full_disk, write_file
from services.runtime.refusal import Refusal

CHUNK_BYTES = 1 << 20
UPLOAD_SECONDS = 7 * 24 * 3600  # an upload that nobody went on with for so long is given up
GRACE_SECONDS = (
    3600  # between writing an asset or seeing that it is there, and noting who needs it, lies less than this
)
SCRATCH_SECONDS = 60  # between creating a scratch file and locking it lies less than this

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9_]*")


class ArtifactStore:
    """Any number of processes may share one folder. All methods may block.

    `BucketArtifacts` keeps the same files in a bucket, and the folder as copies of some of them.
    """

    def __init__(self, root: Path, free_bytes: int = 0) -> None:
        self._root = root
        self._free_bytes = free_bytes
        for name in ("assets", "uploads", "artifacts", "scratch"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self._sweep()

    # Assets

    def path_of(self, digest: str) -> Path:
        """Where the asset lies. Raises Refusal INVALID_NAME, ASSET_NOT_FOUND."""
        path = self._find(asset_name(digest), digest)
        if path is None:
            raise _not_stored(digest)
        return path

    def get_asset(self, digest: str) -> Asset:
        """Raises Refusal INVALID_NAME, ASSET_NOT_FOUND."""
        asset = self.find_asset(digest)
        if asset is None:
            raise _not_stored(digest)
        return asset

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
        self._keep(path, asset)
        return asset

    def read(self, digest: str, offset: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The asset's bytes from `offset` on."""
        with self.path_of(digest).open("rb") as file:
            file.seek(offset)
            while chunk := file.read(chunk_bytes):
                yield chunk

    def sign(self, digest: str, seconds: float) -> str:
        """An address at which anyone can read the asset for so long. Raises Refusal URL_UNAVAILABLE, as get_asset."""
        self.get_asset(digest)
        message = "This server keeps its files in a folder, which has no addresses: download the asset instead."
        raise Refusal("URL_UNAVAILABLE", message, digest=digest)

    def check_room(self, size: int = 0) -> None:
        """Raises Refusal DISK_FULL when so many bytes more would leave less free than shall be."""
        free = shutil.disk_usage(self._root).free
        if free - size < self._free_bytes:
            message = f"The store's disk has {free >> 20} MB free, of which {self._free_bytes >> 20} shall stay so."
            raise Refusal("DISK_FULL", message, free=free, wanted=size)

    def open_upload(self, digest: str, size: int) -> Upload:
        """An upload of the asset, at the first byte still wanted. Raises as check_room."""
        there = self.find_asset(digest) is not None
        if not there:
            self.check_room(size)
        part = self._root / "uploads" / f"{digest}.part"
        return FolderUpload(Asset(digest, size), self._asset_path(digest), part, self._keep, there)

    # Artifacts

    def artifact_path(self, kind: str, key: str) -> Path:
        """Where the artifact lies, or will. `kind` is a word of ours, `key` any text: what it was made from.

        Asking counts as using it.
        """
        name = _artifact_name(kind, key)
        return self._find(name) or self._root / name

    def put_artifact(self, kind: str, key: str, chunks: Iterable[bytes | memoryview]) -> Asset:
        """Writes the artifact, whole or not at all; one that is there is replaced."""
        with self.scratch() as path:
            write_file(path, chunks)
            asset = hash_file(path)
            self._publish(path, _artifact_name(kind, key), asset.digest)
        return asset

    def adopt_artifact(self, kind: str, key: str, path: Path, digest: str = "") -> None:
        """Moves a finished file of the same disk to where the artifact lies. `digest`: its SHA-256, where known."""
        with refuse_full_disk():
            self._publish(path, _artifact_name(kind, key), digest)

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

    def _find(self, name: str, digest: str = "") -> Path | None:
        """Where the file of that name lies, if it does. `digest`: its SHA-256, where that is known.

        Asking for an artifact counts as using it.
        """
        path = self._root / name
        if not digest:
            with suppress(FileNotFoundError):
                os.utime(path)
        return path if path.is_file() else None

    def _publish(self, path: Path, name: str, digest: str = "") -> None:
        publish_file(path, self._root / name)

    def _keep(self, path: Path, asset: Asset) -> None:
        """Moves a file whose digest was checked to where assets lie."""
        with refuse_full_disk():
            if self.find_asset(asset.digest) == asset:
                os.utime(self._asset_path(asset.digest))
                path.unlink()
            else:
                self._publish(path, asset_name(asset.digest), asset.digest)

    def _asset_path(self, digest: str) -> Path:
        return self._root / asset_name(digest)

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


def asset_name(digest: str) -> str:
    """Raises Refusal INVALID_NAME."""
    if not _DIGEST.fullmatch(digest):
        raise Refusal("INVALID_NAME", f"{digest[:80]!r} is not a digest: 64 lower-case hexadecimal digits.")
    return f"assets/{digest[:2]}/{digest}"


def _artifact_name(kind: str, key: str) -> str:
    if not _KIND.fullmatch(kind):
        raise ValueError(f"{kind!r} is not a kind of artifact")
    return f"artifacts/{kind}/{hashlib.sha256(key.encode()).hexdigest()}"


def _not_stored(digest: str) -> Refusal:
    return Refusal("ASSET_NOT_FOUND", f"No asset {digest} is stored: upload it first.", digest=digest)


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
