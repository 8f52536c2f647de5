"""Blobs and arrays in files: what was written is read, a full disk is said to be full, nothing is left behind."""

import errno
import gc
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.runtime.blobs import PIECE_BYTES, Blob, Spool, StoredArray
from services.runtime.refusal import Refusal


def test_a_spool_is_read_while_it_grows() -> None:
    content = np.random.default_rng(0).bytes(2 * PIECE_BYTES + 7)
    spool = Spool.of(content[:5], content[5:])
    assert spool.size == len(content)
    assert b"".join(spool.pieces()) == content
    assert b"".join(spool.pieces(3, PIECE_BYTES + 9)) == content[3 : PIECE_BYTES + 9]
    assert spool.hash() == hashlib.sha256(content).hexdigest()
    spool.append(b"more")
    assert spool.read(len(content), 99) == b"more"


def test_a_stored_array_reads_like_the_array_that_was_written(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    (tmp_path / "array").write_bytes(array.tobytes())
    stored = StoredArray.open(tmp_path / "array", np.float32, 3, 2)
    assert (len(stored), stored.shape, stored.dtype) == (10, array.shape, array.dtype)
    np.testing.assert_array_equal(stored, array)
    np.testing.assert_array_equal(stored[np.int64(4)], array[4])
    np.testing.assert_array_equal(stored[2:7][1:99], array[2:7][1:99])
    np.testing.assert_array_equal(stored[-3:], array[-3:])
    np.testing.assert_array_equal(np.array(list(stored)), array)
    assert b"".join(stored[3:5].pieces()) == array[3:5].tobytes()
    assert len(stored[7:2]) == 0
    for key in (10, -1, slice(0, 9, 2)):
        with pytest.raises(IndexError):
            stored[key]


def test_a_full_disk_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(Refusal, match=r"temporary files .* is full") as refused:
        spool.append(b"x")
    assert refused.value.reason == "DISK_FULL"


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_blob_that_nobody_holds_is_closed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"bytes")
    gc.collect()
    before = count_open_files()
    held = [Spool.of(b"bytes"), Blob.open(tmp_path / "blob")]
    rows = StoredArray(held[0], np.uint8, (5,))[1:]
    assert count_open_files() == before + 2
    del held
    assert np.asarray(rows).tobytes() == b"ytes"
    del rows
    assert count_open_files() == before


def test_a_killed_process_leaves_no_spool(tmp_path: Path) -> None:
    script = """if True:
        import time
        from services.runtime.blobs import Spool
        spool = Spool.of(bytes(100_000))
        print(spool.size, flush=True)
        time.sleep(60)
    """
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"100000\n"
        writer.kill()
    assert list(tmp_path.iterdir()) == []
