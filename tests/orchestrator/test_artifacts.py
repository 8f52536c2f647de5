"""The artifact store: whole files or none, names that no client can bend."""

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import av
import pytest

from services.orchestrator.artifacts import SCRATCH_SECONDS, UPLOAD_SECONDS, ArtifactStore
from services.runtime.files import refuse_full_disk
from services.runtime.refusal import Refusal

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def list_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_content_is_found_under_its_digest_and_stored_once(store, tmp_path):
    first = store.put([CONTENT[:1000], CONTENT[1000:]])
    again = store.put([CONTENT])

    assert first == again == store.find_asset(DIGEST)
    assert first.size == len(CONTENT)
    assert store.path_of(DIGEST).read_bytes() == CONTENT
    assert list_files(tmp_path) == {f"assets/{DIGEST[:2]}/{DIGEST}"}


def test_reading_begins_at_any_byte_and_comes_in_chunks(store):
    store.put([CONTENT])

    chunks = list(store.read(DIGEST, offset=999, chunk_bytes=100_000))
    assert b"".join(chunks) == CONTENT[999:]
    assert max(map(len, chunks)) == 100_000


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], DIGEST + "\n", "/" + DIGEST[1:], "٣" * 64]
)
def test_only_a_digest_names_an_asset(store, name):
    for call in (
        store.path_of,
        store.find_asset,
        lambda name: store.open_upload(name, 1),
        lambda name: next(store.read(name)),
    ):
        with pytest.raises(Refusal) as refused:
            call(name)
        assert refused.value.reason == "INVALID_NAME"


def test_an_asset_that_is_not_there_is_not_found(store):
    with pytest.raises(Refusal) as refused:
        store.path_of(DIGEST)
    assert refused.value.reason == "ASSET_NOT_FOUND"
    assert store.find_asset(DIGEST) is None


def test_an_upload_goes_on_where_it_broke_off(store, tmp_path):
    store.open_upload(DIGEST, len(CONTENT)).append(CONTENT[:1000])

    upload = ArtifactStore(tmp_path).open_upload(DIGEST, len(CONTENT))
    assert upload.offset == 1000
    upload.append(CONTENT[1000:])
    assert upload.finish() == store.find_asset(DIGEST)
    assert list_files(tmp_path) == {f"assets/{DIGEST[:2]}/{DIGEST}"}
    assert store.open_upload(DIGEST, len(CONTENT)).offset == len(CONTENT)


def test_two_uploads_of_one_file_at_once_make_one_file(store):
    one, other = store.open_upload(DIGEST, len(CONTENT)), store.open_upload(DIGEST, len(CONTENT))
    one.append(CONTENT[:5000])
    other.append(CONTENT[:3000])
    other.append(CONTENT[3000:9000])
    one.append(CONTENT[5000:])
    one.finish()
    other.append(CONTENT[9000:])

    assert other.finish().digest == DIGEST
    assert store.path_of(DIGEST).read_bytes() == CONTENT


def test_two_uploads_that_finish_at_one_moment_both_have_the_file(store, tmp_path):
    uploads = [store.open_upload(DIGEST, len(CONTENT)) for _ in range(2)]
    uploads[0].append(CONTENT)
    uploads[1].append(CONTENT)
    with (tmp_path / "uploads" / f"{DIGEST}.part").open("rb") as part, ThreadPoolExecutor() as threads:
        fcntl.flock(part, fcntl.LOCK_EX)
        finishing = [threads.submit(upload.finish) for upload in uploads]
        time.sleep(0.2)  # both wait for the lock
        fcntl.flock(part, fcntl.LOCK_UN)

    assert [finished.result().digest for finished in finishing] == [DIGEST] * 2
    assert list_files(tmp_path) == {f"assets/{DIGEST[:2]}/{DIGEST}"}


def test_wrong_bytes_are_refused_and_dropped(store, tmp_path):
    upload = store.open_upload(DIGEST, len(CONTENT))
    upload.append(b"x" + CONTENT[1:])
    with pytest.raises(Refusal) as refused:
        upload.finish()

    assert refused.value.reason == "CHECKSUM_MISMATCH"
    assert list_files(tmp_path) == set()


def test_an_upload_that_ends_early_is_refused(store):
    upload = store.open_upload(DIGEST, len(CONTENT))
    upload.append(CONTENT[:-1])
    with pytest.raises(Refusal) as refused:
        upload.finish()
    assert refused.value.reason == "CHECKSUM_MISMATCH"


def test_more_bytes_than_announced_are_refused_before_they_are_written(store):
    upload = store.open_upload(DIGEST, 1000)
    with pytest.raises(Refusal) as refused:
        upload.append(CONTENT[:1001])
    assert refused.value.reason == "CHECKSUM_MISMATCH"
    assert store.open_upload(DIGEST, 1000).offset == 0


def test_an_empty_file_is_a_file(store):
    empty = hashlib.sha256(b"").hexdigest()
    assert store.open_upload(empty, 0).finish().size == 0
    assert store.path_of(empty).read_bytes() == b""


def test_artifacts_are_kept_by_kind_and_key(store, tmp_path):
    store.put_artifact("plan", "../../../odd key", [b"one"])
    store.put_artifact("plan", "../../../odd key", [b"two"])
    store.put_artifact("analysis", "../../../odd key", [b"three"])

    assert store.get_artifact("plan", "../../../odd key") == b"two"
    assert store.get_artifact("analysis", "../../../odd key") == b"three"
    assert store.get_artifact("plan", "another") is None
    assert all(name.startswith("artifacts/") for name in list_files(tmp_path))
    with pytest.raises(ValueError, match="not a kind"):
        store.artifact_path("../plan", "key")


def test_a_scratch_file_is_adopted_or_gone(store, tmp_path):
    with store.scratch() as path:
        path.write_bytes(CONTENT)
        assert store.adopt(path).digest == DIGEST
    with suppress(RuntimeError), store.scratch() as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert list_files(tmp_path) == {f"assets/{DIGEST[:2]}/{DIGEST}"}


def test_a_write_that_fails_leaves_nothing(store, tmp_path):
    def chunks():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.put(chunks())
    with pytest.raises(ConnectionError):
        store.put_artifact("plan", "key", chunks())
    assert list_files(tmp_path) == set()


def write_sound(path: str) -> None:
    with refuse_full_disk(), av.open(path, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=100_000)
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))


def test_a_full_disk_is_refused_as_such_by_the_system_and_by_ffmpeg(store, monkeypatch):
    with pytest.raises(Refusal) as refused:
        write_sound("/dev/full")
    assert refused.value.reason == "DISK_FULL"

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for write in (lambda: store.put([b"x"]), lambda: store.put_artifact("plan", "key", [b"x"])):
        with pytest.raises(Refusal) as refused:
            write()
        assert refused.value.reason == "DISK_FULL"


def test_a_killed_writer_leaves_no_half_file_taken_for_whole(store, tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        from services.orchestrator.artifacts import ArtifactStore

        def chunks():
            yield b"half" * 100000
            print("writing", flush=True)
            time.sleep(60)

        ArtifactStore(Path(sys.argv[1])).put_artifact("plan", "key", chunks())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        [half] = list((tmp_path / "scratch").iterdir())
        age(half, SCRATCH_SECONDS + 1)
        ArtifactStore(tmp_path)
        assert half.exists()  # its writer lives
        writer.send_signal(signal.SIGKILL)

    assert store.get_artifact("plan", "key") is None
    assert half.exists()
    ArtifactStore(tmp_path)
    assert list_files(tmp_path) == set()


def test_uploads_given_up_are_swept_and_young_ones_kept(store, tmp_path):
    store.open_upload(DIGEST, len(CONTENT)).append(CONTENT[:10])
    store.open_upload("0" * 64, 100).append(CONTENT[:10])
    age(tmp_path / "uploads" / f"{DIGEST}.part", UPLOAD_SECONDS + 1)
    ArtifactStore(tmp_path)

    assert list_files(tmp_path) == {f"uploads/{'0' * 64}.part"}


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))
