"""Prepared sources and plans that were sent lately, so that they need not be sent for every segment."""

import re
from collections import OrderedDict

from services.runtime.refusal import Refusal

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CAPACITY_BYTES = 512 * 1024 * 1024


class BlobCache:
    """By digest; the least lately used goes first. A caller holds what it got, whatever is dropped here meanwhile."""

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._blobs: OrderedDict[str, bytes] = OrderedDict()

    def find(self, *digests: str) -> tuple[dict[str, bytes], list[str]]:
        """Those of the blobs that are here, and the digests of the others. Raises Refusal INVALID_NAME."""
        for digest in digests:
            if not _DIGEST.fullmatch(digest):
                raise Refusal("INVALID_NAME", "a digest is 64 lower-case hexadecimal digits")
        held = {digest: self._blobs[digest] for digest in digests if digest in self._blobs}
        return held, [digest for digest in digests if digest not in held]

    def put(self, blobs: dict[str, bytes]) -> None:
        for digest, blob in blobs.items():
            self._blobs[digest] = blob
            self._blobs.move_to_end(digest)
        while len(self._blobs) > 1 and sum(map(len, self._blobs.values())) > self._capacity:
            self._blobs.popitem(last=False)
