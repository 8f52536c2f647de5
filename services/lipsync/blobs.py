"""Prepared sources and plans that were sent lately, so that they need not be sent for every segment.

In temporary files: only what is rendered from is read.
"""

import re
from collections import OrderedDict

from services.runtime.blobs import Blob
from services.runtime.refusal import Refusal

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CAPACITY_BYTES = 512 * 1024 * 1024  # of disk
_MOST = 256  # blobs: each holds a file open


class BlobCache:
    """By digest; the least lately used goes first. A caller holds what it got, whatever is dropped here meanwhile."""

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._blobs: OrderedDict[str, Blob] = OrderedDict()

    def find(self, *digests: str) -> tuple[dict[str, Blob], list[str]]:
        """Those of the blobs that are here, and the digests of the others. Raises Refusal INVALID_NAME."""
        for digest in digests:
            if not _DIGEST.fullmatch(digest):
                raise Refusal("INVALID_NAME", "a digest is 64 lower-case hexadecimal digits")
        held = {digest: self._blobs[digest] for digest in digests if digest in self._blobs}
        return held, [digest for digest in digests if digest not in held]

    def put(self, blobs: dict[str, Blob]) -> None:
        for digest, blob in blobs.items():
            self._blobs[digest] = blob
            self._blobs.move_to_end(digest)
        while len(self._blobs) > 1 and (len(self._blobs) > _MOST or self._bytes > self._capacity):
            self._blobs.popitem(last=False)

    @property
    def _bytes(self) -> int:
        return sum(blob.size for blob in self._blobs.values())
