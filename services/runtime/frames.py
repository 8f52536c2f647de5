"""Frames: what a decoded picture is, and where its planes lie in memory. Knows no wire."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fractions import Fraction
from math import prod
from typing import ClassVar

import numpy as np


class PixelFormat(IntEnum):
    """As `PixelFormat` in media.proto, number for number."""

    YUV420P = 1
    YUV422P = 2
    YUV444P = 3
    YUV420P10 = 4
    YUV422P10 = 5
    YUV444P10 = 6
    RGB24 = 7
    RGBA32 = 8


# What FFmpeg calls the planar formats.
FFMPEG_NAMES = {
    PixelFormat.YUV420P: "yuv420p",
    PixelFormat.YUV422P: "yuv422p",
    PixelFormat.YUV444P: "yuv444p",
    PixelFormat.YUV420P10: "yuv420p10le",
    PixelFormat.YUV422P10: "yuv422p10le",
    PixelFormat.YUV444P10: "yuv444p10le",
}

# Halvings of chroma (horizontally, vertically).
_CHROMA_SHIFT = {
    PixelFormat.YUV420P: (1, 1),
    PixelFormat.YUV422P: (1, 0),
    PixelFormat.YUV444P: (0, 0),
    PixelFormat.YUV420P10: (1, 1),
    PixelFormat.YUV422P10: (1, 0),
    PixelFormat.YUV444P10: (0, 0),
}
_CHANNELS = {PixelFormat.RGB24: 3, PixelFormat.RGBA32: 4}
_TEN_BIT = {PixelFormat.YUV420P10, PixelFormat.YUV422P10, PixelFormat.YUV444P10}


@dataclass(frozen=True, slots=True)
class Color:
    """How samples mean colour, in the code points of ITU-T H.273; 2 is unspecified."""

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    full_range: bool = False


@dataclass(frozen=True)
class MasteringDisplay:
    """The screen that an HDR picture was made on, in the units of SMPTE ST 2086 as ITU-T H.265 (D.3.28) writes them."""

    CHROMATICITY: ClassVar[Fraction] = Fraction(1, 50000)  # CIE 1931 x or y
    LUMINANCE: ClassVar[Fraction] = Fraction(1, 10000)  # candela per square metre

    primaries: tuple[int, ...]  # x and y of red, green and blue: six numbers; unit: CHROMATICITY
    white_point: tuple[int, int]  # x and y; unit: CHROMATICITY
    min_luminance: int  # unit: LUMINANCE
    max_luminance: int  # unit: LUMINANCE


@dataclass(frozen=True, slots=True)
class ContentLight:
    """How bright an HDR picture gets, in candela per square metre; CTA-861.3."""

    max_content: int  # the brightest pixel
    max_average: int  # the brightest mean of a frame


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Size in pixels, as displayed, and the layout of the samples."""

    width: int
    height: int
    pixel_format: PixelFormat
    color: Color = field(default=Color())

    @property
    def planar(self) -> bool:
        return self.pixel_format in _CHROMA_SHIFT

    @property
    def bit_depth(self) -> int:
        return 10 if self.pixel_format in _TEN_BIT else 8

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("<u2" if self.bit_depth > 8 else "u1")

    @property
    def chroma_shift(self) -> tuple[int, int]:
        """Halvings of chroma (horizontally, vertically); planar formats only."""
        return _CHROMA_SHIFT[self.pixel_format]

    @property
    def plane_shapes(self) -> list[tuple[int, ...]]:
        """Array shapes of the planes: three (height, width), or one (height, width, channels)."""
        if not self.planar:
            return [(self.height, self.width, _CHANNELS[self.pixel_format])]
        horizontal, vertical = self.chroma_shift
        chroma = (-(-self.height >> vertical), -(-self.width >> horizontal))
        return [(self.height, self.width), chroma, chroma]

    @property
    def frame_bytes(self) -> int:
        return sum(prod(shape) for shape in self.plane_shapes) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: three planes (Y, U, V) of shape (height, width), or one (height, width, channels)."""

    pts: int  # unit: the stream's time base
    format: FrameFormat
    planes: tuple[np.ndarray, ...]


def copy_frame(frame: Frame) -> Frame:
    """The frame in memory of its own."""
    return replace(frame, planes=tuple(plane.copy() for plane in frame.planes))


def unpack_frames(pixels: bytes | memoryview, frame_format: FrameFormat, pts: Sequence[int]) -> list[Frame]:
    """Frames that view `pixels` without copying it.

    Raises ValueError when the bytes are not exactly one frame per pts.
    """
    if len(pixels) != frame_format.frame_bytes * len(pts):
        raise ValueError(f"{len(pixels)} bytes are not {len(pts)} frames of {frame_format.frame_bytes}")
    samples = np.frombuffer(pixels, frame_format.dtype)
    frames, start = [], 0
    for time in pts:
        planes = []
        for shape in frame_format.plane_shapes:
            size = prod(shape)
            planes.append(samples[start : start + size].reshape(shape))
            start += size
        frames.append(Frame(time, frame_format, tuple(planes)))
    return frames


def pack_frames(frames: Sequence[Frame]) -> list[memoryview]:
    """The planes' bytes in wire order, for `b"".join`; contiguous planes are not copied."""
    return [view_bytes(plane) for frame in frames for plane in frame.planes]


def view_bytes(array: np.ndarray) -> memoryview:
    """The array's bytes; copied only when it is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
