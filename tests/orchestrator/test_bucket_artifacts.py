"""The artifact store in a bucket, as two hosts see it; sources from buckets and results to them."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator import bucket_artifacts, uploads
from services.orchestrator.artifacts import GRACE_SECONDS, ArtifactStore
from services.orchestrator.bucket_artifacts import BucketArtifacts
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.delivering import Deliveries
from services.orchestrator.importing import ImportRules, import_asset
from services.runtime import buckets
from services.runtime.bucket_cache import BucketCache
from services.runtime.buckets import Bucket, parse_address
from services.runtime.config import ConfigError
from tests.orchestrator.test_store import refused as reason_of
from tests.s3 import S3Server

FILM = b"film" * 1000
DIGEST = hashlib.sha256(FILM).hexdigest()
_numbers = itertools.count()


@pytest.fixture
def uri(s3: S3Server) -> str:
    """Of a new bucket."""
    return s3.new_bucket(f"artifacts-{next(_numbers)}")


def open_host(uri: str, root: Path) -> BucketArtifacts:
    return BucketArtifacts(BucketCache(Bucket(uri), root, 1 << 20), root)


@pytest.fixture
def here(uri: str, tmp_path: Path) -> BucketArtifacts:
    return open_host(uri, tmp_path / "here")


@pytest.fixture
def there(uri: str, tmp_path: Path) -> BucketArtifacts:
    return open_host(uri, tmp_path / "there")


def refused(reason: str, work: Callable[..., Any], *arguments: Any) -> None:
    assert reason_of(lambda: work(*arguments)) == reason


def put_object(uri: str, key: str, content: bytes, path: Path) -> None:
    path.write_bytes(content)
    Bucket(uri).upload(path, key, hashlib.sha256(content).hexdigest())


def test_what_one_host_stores_another_reads(here: BucketArtifacts, there: BucketArtifacts) -> None:
    asset = here.put([FILM[:1000], FILM[1000:]])
    here.put_artifact("plan", "some key", [b"plan"])

    assert there.find_asset(DIGEST) == there.get_asset(DIGEST) == asset
    assert b"".join(there.read(DIGEST, 10, chunk_bytes=100)) == FILM[10:]  # past the cache
    assert there.path_of(DIGEST).read_bytes() == b"".join(there.read(DIGEST)) == FILM
    assert there.get_artifact("plan", "some key") == b"plan"
    assert there.get_artifact("plan", "another key") is None
    refused("ASSET_NOT_FOUND", there.path_of, "0" * 64)
    refused("ASSET_NOT_FOUND", lambda: list(there.read("0" * 64)))
    refused("INVALID_NAME", there.path_of, "../secret")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of an upload's part."""
    monkeypatch.setattr(uploads, "PART_BYTES", 1000)
    return 1000


def test_an_upload_goes_on_at_any_host_and_is_sent_once(
    here: BucketArtifacts, there: BucketArtifacts, uri: str, parts: int
) -> None:
    upload = here.open_upload(DIGEST, len(FILM))
    assert upload.offset == 0
    upload.append(FILM[:2300])
    assert there.find_asset(DIGEST) is None
    refused("ASSET_NOT_FOUND", there.path_of, DIGEST)
    upload = there.open_upload(DIGEST, len(FILM))
    assert upload.offset == 2 * parts
    upload.append(FILM[2 * parts : 2900])
    upload.append(FILM[2900:])
    assert upload.finish().size == len(FILM)
    assert [stored.name[-64:] for stored in Bucket(uri).list("")] == [DIGEST]
    assert here.path_of(DIGEST).read_bytes() == there.path_of(DIGEST).read_bytes() == FILM

    again = here.open_upload(DIGEST, len(FILM))
    assert again.offset == len(FILM)
    assert again.finish() == there.find_asset(DIGEST)


def test_two_uploads_of_one_file_at_once(here: BucketArtifacts, there: BucketArtifacts, uri: str, parts: int) -> None:
    one, other = here.open_upload(DIGEST, len(FILM)), there.open_upload(DIGEST, len(FILM))
    one.append(FILM[:1500])
    other.append(FILM[:3500])
    one.append(FILM[1500:])
    one.finish()
    other.append(FILM[3500:])
    refused("SERVICE_UNAVAILABLE", other.finish)  # its parts went with the other's: it finds the file
    assert there.open_upload(DIGEST, len(FILM)).finish() == here.find_asset(DIGEST)
    assert [stored.name[-64:] for stored in Bucket(uri).list("")] == [DIGEST]


def test_bytes_that_are_not_the_file_are_dropped(
    here: BucketArtifacts, there: BucketArtifacts, uri: str, parts: int
) -> None:
    upload = here.open_upload(DIGEST, len(FILM))
    upload.append(bytes(len(FILM)))
    refused("CHECKSUM_MISMATCH", upload.append, b"more")
    refused("CHECKSUM_MISMATCH", upload.finish)
    assert list(Bucket(uri).list("")) == []
    assert there.open_upload(DIGEST, len(FILM)).offset == 0

    upload = here.open_upload(DIGEST, len(FILM))
    upload.append(FILM[:1000])
    refused("CHECKSUM_MISMATCH", upload.finish)
    assert here.find_asset(DIGEST) is None


def test_parts_that_are_not_the_beginning_do_not_count(here: BucketArtifacts, uri: str, parts: int) -> None:
    for number, size in ((0, parts), (1, parts - 1), (2, parts)):
        Bucket(uri).put(f"uploads/{DIGEST}/{number:06}", bytes(size))
    assert here.open_upload(DIGEST, len(FILM)).offset == parts
    assert here.open_upload(DIGEST, parts - 1).offset == 0


def test_an_upload_that_nobody_goes_on_with_is_given_up(
    here: BucketArtifacts, uri: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.open_upload(DIGEST, len(FILM)).append(FILM)
    here.sweep(lambda: set(), 0.0)
    assert here.open_upload(DIGEST, len(FILM)).offset == len(FILM)
    monkeypatch.setattr(bucket_artifacts, "UPLOAD_SECONDS", -60)
    here.sweep(lambda: set(), 0.0)
    assert list(Bucket(uri).list("")) == []


def test_what_another_host_removed_is_taken_anew(here: BucketArtifacts, there: BucketArtifacts) -> None:
    here.put([FILM])
    assert there.path_of(DIGEST).is_file()
    assert here.sweep(lambda: set(), 0.0, grace=-60) == {DIGEST}

    upload = there.open_upload(DIGEST, len(FILM))  # though there is a copy
    assert upload.offset == 0
    upload.append(FILM)
    upload.finish()
    assert here.path_of(DIGEST).read_bytes() == FILM


def test_clean_up_removes_what_nobody_needs(here: BucketArtifacts, uri: str, tmp_path: Path) -> None:
    kept, dropped = here.put([b"kept"]), here.put([b"dropped"])
    here.put_artifact("plan", "some key", [b"plan"])

    assert here.sweep(lambda: {kept.digest}, seconds=1000, grace=GRACE_SECONDS) == set()  # may be in the making
    assert here.sweep(lambda: {kept.digest}, seconds=-60, grace=-60) == {dropped.digest}
    assert [stored.name[-64:] for stored in Bucket(uri).list("")] == [kept.digest]
    assert here.get_artifact("plan", "some key") is None


def test_a_bucket_that_stays_away_is_a_reason_to_come_back(
    s3: S3Server, here: BucketArtifacts, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE", 0.3)
    impatient = open_host(uri, tmp_path / "third")
    here.put([FILM])
    s3.cut()
    try:
        refused("SERVICE_UNAVAILABLE", impatient.path_of, DIGEST)
        refused("SERVICE_UNAVAILABLE", impatient.put, [b"other"])
        assert here.path_of(DIGEST).read_bytes() == FILM  # from its copy
    finally:
        s3.mend()
    assert impatient.path_of(DIGEST).read_bytes() == FILM
    assert impatient.find_asset(hashlib.sha256(b"other").hexdigest()) is None


def test_a_bucket_signs_and_a_folder_says_that_it_cannot(here: BucketArtifacts, tmp_path: Path) -> None:
    here.put([FILM])
    assert DIGEST in here.sign(DIGEST, 60)
    refused("ASSET_NOT_FOUND", here.sign, "0" * 64, 60)
    folder = ArtifactStore(tmp_path / "folder")
    folder.put([FILM])
    refused("URL_UNAVAILABLE", folder.sign, DIGEST, 60)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("private/film.mp4", "SOURCE_FORBIDDEN"),
        ("publicity/film.mp4", "SOURCE_FORBIDDEN"),
        ("public/../private/film.mp4", "SOURCE_FORBIDDEN"),
        ("public/%2e%2e/private/film.mp4", "SOURCE_NOT_FOUND"),  # a key as any other
        ("public/none.mp4", "SOURCE_NOT_FOUND"),
        ("public/page.html", "SOURCE_FORBIDDEN"),
        ("public/long.mp4", "SOURCE_FORBIDDEN"),
        ("public/empty.mp4", "NOT_MEDIA"),
        ("", "SOURCE_FORBIDDEN"),
    ],
)
def test_what_is_not_read_from_a_bucket(key: str, reason: str, uri: str, tmp_path: Path) -> None:
    files = {"private/film.mp4": FILM, "publicity/film.mp4": FILM, "public/page.html": b"<p>", "public/empty.mp4": b""}
    for name, content in {**files, "public/long.mp4": FILM * 2}.items():
        put_object(uri, name, content, tmp_path / "file")
    artifacts = ArtifactStore(tmp_path / "store")
    rules = ImportRules(buckets=(parse_address(f"{uri}/public"),), most_bytes=len(FILM))
    refused(reason, import_asset, artifacts, rules, f"{uri}/{key}")
    assert not list((tmp_path / "store" / "scratch").iterdir())


def test_a_source_in_a_bucket_is_stored_once(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("film.mp4", "same.mp4"):
        put_object(uri, name, FILM, tmp_path / "file")
    artifacts = ArtifactStore(tmp_path / "store")
    rules = ImportRules(buckets=(parse_address(uri),))
    found = {import_asset(artifacts, rules, f"{uri}/{name}") for name in ("film.mp4", "same.mp4")}
    assert found == {artifacts.get_asset(DIGEST)}

    refused("SOURCE_FORBIDDEN", import_asset, artifacts, rules, "s3://another-bucket/film.mp4")
    refused("SOURCE_FORBIDDEN", import_asset, artifacts, rules, uri.replace("s3:", "gs:") + "/film.mp4")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused("SOURCE_FORBIDDEN", import_asset, artifacts, rules, f"{uri}/film.mp4")


def test_a_result_is_written_where_the_server_may(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / DIGEST
    path.write_bytes(FILM)
    deliveries = Deliveries((parse_address(f"{uri}/videos"), parse_address("s3://no-such-bucket")))
    for _ in range(2):
        deliveries.deliver(f"{uri}/videos/anna/", "job.mp4", path, DIGEST)
    written = Bucket(uri).open("videos/anna/job.mp4")
    assert (b"".join(written.read(0)), written.content_type) == (FILM, "video/mp4")

    outside = (uri, f"{uri}/other", f"{uri}/videos/../other", f"{uri}/videos2")
    for wrong in (*outside, "https://example.com/", "videos", ""):
        refused("OUTPUT_FORBIDDEN", deliveries.check, wrong)
    refused("OUTPUT_FORBIDDEN", deliveries.deliver, "s3://no-such-bucket", "job.mp4", path, DIGEST)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    refused("OUTPUT_FORBIDDEN", deliveries.deliver, f"{uri}/videos", "job.mp4", path, DIGEST)


def test_lists_of_buckets_are_read_from_the_configuration(tmp_path: Path) -> None:
    config = OrchestratorConfig(tmp_path, import_buckets="s3://films, gs://news/public", output_buckets="az://results")
    assert config.import_rules.buckets == (parse_address("s3://films"), parse_address("gs://news/public"))
    assert config.deliveries == Deliveries((parse_address("az://results"),))
    with pytest.raises(ConfigError, match="ORCHESTRATOR_OUTPUT_BUCKETS"):
        OrchestratorConfig(tmp_path, output_buckets="results")
