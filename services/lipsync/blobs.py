"""Prepared sources and plans that were sent lately, so that they need not be sent for every segment."""

from collections import OrderedDict
from collections.abc import Iterable

_CAPACITY_BYTES = 512 * 1024 * 1024


class BlobCache:
    """By digest; the least lately used goes first. A caller holds what it got, whatever is dropped here meanwhile."""

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._blobs: OrderedDict[str, bytes] = OrderedDict()

    def held(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Those of the blobs that are here."""
        return {digest: self._blobs[digest] for digest in digests if digest in self._blobs}

    def put(self, blobs: dict[str, bytes]) -> None:
        for digest, blob in blobs.items():
            self._blobs[digest] = blob
            self._blobs.move_to_end(digest)
        while len(self._blobs) > 1 and sum(map(len, self._blobs.values())) > self._capacity:
            self._blobs.popitem(last=False)
