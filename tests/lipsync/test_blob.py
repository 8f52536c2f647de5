"""Blobs: what was packed comes back, and nothing else is read."""

import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lipsync.engines.rewrite import blob
from services.runtime.blobs import Spool
from services.runtime.refusal import Refusal

arrays = st.dictionaries(
    st.text(max_size=12),
    st.tuples(st.sampled_from(["u1", "i2", "i4", "i8", "f4", "f8"]), st.lists(st.integers(0, 5), max_size=3)),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(arrays, st.sampled_from(["prepared", "plan"]))
def test_arrays_come_back(forms: dict, kind: str) -> None:
    packed = {
        name: (np.arange(np.prod(shape)) % 99).astype(dtype).reshape(shape) for name, (dtype, shape) in forms.items()
    }
    unpacked = blob.unpack(kind, blob.pack(kind, packed))
    assert unpacked.keys() == packed.keys()
    for name, array in packed.items():
        np.testing.assert_array_equal(unpacked[name], array)
        assert unpacked[name].dtype == array.dtype


def content_of(packed: Spool) -> bytes:
    return packed.read(0, packed.size)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_damage_is_noticed(data: st.DataObject) -> None:
    packed = content_of(blob.pack("plan", {"wanted": np.arange(20.0)}))
    place = data.draw(st.integers(0, len(packed) - 1))
    flipped = bytearray(packed)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), packed[:place], packed + b"\0"):
        with pytest.raises(Refusal) as refused:
            blob.unpack("plan", Spool.of(damaged))
        assert refused.value.reason == "BLOB_UNUSABLE"


def forge(table: object, payload: bytes = b"") -> Spool:
    """A plan with a right digest and any table."""
    content = json.dumps(table).encode()
    digest = hashlib.sha256(struct.pack("<I", len(content)) + content + payload).digest()
    return Spool.of(struct.pack("<8sHH32sI", blob.MAGIC, blob.VERSION, 2, digest, len(content)), content, payload)


@pytest.mark.parametrize(
    "table",
    [
        7,
        None,
        {"a": 1},
        [[1]],
        [["a", "|O", [1]]],
        [["a", "<f4", [-1]]],
        [["a", "<f4", ["2"]]],
        [["a", "<f4", [1.5]]],
        [["a", "<f4", 3]],
        [["a", "<f4", [10**9, 10**9, 10**9]]],
        [["a", "<f4", [1, 1, 1, 1, 1, 1]]],
        [["a", ["<f4"], [1]]],
        [["a", "<f4", [True]]],
        [["a", "<f4", [0, 10**30]]],
    ],
)
def test_hostile_tables_are_refused(table: object) -> None:
    with pytest.raises(Refusal) as refused:
        blob.unpack("plan", forge(table))
    assert refused.value.reason == "BLOB_UNUSABLE"


def test_a_plan_is_no_prepared_source() -> None:
    with pytest.raises(Refusal, match="Prepare again"):
        blob.unpack("prepared", blob.pack("plan", {}))


def test_an_older_version_is_told_by_number() -> None:
    packed = bytearray(content_of(blob.pack("plan", {})))
    packed[8] = 200
    with pytest.raises(Refusal, match="format 200"):
        blob.unpack("plan", Spool.of(packed))
