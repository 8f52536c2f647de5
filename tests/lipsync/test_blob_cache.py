"""Which blobs the lipsync service keeps."""

from services.lipsync.blobs import BlobCache
from services.runtime.blobs import Blob, Spool


def make_blobs(count: int, size: int = 10) -> dict[str, Blob]:
    spools = [Spool.of(number.to_bytes(size, "big")) for number in range(count)]
    return {spool.hash(): spool for spool in spools}


def test_the_least_lately_used_go_where_bytes_or_files_are_too_many() -> None:
    cache, blobs = BlobCache(capacity_bytes=35), make_blobs(4)
    first, second, third, fourth = blobs
    cache.put({first: blobs[first], second: blobs[second], third: blobs[third]})
    cache.put(cache.find(first)[0])
    cache.put({fourth: blobs[fourth]})
    assert cache.find(*blobs)[1] == [second]
    many = BlobCache()
    many.put(make_blobs(300, size=2))
    assert len(many.find(*make_blobs(300, size=2))[1]) == 300 - 256


def test_one_larger_than_all_the_room_is_kept_for_its_caller() -> None:
    cache, blobs = BlobCache(capacity_bytes=5), make_blobs(1)
    cache.put(blobs)
    assert cache.find(*blobs) == (blobs, [])
