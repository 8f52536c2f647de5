"""The part of a coded picture that its container says is to be shown: PyAV hands no such side data on.

`clap` of ISO/IEC 14496-12 (12.1.4) in MP4 and QuickTime files, PixelCrop of Matroska (RFC 9559, 5.1.4.1.28).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_ENTRY_HEADER = 78  # bytes of a visual sample entry before its boxes
_STSD_HEADER = 8
_PATH = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_SEGMENT, _TRACKS, _TRACK, _VIDEO, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675
_CROPS = {0x54CC: 0, 0x54BB: 1, 0x54DD: 2, 0x54AA: 3}  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels of the coded picture that are left out at each edge."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


NO_CROP = Crop()


def read_crop(path: Path, container: str, width: int, height: int) -> Crop:
    """Of the first video track. `container`: as FFmpeg names it; `width`, `height`: of the coded picture in pixels.

    Whatever is damaged, or leaves nothing over, counts as not told.
    """
    try:
        with path.open("rb") as file:
            if container.startswith("mov"):
                crop = _read_clean_aperture(file, width, height)
            elif container.startswith("matroska"):
                crop = _read_pixel_crop(file)
            else:
                return NO_CROP
    except (struct.error, IndexError, ZeroDivisionError):
        return NO_CROP
    left_over = width - crop.left - crop.right, height - crop.top - crop.bottom
    return crop if min(left_over) > 0 and min(crop.left, crop.top, crop.right, crop.bottom) >= 0 else NO_CROP


def _read_clean_aperture(file: BinaryIO, width: int, height: int) -> Crop:
    size = file.seek(0, 2)
    for kind, start, end in _boxes(file, 0, size):
        if kind == b"moov":
            for entry_start, entry_end in _sample_entries(file, start, end, _PATH):
                for inner, at, _ in _boxes(file, entry_start + _ENTRY_HEADER, entry_end):
                    if inner == b"clap":
                        file.seek(at)
                        return _place_aperture(struct.unpack(">8i", file.read(32)), width, height)
    return NO_CROP


def _place_aperture(told: tuple[int, ...], width: int, height: int) -> Crop:
    """Width, height and the offsets of its centre from the picture's, as fractions."""
    across, down, right, lower = (Fraction(*told[place : place + 2]) for place in range(0, 8, 2))
    left, top = (width - across) / 2 + right, (height - down) / 2 + lower
    return Crop(round(left), round(top), round(width - left - across), round(height - top - down))


def _sample_entries(file: BinaryIO, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[tuple[int, int]]:
    """Where the payloads of the sample entries of all video tracks lie."""
    boxes = list(_boxes(file, start, end))
    if path[0] == b"stbl" and b"vmhd" not in [kind for kind, _, _ in boxes]:
        return
    for kind, inner, after in boxes:
        if kind == path[0] == b"stsd":
            yield from ((at, until) for _, at, until in _boxes(file, inner + _STSD_HEADER, after))
        elif kind == path[0]:
            yield from _sample_entries(file, inner, after, path[1:])


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, begin and end of the payload) of the boxes that follow one another there."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,), header = struct.unpack(">Q", file.read(8)), 16
        after = end if size == 0 else start + size
        if not start + header <= after <= end:
            return
        yield kind, start + header, after
        start = after


def _read_pixel_crop(file: BinaryIO) -> Crop:
    spans = [(0, file.seek(0, 2))]
    for wanted in (_SEGMENT, _TRACKS, _TRACK, _VIDEO):
        spans = [
            (at, until) for start, end in spans for found, at, until in _elements(file, start, end) if found == wanted
        ]
    edges = [0, 0, 0, 0]
    for start, end in spans[:1]:
        for found, at, until in _elements(file, start, end):
            if found in _CROPS:
                file.seek(at)
                edges[_CROPS[found]] = int.from_bytes(file.read(until - at), "big")
    return Crop(*edges)


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(identifier, begin and end of the payload) of the EBML elements there, up to the first cluster."""
    while start < end:
        file.seek(start)
        head = file.read(12)
        id_length = 9 - head[0].bit_length()
        size_length = 9 - head[id_length].bit_length()
        identifier = int.from_bytes(head[:id_length], "big")
        size = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        if identifier == _CLUSTER:
            return
        begin = start + id_length + size_length
        unknown = size == (1 << 7 * size_length) - 1
        start = end if unknown else min(begin + size, end)
        yield identifier, begin, start
