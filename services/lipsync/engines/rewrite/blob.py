"""Arrays as bytes and back: what Prepare and Plan hand to their caller to keep.

Magic, format version, kind, SHA-256 of the rest; then a JSON list of (name, dtype, shape) and the arrays one after
another. Nothing is ever unpickled or inflated, and nothing is read that the sizes announced do not cover.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from services.runtime.refusal import Refusal

MAGIC = b"SYNCLINE"
VERSION = 3  # of the bytes and of what the arrays mean; older blobs are refused
MAX_BYTES = 64 * 2**20
_HEAD = struct.Struct("<8sHH32sI")  # magic, version, kind, digest of what follows this field, bytes of JSON
_KINDS = {"prepared": 1, "plan": 2}
_DTYPES = {name: np.dtype(name) for name in ("|u1", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")}
_MAX_DIMENSIONS = 4


def pack(kind: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    littles = {name: np.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in arrays.items()}
    table = json.dumps([[name, little.dtype.str, little.shape] for name, little in littles.items()]).encode()
    hashed = hashlib.sha256(struct.pack("<I", len(table)) + table)
    for little in littles.values():
        hashed.update(little.data)
    # One copy of what may be 64 MiB.
    head = _HEAD.pack(MAGIC, VERSION, _KINDS[kind], hashed.digest(), len(table))
    return b"".join([head, table, *(little.data for little in littles.values())])


def unpack(kind: str, blob: bytes) -> dict[str, np.ndarray]:
    """The arrays, read-only views of `blob`. Raises Refusal BLOB_UNUSABLE for anything but what pack made."""
    if len(blob) < _HEAD.size or len(blob) > MAX_BYTES:
        refuse(kind, f"it has {len(blob)} bytes")
    magic, version, number, digest, table_bytes = _HEAD.unpack_from(blob)
    if magic != MAGIC:
        refuse(kind, "it was made by another engine")
    if version != VERSION:
        refuse(kind, f"it has format {version}, this engine reads {VERSION}")
    if number != _KINDS[kind]:
        refuse(kind, "it is something else of this engine's")
    body = memoryview(blob)[_HEAD.size :]
    hashed = hashlib.sha256(struct.pack("<I", table_bytes))
    hashed.update(body)
    if hashed.digest() != digest:
        refuse(kind, "its bytes are damaged")
    if table_bytes > len(body):
        refuse(kind, "its table is cut off")
    return _read_arrays(kind, bytes(body[:table_bytes]), body[table_bytes:])


def _read_arrays(kind: str, table: bytes, payload: memoryview) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    start = 0
    try:
        entries = json.loads(table)
        for name, dtype_name, shape in entries:
            dtype, size = _DTYPES[dtype_name], 1
            if len(shape) > _MAX_DIMENSIONS or not all(type(side) is int and side >= 0 for side in shape):
                refuse(kind, "its table is damaged")
            for side in shape:
                size *= side
            end = start + size * dtype.itemsize
            if end > len(payload):
                refuse(kind, "it is cut off")
            arrays[str(name)] = np.frombuffer(payload[start:end], dtype).reshape(shape)
            start = end
    except (ValueError, TypeError, KeyError, RecursionError):
        refuse(kind, "its table is damaged")
    if start != len(payload):
        refuse(kind, "bytes are left over")
    return arrays


def require(kind: str, arrays: Mapping[str, np.ndarray], name: str, dtype: str, *shape: int | None) -> np.ndarray:
    """The array of that name, whose sides must be those given (None: any) and whose floats must be finite."""
    array = arrays.get(name)
    if array is None or array.dtype != np.dtype(dtype) or array.ndim != len(shape):
        refuse(kind, f"its {name} is missing or of another form")
    if any(side not in (None, actual) for side, actual in zip(shape, array.shape, strict=True)):
        refuse(kind, f"its {name} is of another size")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        refuse(kind, f"its {name} holds numbers that are not finite")
    return array


def refuse(kind: str, why: str) -> NoReturn:
    what = "prepared source" if kind == "prepared" else "plan"
    again = "Prepare" if kind == "prepared" else "Plan"
    raise Refusal("BLOB_UNUSABLE", f"This {what} cannot be used: {why}. Call {again} again.", kind=kind, why=why)
