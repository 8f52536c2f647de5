"""The artifact store of a deployment with many hosts: files in a bucket, under the names that they have in a folder.

The folder of each host holds what is being written and copies of what was used lately. A file is in the bucket before
anybody is told of it, and there whole; what is fetched is checked against its SHA-256. An upload under way is
parts below uploads/<digest>/, so that it goes on at any host.
"""

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from services.orchestrator.artifacts import CHUNK_BYTES, GRACE_SECONDS, UPLOAD_SECONDS, ArtifactStore, asset_name
from services.orchestrator.uploads import BucketUpload, Upload
from services.runtime.bucket_cache import BucketCache
from services.runtime.buckets import Stored
from services.runtime.files import Asset, hash_file, refuse_full_disk
from services.runtime.refusal import Refusal


class BucketArtifacts(ArtifactStore):
    """Beside what the folder's methods raise, all raise Refusal SERVICE_UNAVAILABLE while the bucket is out of reach.

    `cache`: of the same folder.
    """

    def __init__(self, cache: BucketCache, root: Path, free_bytes: int = 0) -> None:
        super().__init__(root, free_bytes)
        self._bucket = cache.bucket
        self._cache = cache

    def find_asset(self, digest: str) -> Asset | None:
        """As the bucket has it: of what another host removed there may still be a copy here."""
        with self._cache.own_errors():
            stored = self._bucket.find(asset_name(digest))
        return Asset(digest, stored.size) if stored else None

    def read(self, digest: str, offset: int = 0, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """From the bucket itself unless there is a copy: the first bytes need not wait for the last."""
        if self._asset_path(digest).is_file():
            yield from super().read(digest, offset, chunk_bytes)
            return
        self.get_asset(digest)
        with self._cache.own_errors():
            for part in self._bucket.open(asset_name(digest)).read(offset):
                for start in range(0, len(part), chunk_bytes):
                    yield bytes(part[start : start + chunk_bytes])

    def sign(self, digest: str, seconds: float) -> str:
        self.get_asset(digest)
        try:
            return self._bucket.sign(asset_name(digest), seconds)
        except Refusal as refusal:
            message = f"The server's credentials cannot sign: {refusal.message}"
            raise Refusal("URL_UNAVAILABLE", message, digest=digest) from refusal

    def check_room(self, size: int = 0) -> None:
        try:
            super().check_room(size)
        except Refusal as refusal:
            lacking = size + self._free_bytes - int(refusal.metadata["free"])
            self._cache.make_room(lacking)
            super().check_room(size)

    def open_upload(self, digest: str, size: int) -> Upload:
        there = self.find_asset(digest) is not None
        if not there:
            self._cache.forget(asset_name(digest))
            self.check_room(size)
        return BucketUpload(Asset(digest, size), self._cache, self.scratch, self._keep, there)

    def sweep(self, find_live: Callable[[], Collection[str]], seconds: float, grace: float = GRACE_SECONDS) -> set[str]:
        """As of a folder, but artifacts go so long after they were made: a bucket does not know what is used."""
        self._sweep()
        self._cache.trim()
        now = time.time()
        with self._cache.own_errors():
            for stored in self._bucket.list("artifacts/"):
                if stored.changed <= now - seconds:
                    self._remove(stored.name)
            self._give_up_uploads(now - UPLOAD_SECONDS)
            old = [stored.name for stored in self._bucket.list("assets/") if stored.changed <= now - grace]
            live = {asset_name(digest) for digest in find_live()}
            gone = {name for name in old if name not in live and self._remove_older(name, now - grace)}
        return {name.rpartition("/")[2] for name in gone}

    def _give_up_uploads(self, instant: float) -> None:
        """Those with which nobody went on since then."""
        uploads: dict[str, list[Stored]] = {}
        for stored in self._bucket.list("uploads/"):
            uploads.setdefault(stored.name.rpartition("/")[0], []).append(stored)
        for parts in uploads.values():
            if all(stored.changed <= instant for stored in parts):
                for stored in parts:
                    self._bucket.remove(stored.name)

    def _find(self, name: str, digest: str = "") -> Path | None:
        return self._cache.find(name, digest)

    def _publish(self, path: Path, name: str, digest: str = "") -> None:
        self._cache.publish(path, name, digest or hash_file(path).digest)

    def _keep(self, path: Path, asset: Asset) -> None:
        """What was stored long ago is stored again: a clean-up may be about to remove it."""
        name = asset_name(asset.digest)
        with refuse_full_disk(), self._cache.own_errors():
            there = self._bucket.find(name)
            if there is not None and there.size == asset.size and there.changed > time.time() - GRACE_SECONDS / 2:
                self._cache.keep(path, name)
            else:
                self._publish(path, name, asset.digest)

    def _remove_older(self, name: str, instant: float) -> bool:
        """Whether the file was there, and last written before that instant."""
        stored = self._bucket.find(name)
        if stored is None or stored.changed > instant:
            return False
        self._remove(name)
        return True

    def _remove(self, name: str) -> None:
        self._bucket.remove(name)
        self._cache.forget(name)
