"""Buckets and the copies of their files, against an S3 server."""

import hashlib
import itertools
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from services.runtime import buckets
from services.runtime.bucket_cache import SPARE_SECONDS, BucketCache, open_cache
from services.runtime.buckets import Address, Bucket, parse_address
from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal
from tests.s3 import S3Server

LARGE = os.urandom(9 << 20)  # two parts
_numbers = itertools.count()


@pytest.fixture
def uri(s3: S3Server) -> str:
    """Of a new bucket."""
    return s3.new_bucket(f"bucket-{next(_numbers)}")


@pytest.fixture
def bucket(uri: str) -> Bucket:
    return Bucket(f"{uri}/some/prefix")


@pytest.fixture
def cache(bucket: Bucket, tmp_path: Path) -> BucketCache:
    return BucketCache(bucket, tmp_path / "cache", 100_000)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def publish(cache: BucketCache, path: Path, name: str, content: bytes) -> None:
    cache.publish(write(path, content), name, digest_of(content))


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://films", Address("s3://films", "")),
        ("gs://films/a/b c.mp4", Address("gs://films", "a/b c.mp4")),
        ("az://films/a%2e%2e/?#.mp4", Address("az://films", "a%2e%2e/?#.mp4")),
        ("s3://films/prefix/", Address("s3://films", "prefix")),
    ],
)
def test_an_address_is_taken_as_it_stands(uri: str, found: Address) -> None:
    assert parse_address(uri) == found


@pytest.mark.parametrize(
    "uri",
    [
        *("", "films/a", "s3:films/a", "s3:///a", "file://films/a", "https://films/a", "S3://films/a", "s3a://films/a"),
        *("s3://Films/a", "s3://user:word@films/a", "s3://films:9000/a", "s3://../a", "s3://films?x/a"),
        *("s3://films//a", "s3://films/a//b", "s3://films/a/../b", "s3://films/./a", "s3://films/..", "s3://films/a\n"),
        *("s3://films/a\x00b", "s3://films/" + "a" * 1025),
    ],
)
def test_other_addresses_are_none(uri: str) -> None:
    with pytest.raises(ValueError, match=r"it is not of the form|its key has"):
        parse_address(uri)


def test_what_is_allowed_ends_with_a_part_of_the_key() -> None:
    allowed = [parse_address("s3://films/public"), parse_address("gs://open")]
    inside = ("s3://films/public", "s3://films/public/a", "gs://open", "gs://open/a/b")
    outside = ("s3://films/publicity", "s3://films/private", "s3://films", "s3://open/a", "gs://open2/a")
    assert [parse_address(uri).is_within(allowed) for uri in (*inside, *outside)] == [True] * 4 + [False] * 5


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "in parts"])
def test_what_is_written_is_read_from_any_byte(bucket: Bucket, uri: str, tmp_path: Path, content: bytes) -> None:
    assert bucket.find("a/film.mp4") is None
    bucket.upload(write(tmp_path / "film.mp4", content), "a/film.mp4", digest_of(content))

    stored, found = bucket.find("a/film.mp4"), bucket.open("a/film.mp4")
    assert stored is not None
    assert stored.size == found.size == len(content)
    assert abs(stored.changed - time.time()) < 10
    assert (found.content_type, found.digest) == ("video/mp4", digest_of(content))
    for offset in {0, len(content) // 2, len(content)}:
        assert b"".join(found.read(offset)) == content[offset:]
    assert Bucket(uri).find("some/prefix/a/film.mp4") is not None
    assert [stored.name for stored in bucket.list("a/")] == ["a/film.mp4"]

    bucket.remove("a/film.mp4")
    bucket.remove("a/film.mp4")
    assert bucket.find("a/film.mp4") is None
    with pytest.raises(FileNotFoundError):
        bucket.open("a/film.mp4")


def test_whoever_has_a_signed_address_reads_the_file(bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write(tmp_path / "film", b"film"), "film ä?#", digest_of(b"film"))
    with urllib.request.urlopen(bucket.sign("film ä?#", 60)) as answer:
        assert answer.read() == b"film"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(bucket.sign("film ä?#", 60).replace("Expires=60", "Expires=6000"))


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write(tmp_path / "film", LARGE), "film", digest_of(LARGE))
    parts = bucket.open("film").read(0)
    next(parts)
    bucket.upload(write(tmp_path / "film", LARGE[::-1]), "film", digest_of(LARGE[::-1]))

    with pytest.raises(Refusal, match="cannot be used"):
        list(parts)


def test_credentials_and_buckets_that_will_not_do(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("s3://no-such-bucket/prefix", "ftp://bucket", "s3://../"):
        with pytest.raises(ConfigError, match="DECODER_ARTIFACTS"):
            open_cache("DECODER_ARTIFACTS", wrong, tmp_path, 0)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(ConfigError, match="refuses the server's credentials"):
        open_cache("DECODER_ARTIFACTS", uri, tmp_path, 0)
    with pytest.raises(PermissionError):
        Bucket(uri).open("film")


def test_an_upload_waits_for_a_server_that_comes_back(s3: S3Server, bucket: Bucket, tmp_path: Path) -> None:
    path = write(tmp_path / "film", LARGE)
    uploading = threading.Thread(target=bucket.upload, args=(path, "film", digest_of(LARGE)))
    uploading.start()
    time.sleep(0.05)  # in the middle of it, or before its first part: it does not matter which
    s3.cut()
    time.sleep(0.5)
    s3.mend()
    uploading.join()

    assert b"".join(bucket.open("film").read(0)) == LARGE


def test_a_server_that_stays_away_is_said_so(
    s3: S3Server, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE", 0.5)
    bucket = Bucket(uri)
    s3.cut()
    try:
        with pytest.raises(Refusal) as refused:
            bucket.upload(write(tmp_path / "film", b"film"), "film", digest_of(b"film"))
        assert open_cache("DECODER_ARTIFACTS", uri, tmp_path, 0) is not None  # it may yet come
    finally:
        s3.mend()
    assert refused.value.reason == "SERVICE_UNAVAILABLE"
    assert bucket.find("film") is None


def test_the_cache_fetches_once_and_checks(cache: BucketCache, bucket: Bucket, tmp_path: Path) -> None:
    publish(cache, tmp_path / "film", "assets/ab/film", b"film")
    other = BucketCache(bucket, tmp_path / "other", 100_000)
    found = other.find("assets/ab/film")

    assert found == tmp_path / "other" / "assets" / "ab" / "film"
    assert found.read_bytes() == b"film"
    bucket.remove("assets/ab/film")
    assert other.find("assets/ab/film") == found  # from now on without the bucket
    assert cache.find("assets/ab/none") is None
    assert not list((tmp_path / "other" / "scratch").iterdir())


def test_many_who_want_one_file_get_it(cache: BucketCache, bucket: Bucket, tmp_path: Path) -> None:
    cache.publish(write(tmp_path / "film", LARGE), "assets/ab/film", digest_of(LARGE))
    caches = [BucketCache(bucket, tmp_path / "other", 1 << 30) for _ in range(4)]
    found: list[bytes] = []

    def fetch(cache: BucketCache) -> None:
        path = cache.find("assets/ab/film", digest_of(LARGE))
        assert path is not None
        found.append(path.read_bytes())

    threads = [threading.Thread(target=fetch, args=(one,)) for one in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [LARGE] * 4
    assert not list((tmp_path / "other" / "scratch").iterdir())


def test_bytes_that_are_not_those_written_are_refused(cache: BucketCache, bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write(tmp_path / "film", b"other bytes"), "assets/ab/film", digest_of(b"film"))

    with pytest.raises(Refusal) as refused:
        cache.find("assets/ab/film", digest_of(b"film"))
    assert refused.value.reason == "CHECKSUM_MISMATCH"
    assert not (tmp_path / "cache" / "assets").exists()
    assert not list((tmp_path / "cache" / "scratch").iterdir())


def test_a_file_that_nobody_vouches_for_is_not_there(cache: BucketCache, bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write(tmp_path / "plan", b"plan"), "artifacts/plan/ab", "")
    assert cache.find("artifacts/plan/ab") is None


def test_what_was_used_least_lately_makes_room(cache: BucketCache, tmp_path: Path) -> None:
    now = time.time()
    for number in range(8):
        publish(cache, tmp_path / "film", f"assets/ab/{number}", bytes([number]) * 30_000)
        path = tmp_path / "cache" / "assets" / "ab" / str(number)
        if number < 6:  # the others were just used
            os.utime(path, (now, now - SPARE_SECONDS - 100 + number))
    assert cache.find("assets/ab/1") is not None  # fetched again, and used
    cache.trim()

    kept = {path.name for path in (tmp_path / "cache" / "assets" / "ab").iterdir()}
    assert kept == {"1", "6", "7"}
    cache.make_room(1 << 20)
    assert {path.name for path in (tmp_path / "cache" / "assets" / "ab").iterdir()} == kept  # about to be opened
