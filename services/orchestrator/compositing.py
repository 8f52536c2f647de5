"""Face crops out of planar frames and back: only the window is ever converted, and only what changed is written.

A crop goes back as a difference: new minus old crop, both as RGB, turned into YUV and added to the frame's own samples.
Where a crop comes back as it went out nothing is added, so that 10-bit samples and chroma survive untouched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np

from services.runtime.frames import Color, Frame, FrameFormat

MAX_CROP = 512  # pixels

# Weights of red and blue in luma, by matrix coefficients of ITU-T H.273.
_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
_WEIGHTS = {1: _BT709, 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020, 10: _BT2020}
_HD_LINES = 720  # from this height on unspecified colour is taken for BT.709

# Where a crop was scaled down, what it could not carry is the frame's fine detail. It stays where the crop did not
# change and goes where it did, or the old mouth's edges would show in the new one: between these differences.
_DETAIL_KEPT, _DETAIL_GONE = 2.0, 10.0  # luma of 255
_BLUR = 9  # pixels of the crop over which the difference is averaged


@dataclass(frozen=True, slots=True)
class CropWindow:
    """A square part of a frame: even numbers of pixels; may reach outside, where the frame's edge is repeated."""

    x: int  # of the left edge, may be negative
    y: int  # of the top edge, may be negative
    side: int  # pixels of the frame
    pixels: int  # pixels of the crop: `side`, at most MAX_CROP

    def __post_init__(self) -> None:
        if self.side < 2 or self.x % 2 or self.y % 2 or self.side % 2:
            raise ValueError(f"a crop window lies on even pixels: {self.x}, {self.y}, side {self.side}")
        if not 2 <= self.pixels <= self.side:
            raise ValueError(f"a crop of {self.pixels} pixels from a window of {self.side}")

    @classmethod
    def of(cls, x: int, y: int, side: int) -> "CropWindow":
        return cls(x, y, side, min(side, MAX_CROP))

    @property
    def crop_scale(self) -> float:
        """Crop pixels per pixel of the frame."""
        return self.pixels / self.side


@dataclass(frozen=True, slots=True)
class _Rect:
    x: int
    y: int
    width: int
    height: int


class Cutting(NamedTuple):
    """What was cut from a window: (pixels, pixels, 3) uint8 RGB, and the frame's planes at that size."""

    pixels: np.ndarray
    planes: Sequence[np.ndarray]  # each (pixels, pixels); none where the window is as large as the crop


def cut(frame: Frame, window: CropWindow) -> Cutting:
    planes = _cut_planes(frame, _Rect(window.x, window.y, window.side, window.side))
    resized = [_resize(plane, (window.pixels, window.pixels)) for plane in planes]
    return Cutting(_to_rgb(resized, frame.format), resized if window.pixels < window.side else ())


def cut_crop(frame: Frame, window: CropWindow) -> np.ndarray:
    """The window as (pixels, pixels, 3) uint8 RGB."""
    return cut(frame, window).pixels


def paste_crop(frame: Frame, window: CropWindow, old: Cutting, crop: np.ndarray, in_place: bool = False) -> Frame:
    """The frame with a crop (pixels, pixels, 4) uint8 RGBA in its window, weighted by A; `old`: what was cut there.

    Planes that do not change are shared with the frame given; those that do are copied first, unless `in_place` allows
    to write into the frame's own.
    """
    if crop.shape != (window.pixels, window.pixels, 4):
        raise ValueError(f"a crop of shape {crop.shape} for a window of {window.pixels} pixels")
    box = _Rect(*cv2.boundingRect(cv2.extractChannel(crop, 3)))
    if not box.width:
        return frame
    if window.pixels == window.side:
        return _paste_whole(frame, window, old.pixels, crop, box, in_place)
    return _paste_scaled(frame, window, old, crop, box, in_place)


def make_view(frame: Frame, longest_side: int = 640) -> np.ndarray:
    """The whole frame at most `longest_side` pixels long, (height, width, 3) uint8 RGB; never enlarged."""
    width, height = frame.format.width, frame.format.height
    scale = min(1.0, longest_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return _to_rgb([_shrink_fast(plane, size) for plane in frame.planes], frame.format)


def _cut_planes(frame: Frame, rect: _Rect) -> list[np.ndarray]:
    horizontal, vertical = frame.format.chroma_shift
    planes = []
    for index, plane in enumerate(frame.planes):
        right, down = (horizontal, vertical) if index else (0, 0)
        x, y, width, height = rect.x >> right, rect.y >> down, rect.width >> right, rect.height >> down
        rows, columns = plane.shape
        if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
            planes.append(plane[y : y + height, x : x + width])
        else:
            row = np.clip(np.arange(y, y + height), 0, rows - 1)
            column = np.clip(np.arange(x, x + width), 0, columns - 1)
            planes.append(plane[row[0] : row[-1] + 1][row - row[0]][:, column])
    return planes


def _to_rgb(planes: Sequence[np.ndarray], frame_format: FrameFormat) -> np.ndarray:
    """Planes of one size -> (height, width, 3) uint8 RGB."""
    to_yuv, offset = _yuv_matrix(frame_format)
    to_rgb = np.linalg.inv(to_yuv)
    yuv = cv2.merge([_to_eight_bits(plane, frame_format) for plane in planes])
    return cv2.transform(yuv, np.hstack([to_rgb, -to_rgb @ offset[:, None]]))


def _shrink_fast(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Halves while it can, which OpenCV does several times faster than other areas; then the rest, below two."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        half = plane.shape[1] // 2, plane.shape[0] // 2
        plane = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
    return plane if plane.shape[::-1] == size else cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)


def _resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    rows, columns = plane.shape
    if (columns, rows) == size:
        return plane
    shrinks = width < columns or height < rows
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _to_eight_bits(plane: np.ndarray, frame_format: FrameFormat) -> np.ndarray:
    if frame_format.bit_depth == 8:
        return plane
    return cv2.convertScaleAbs(plane, alpha=1 / _depth_scale(frame_format))


def _depth_scale(frame_format: FrameFormat) -> float:
    """Samples of the frame per sample of 8 bits; limited ranges grow by bits, full ranges by their ends."""
    if frame_format.bit_depth == 8:
        return 1.0
    return 1023 / 255 if frame_format.color.full_range else 4.0


def _yuv_matrix(frame_format: FrameFormat) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) and (3,): RGB of 0 to 255 -> YUV samples of 8 bits."""
    color: Color = frame_format.color
    red, blue = _WEIGHTS.get(color.matrix, _BT709 if frame_format.height >= _HD_LINES else _BT601)
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if color.full_range else (219 / 255, 224 / 255)
    weights = np.array([red, green, blue])
    matrix = np.stack([
        luma * weights,
        chroma * (np.array([0, 0, 1]) - weights) / (2 * (1 - blue)),
        chroma * (np.array([1, 0, 0]) - weights) / (2 * (1 - red)),
    ])  # fmt: skip
    return matrix, np.array([0.0 if color.full_range else 16.0, 128.0, 128.0])


def _paste_whole(
    frame: Frame, window: CropWindow, old: np.ndarray, crop: np.ndarray, box: _Rect, in_place: bool
) -> Frame:
    left, top = box.x & ~1, box.y & ~1  # even edges: whole chroma samples
    right, bottom = -(-(box.x + box.width) // 2) * 2, -(-(box.y + box.height) // 2) * 2
    part = _Rect(left, top, right - left, bottom - top)
    horizontal, vertical = frame.format.chroma_shift
    chroma_size = part.width >> horizontal, part.height >> vertical
    inside = np.s_[top:bottom, left:right]
    luma, *chroma = _weigh_changes(crop[inside], old[inside], frame.format)
    changes = [luma, *(_resize(plane, chroma_size) for plane in chroma)]  # a chroma sample gets its pixels' mean
    return _add(frame, changes, window.x + left, window.y + top, in_place)


def _paste_scaled(
    frame: Frame, window: CropWindow, old: Cutting, crop: np.ndarray, box: _Rect, in_place: bool
) -> Frame:
    left, top = max(box.x - _BLUR, 0), max(box.y - _BLUR, 0)
    right, bottom = min(box.x + box.width + _BLUR, window.pixels), min(box.y + box.height + _BLUR, window.pixels)
    part = np.s_[top:bottom, left:right]
    sources = _cut_planes(frame, _Rect(window.x, window.y, window.side, window.side))
    carried = [plane[part] for plane in old.planes]
    changes = _weigh_changes(crop[part], old.pixels[part], frame.format)
    gone = cv2.blur(np.abs(changes[0]), (_BLUR, _BLUR))
    gone = np.clip((gone - _DETAIL_KEPT) / (_DETAIL_GONE - _DETAIL_KEPT), 0, 1)
    cv2.multiply(gone, cv2.extractChannel(crop[part], 3), gone, 1 / 255, cv2.CV_32F)

    # The same part in pixels of the window, outwards to whole chroma samples.
    x, y = (int(edge / window.crop_scale) & ~1 for edge in (left, top))
    end_x, end_y = (min(ceil(edge / window.crop_scale / 2) * 2, window.side) for edge in (right, bottom))
    grown = []
    for index, (source, small, change) in enumerate(zip(sources, carried, changes, strict=True)):
        horizontal, vertical = frame.format.chroma_shift if index else (0, 0)
        target = np.s_[y >> vertical : end_y >> vertical, x >> horizontal : end_x >> horizontal]
        growth = source.shape[1] / window.pixels, source.shape[0] / window.pixels
        place = _Placement((left, top), growth, target)
        full = place.grow(change)
        if min(growth) > 1:  # the crop could not carry all of this plane
            detail = cv2.subtract(source[target], place.grow(small.astype(np.float32)), dtype=cv2.CV_32F)
            full -= detail * place.grow(gone) / np.float32(_depth_scale(frame.format))
        grown.append(full)
    return _add(frame, grown, window.x + x, window.y + y, in_place)


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where a part of a crop comes to lie in a plane of its window."""

    corner: tuple[int, int]  # x, y of the part in the crop
    growth: tuple[float, float]  # samples of the plane per pixel of the crop, horizontally and vertically
    target: tuple[slice, slice]  # rows and columns of the plane

    def grow(self, part: np.ndarray) -> np.ndarray:
        """The part, as `cv2.resize` would scale the whole crop; centres of pixels lie half a pixel from their edges."""
        rows, columns = self.target
        back = np.array([
            [1 / self.growth[0], 0, (columns.start + 0.5) / self.growth[0] - 0.5 - self.corner[0]],
            [0, 1 / self.growth[1], (rows.start + 0.5) / self.growth[1] - 0.5 - self.corner[1]],
        ])  # fmt: skip
        size = columns.stop - columns.start, rows.stop - rows.start
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(part, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _weigh_changes(crop: np.ndarray, old: np.ndarray, frame_format: FrameFormat) -> list[np.ndarray]:
    """A times new minus old, as differences of YUV samples of 8 bits: three (height, width) float32."""
    new = cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)
    difference = cv2.subtract(new, old, dtype=cv2.CV_32F)
    weight = cv2.extractChannel(crop, 3).astype(np.float32) / np.float32(255)
    matrix, _ = _yuv_matrix(frame_format)
    # One channel at a time: splitting a picture of floats costs more than all of this.
    return [cv2.multiply(cv2.transform(difference, row[None]), weight) for row in matrix]


def _add(frame: Frame, changes: Sequence[np.ndarray], x: int, y: int, in_place: bool) -> Frame:
    """`changes`: differences in samples of 8 bits, one array per plane, whose corner lies at (x, y) of the luma."""
    horizontal, vertical = frame.format.chroma_shift
    scale = _depth_scale(frame.format)
    planes = []
    for index, (plane, change) in enumerate(zip(frame.planes, changes, strict=True)):
        column, row = (x >> horizontal, y >> vertical) if index else (x, y)
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + change.shape[0], plane.shape[0]), min(column + change.shape[1], plane.shape[1])
        if top >= bottom or left >= right:
            planes.append(plane)
            continue
        part = change[top - row : bottom - row, left - column : right - column]
        if cv2.norm(part, cv2.NORM_INF) * scale < 0.5:  # no sample would change
            planes.append(plane)
            continue
        if scale != 1:
            part = part * np.float32(scale)
        changed = plane if in_place else plane.copy()
        target = changed[top:bottom, left:right]
        summed = cv2.add(target, part, dtype=cv2.CV_8U if frame.format.bit_depth == 8 else cv2.CV_16U)
        target[...] = summed if frame.format.bit_depth == 8 else np.minimum(summed, 1023)
        planes.append(changed)
    return replace(frame, planes=tuple(planes))
