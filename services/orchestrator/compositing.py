"""Face crops out of planar frames and back: only the window is ever converted, and only what changed is written.

A crop goes back as a difference: new minus old crop, both as RGB, turned into YUV and added to the frame's own samples.
Where a crop comes back as it went out nothing is added, so that 10-bit samples and chroma survive untouched.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.runtime.frames import Color, Frame, FrameFormat

MAX_CROP = 512  # pixels

# Weights of red and blue in luma, by matrix coefficients of ITU-T H.273.
_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
_WEIGHTS = {1: _BT709, 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020, 10: _BT2020}
_HD_LINES = 720  # from this height on unspecified colour is taken for BT.709
_MARGIN = 2  # pixels; upsampled chroma reaches one chroma sample further

# Where a crop was scaled down, what it could not carry is the frame's fine detail. It stays where the crop did not
# change and goes where it did, or the old mouth's edges would show in the new one: between these differences.
_DETAIL_KEPT, _DETAIL_GONE = 2.0, 10.0  # luma of 255


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


def cut_crop(frame: Frame, window: CropWindow) -> np.ndarray:
    """The window as (pixels, pixels, 3) uint8 RGB."""
    rect = _Rect(window.x, window.y, window.side, window.side)
    return _to_rgb(_cut_planes(frame, rect), frame.format, (window.pixels, window.pixels))


def paste_crop(frame: Frame, window: CropWindow, crop: np.ndarray) -> Frame:
    """The frame with a crop (pixels, pixels, 4) uint8 RGBA in its window, weighted by A.

    The frame given is not written to; planes that do not change are shared with it.
    """
    if crop.shape != (window.pixels, window.pixels, 4):
        raise ValueError(f"a crop of shape {crop.shape} for a window of {window.pixels} pixels")
    alpha = cv2.extractChannel(crop, 3)
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        return frame
    if window.pixels != window.side:
        return _paste_scaled(frame, window, crop, alpha)
    # Whole chroma samples: even edges.
    right, bottom = left + width + (left + width) % 2, top + height + (top + height) % 2
    left, top = left & ~1, top & ~1
    part = np.s_[top:bottom, left:right]
    old = _cut_part(frame, window, _Rect(left, top, right - left, bottom - top))
    change = _weigh(_to_yuv_change(crop[part][..., :3], old, frame.format), alpha[part])
    return _add(frame, _shrink_chroma(change, frame.format), window.x + left, window.y + top)


def make_view(frame: Frame, longest_side: int = 640) -> np.ndarray:
    """The whole frame at most `longest_side` pixels long, (height, width, 3) uint8 RGB; never enlarged."""
    width, height = frame.format.width, frame.format.height
    scale = min(1.0, longest_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return _to_rgb(frame.planes, frame.format, size)


def _cut_part(frame: Frame, window: CropWindow, part: _Rect) -> np.ndarray:
    """What `cut_crop` gives in a part (window pixels, even) of an unscaled window, pixel for pixel."""
    left, top = max(part.x - _MARGIN, 0), max(part.y - _MARGIN, 0)
    right = min(part.x + part.width + _MARGIN, window.side)
    bottom = min(part.y + part.height + _MARGIN, window.side)
    rect = _Rect(window.x + left, window.y + top, right - left, bottom - top)
    rgb = _to_rgb(_cut_planes(frame, rect), frame.format, (rect.width, rect.height))
    x, y = part.x - left, part.y - top
    return rgb[y : y + part.height, x : x + part.width]


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


def _to_rgb(
    planes: "list[np.ndarray] | tuple[np.ndarray, ...]", frame_format: FrameFormat, size: tuple[int, int]
) -> np.ndarray:
    """RGB of `size` (width, height), 8 bits."""
    yuv = cv2.merge([_to_eight_bits(_resize(plane, size), frame_format) for plane in planes])
    to_yuv, offset = _yuv_matrix(frame_format)
    to_rgb = np.linalg.inv(to_yuv)
    return cv2.transform(yuv, np.hstack([to_rgb, -to_rgb @ offset[:, None]]))


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


def _to_yuv_change(new: np.ndarray, old: np.ndarray, frame_format: FrameFormat) -> np.ndarray:
    """New minus old RGB as differences of YUV samples of 8 bits: (height, width, 3) float32."""
    difference = cv2.subtract(np.ascontiguousarray(new), np.ascontiguousarray(old), dtype=cv2.CV_32F)
    matrix, _ = _yuv_matrix(frame_format)
    return cv2.transform(difference, matrix)


def _weigh(change: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return cv2.multiply(change, cv2.merge([alpha] * 3), scale=1 / 255, dtype=cv2.CV_32F)


def _shrink_chroma(change: np.ndarray, frame_format: FrameFormat) -> list[np.ndarray]:
    """(height, width, 3), even -> planes as the frame's; a chroma sample gets the mean of its pixels."""
    horizontal, vertical = frame_format.chroma_shift
    luma, *chroma = cv2.split(change)
    rows, columns = luma.shape
    return [luma, *(_resize(plane, (columns >> horizontal, rows >> vertical)) for plane in chroma)]


def _add(frame: Frame, changes: list[np.ndarray], x: int, y: int) -> Frame:
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
        changed = plane.copy()
        target = changed[top:bottom, left:right]
        summed = cv2.add(target, part, dtype=cv2.CV_8U if frame.format.bit_depth == 8 else cv2.CV_16U)
        target[...] = summed if frame.format.bit_depth == 8 else cv2.min(summed, 1023)
        planes.append(changed)
    return replace(frame, planes=tuple(planes))


def _paste_scaled(frame: Frame, window: CropWindow, crop: np.ndarray, alpha: np.ndarray) -> Frame:
    rect = _Rect(window.x, window.y, window.side, window.side)
    sources, size = _cut_planes(frame, rect), (window.pixels, window.pixels)
    change = _to_yuv_change(crop[..., :3], _to_rgb(sources, frame.format, size), frame.format)
    strength = cv2.blur(np.abs(change[..., 0]), (9, 9))
    gone = np.clip((strength - _DETAIL_KEPT) / (_DETAIL_GONE - _DETAIL_KEPT), 0, 1) * (alpha / np.float32(255))
    changes = []
    for plane, source in zip(cv2.split(_weigh(change, alpha)), sources, strict=True):
        full = source.shape[1], source.shape[0]
        grown = _resize(plane, full)
        if full > size:  # the crop could not carry all of this plane
            carried = _resize(_resize(source, size), full)
            detail = cv2.subtract(source, carried, dtype=cv2.CV_32F) / np.float32(_depth_scale(frame.format))
            grown = grown - detail * _resize(gone, full)
        changes.append(grown)
    return _add(frame, changes, window.x, window.y)
