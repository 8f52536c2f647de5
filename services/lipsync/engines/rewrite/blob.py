"""Arrays as a blob and back: what Prepare and Plan hand to their caller to keep.

Magic, format version, kind, SHA-256 of the rest; then a JSON list of (name, dtype, shape) and the arrays one after
another. Nothing is ever unpickled or inflated, and nothing is read that the sizes announced do not cover.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from typing import NoReturn

import numpy as np

from services.runtime.blobs import Blob, Rows, Spool, StoredArray
from services.runtime.frames import view_bytes
from services.runtime.refusal import Refusal

MAGIC = b"SYNCLINE"
VERSION = 3  # of the bytes and of what the arrays mean; older blobs are refused
MAX_BYTES = 64 * 2**20
_HEAD = struct.Struct("<8sHH32sI")  # magic, version, kind, digest of what follows this field, bytes of JSON
_KINDS = {"prepared": 1, "plan": 2}
_DTYPES = {name: np.dtype(name) for name in ("|u1", "|i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")}
_MAX_DIMENSIONS = 4


def pack(kind: str, arrays: Mapping[str, Rows]) -> Spool:
    """Raises Refusal DISK_FULL."""
    forms = {name: array.dtype.newbyteorder("<") for name, array in arrays.items()}
    table = json.dumps([[name, forms[name].str, array.shape] for name, array in arrays.items()]).encode()
    hashed = hashlib.sha256(struct.pack("<I", len(table)) + table)
    for name, array in arrays.items():
        for piece in _pieces(array, forms[name]):
            hashed.update(piece)
    packed = Spool.of(_HEAD.pack(MAGIC, VERSION, _KINDS[kind], hashed.digest(), len(table)), table)
    for name, array in arrays.items():
        for piece in _pieces(array, forms[name]):
            packed.append(piece)
    return packed


def _pieces(array: Rows, form: np.dtype) -> Iterable[bytes | memoryview]:
    if isinstance(array, StoredArray) and array.dtype == form:
        return array.pieces()
    return [view_bytes(np.asarray(array, form))]


def unpack(kind: str, blob: Blob) -> dict[str, StoredArray]:
    """The arrays, of which nothing is read yet. Raises Refusal BLOB_UNUSABLE for anything but what pack made."""
    if not _HEAD.size <= blob.size <= MAX_BYTES:
        refuse(kind, f"it has {blob.size} bytes")
    magic, version, number, digest, table_bytes = _HEAD.unpack(blob.read(0, _HEAD.size))
    if magic != MAGIC:
        refuse(kind, "it was made by another engine")
    if version != VERSION:
        refuse(kind, f"it has format {version}, this engine reads {VERSION}")
    if number != _KINDS[kind]:
        refuse(kind, "it is something else of this engine's")
    hashed = hashlib.sha256(struct.pack("<I", table_bytes))
    for piece in blob.pieces(_HEAD.size):
        hashed.update(piece)
    if hashed.digest() != digest:
        refuse(kind, "its bytes are damaged")
    if table_bytes > blob.size - _HEAD.size:
        refuse(kind, "its table is cut off")
    return _find_arrays(kind, blob, blob.read(_HEAD.size, table_bytes), _HEAD.size + table_bytes)


def _find_arrays(kind: str, blob: Blob, table: bytes, start: int) -> dict[str, StoredArray]:
    """`start`: where the first of them begins."""
    arrays: dict[str, StoredArray] = {}
    try:
        entries = json.loads(table)
        for name, dtype_name, shape in entries:
            dtype, size = _DTYPES[dtype_name], 1
            if len(shape) > _MAX_DIMENSIONS or not all(type(side) is int and 0 <= side <= MAX_BYTES for side in shape):
                refuse(kind, "its table is damaged")
            for side in shape:
                size *= side
            end = start + size * dtype.itemsize
            if end > blob.size:
                refuse(kind, "it is cut off")
            arrays[str(name)] = StoredArray(blob, dtype, tuple(shape), start)
            start = end
    except (ValueError, TypeError, KeyError, RecursionError):
        refuse(kind, "its table is damaged")
    if start != blob.size:
        refuse(kind, "bytes are left over")
    return arrays


def require(kind: str, arrays: Mapping[str, Rows], name: str, dtype: str, *shape: int | None) -> np.ndarray:
    """The array of that name, whose sides must be those given (None: any) and whose floats must be finite."""
    array = np.asarray(require_rows(kind, arrays, name, dtype, *shape))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        refuse(kind, f"its {name} holds numbers that are not finite")
    return array


def require_rows(kind: str, arrays: Mapping[str, Rows], name: str, dtype: str, *shape: int | None) -> Rows:
    """As require, of integers; left where it lies."""
    array = arrays.get(name)
    if array is None or array.dtype != np.dtype(dtype) or len(array.shape) != len(shape):
        refuse(kind, f"its {name} is missing or of another form")
    if any(side not in (None, actual) for side, actual in zip(shape, array.shape, strict=True)):
        refuse(kind, f"its {name} is of another size")
    return array


def refuse(kind: str, why: str) -> NoReturn:
    what = "prepared source" if kind == "prepared" else "plan"
    again = "Prepare" if kind == "prepared" else "Plan"
    raise Refusal("BLOB_UNUSABLE", f"This {what} cannot be used: {why}. Call {again} again.", kind=kind, why=why)
