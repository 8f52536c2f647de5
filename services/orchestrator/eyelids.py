"""Blinks of a photographed face: when, and the upper lid drawn down over the eye by the skin above it.

The eye stays where it is. The lid's edge moves rigidly, so that lashes keep their form; the skin between it and the
brow is stretched, most in its middle; the lower lid rises a little to meet it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Points of the FaceMesh. Both lids from the corner at the temple to the one at the nose, and the brow's lower edge.
_UPPER_LIDS = ([33, 246, 161, 160, 159, 158, 157, 173, 133], [263, 466, 388, 387, 386, 385, 384, 398, 362])
_LOWER_LIDS = ([33, 7, 163, 144, 145, 153, 154, 155, 133], [263, 249, 390, 373, 374, 380, 381, 382, 362])
_BROWS = ([46, 53, 52, 65, 55], [276, 283, 282, 295, 285])
_INTERVAL = (2.0, 6.0)  # seconds from blink to blink
_DURATION = (0.2, 0.3)  # seconds of a blink
_CLOSED = (0.35, 0.5)  # share of its duration from which, and until when, the eye is closed
_LEAST_OPENING = 0.12  # of the eye's width: an eye that is less open stays as it is
_LOWER_RISE = 0.08  # of the opening
_OVERLAP = (
    0.12  # of the opening, by which the upper lid goes beyond the lower one's edge: below it the eye still shines
)
_UNDER_BROW = 0.85  # of the way from lid to brow, up to which skin is stretched
_LEAST_STRETCHED = 0.1  # of the skin's own scale, along its steepest stretch
_LASHES = 0.14  # of the opening, below the lid's edge
_CORNER = 0.04  # of the eye's width, within which the opening ends at its corners
_TEMPLE = (0.25, 0.22)  # lashes at the temple go down further: by this share of the opening, over this of the width


def schedule_blinks(seconds: float, rate: float, random: np.random.Generator) -> np.ndarray:
    """Start and duration of each blink, (n, 2) seconds; in the middle of each lies a frame of `rate` a second."""
    blinks = []
    end = random.uniform(*_INTERVAL) / 2
    while end < seconds:
        duration = random.uniform(*_DURATION)
        middle = duration * sum(_CLOSED) / 2
        start = round((end + middle) * rate) / rate - middle
        blinks.append((start, duration))
        end = start + random.uniform(*_INTERVAL)
    return np.array(blinks).reshape(-1, 2)


def measure_closing(blinks: np.ndarray, time: float) -> float:
    """How far the eyes are closed at a time in seconds: 0 as photographed, 1 closed."""
    begun = int(np.searchsorted(blinks[:, 0], time, side="right")) - 1
    if begun < 0:
        return 0.0
    start, duration = blinks[begun]
    share = (time - start) / duration
    down, up = share / _CLOSED[0], (1 - share) / (1 - _CLOSED[1])
    closing = float(np.clip(min(down, up), 0, 1))
    return closing * closing * (3 - 2 * closing)


@dataclass(frozen=True, slots=True)
class Eye:
    """Where an eye is. Lengths in pixels of the frame; curves are polynomials of the way between corners, 0 to 1."""

    corner: np.ndarray  # (2,), the one at the temple
    along: np.ndarray  # (2,) unit vector towards the other corner
    down: np.ndarray  # (2,) unit vector towards the cheek
    width: float
    upper: np.ndarray  # coefficients: how far down the upper lid's edge is
    lower: np.ndarray
    brow: np.ndarray

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and most x, y that a blink changes."""
        reach = self.width * np.array([0.5, 1.0])
        middle = self.corner + self.along * self.width / 2
        spread = np.abs(self.along) * reach[0] + np.abs(self.down) * reach[1]
        return middle - spread, middle + spread


def find_eyes(mesh: np.ndarray) -> list[Eye]:
    """Both eyes; none unless both are open. `mesh` (468, 3) in pixels of the frame."""
    eyes = []
    for upper, lower, brow in zip(_UPPER_LIDS, _LOWER_LIDS, _BROWS, strict=True):
        corner, other = mesh[upper[0], :2].astype(np.float64), mesh[upper[-1], :2].astype(np.float64)
        width = float(np.linalg.norm(other - corner))
        if width < 4:
            return []
        along = (other - corner) / width
        down = np.array([-along[1], along[0]])
        if (mesh[lower, :2].mean(axis=0) - mesh[brow, :2].mean(axis=0)) @ down < 0:
            down = -down
        curves = []
        for points, degree in ((upper, 4), (lower, 4), (brow, 2)):
            offset = mesh[points, :2] - corner
            curves.append(np.polyfit(offset @ along / width, offset @ down, degree))
        if np.polyval(curves[1], 0.5) - np.polyval(curves[0], 0.5) < _LEAST_OPENING * width:
            return []
        eyes.append(Eye(corner, along, down, width, *curves))
    return eyes


def close_eyes(planes: Sequence[np.ndarray], eyes: Sequence[Eye], closing: float) -> tuple[np.ndarray, ...]:
    """Planes Y, U, V of a frame with its eyes closed by `closing`, 0 to 1. Those given are left as they are."""
    closed = [plane.copy() for plane in planes]
    height, width = planes[0].shape
    for index, (plane, target) in enumerate(zip(planes, closed, strict=True)):
        pixel = np.array([width / plane.shape[1], height / plane.shape[0]]).round()  # of the plane, in the frame's
        for eye in eyes:
            low, high = eye.box
            left, top = np.maximum(np.floor(low / pixel), 0).astype(int)
            right, bottom = np.minimum(np.ceil(high / pixel), plane.shape[::-1]).astype(int)
            if left < right and top < bottom:
                part = np.s_[top:bottom, left:right]
                target[part] = _close(plane, eye, closing, (left, top), target[part].shape, pixel, darken=index == 0)
    return tuple(closed)


def _close(
    plane: np.ndarray,
    eye: Eye,
    closing: float,
    corner: tuple[int, int],
    shape: tuple[int, int],
    pixel: np.ndarray,
    darken: bool,
) -> np.ndarray:
    """The part of a plane from `corner` on, with this eye closed."""
    x = (corner[0] + np.arange(shape[1]) + 0.5) * pixel[0] - eye.corner[0]
    y = ((corner[1] + np.arange(shape[0]) + 0.5) * pixel[1] - eye.corner[1])[:, None]
    across = (x * eye.along[0] + y * eye.along[1]) / eye.width
    depth = x * eye.down[0] + y * eye.down[1]
    inside = np.clip(across, 0, 1)
    upper, lower, brow = (np.polyval(curve, inside) for curve in (eye.upper, eye.lower, eye.brow))
    opening = np.maximum(lower - upper, 0) * _smooth_step(np.minimum(inside, 1 - inside) / _CORNER)
    rise = closing * _LOWER_RISE * opening
    further, over = _TEMPLE
    at_temple = _smooth_step(1 + across / over) * _smooth_step(1 - across / over)
    drop = closing * ((1 - _LOWER_RISE + _OVERLAP) * opening + further * opening.max(initial=0.0) * at_temple)
    edge, lower_edge = upper + drop, lower - rise

    def sample(depths: np.ndarray) -> np.ndarray:
        """The plane's own values at these depths below the line through the eye's corners."""
        moved = depths - depth
        map_x = (corner[0] + np.arange(shape[1])) + moved * eye.down[0] / pixel[0]
        map_y = (corner[1] + np.arange(shape[0]))[:, None] + moved * eye.down[1] / pixel[1]
        maps = map_x.astype(np.float32), map_y.astype(np.float32)
        values: np.ndarray = cv2.remap(plane, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return values.astype(np.float32)

    above = edge - depth
    lid = sample(upper - _stretch(above, np.maximum(_UNDER_BROW * (upper - brow), 0.1), drop))
    below = depth - lower_edge
    cheek = sample(depth + rise * (1 - _smooth_step(below / (eye.width / 2))))
    size = float(pixel.max())
    result = _mix(sample(depth), cheek, np.clip(below / size + 0.5, 0, 1))
    if darken:  # lashes and their shadow go down with the lid
        reach = np.maximum(_LASHES * opening, 1e-3)
        lashes = np.minimum(result, sample(upper - above))
        result = _mix(result, lashes, (drop > 0) * _smooth_step(1 + above / reach))
    result = _mix(result, lid, np.clip(above / size + 0.5, 0, 1))
    own = plane[corner[1] : corner[1] + shape[0], corner[0] : corner[0] + shape[1]]
    result = np.where((drop > 0) | (rise > 0), result, own)
    most = 255 if plane.dtype == np.uint8 else 1023
    return np.clip(np.rint(result), 0, most).astype(plane.dtype)


def _stretch(above: np.ndarray, skin: np.ndarray, drop: np.ndarray) -> np.ndarray:
    """How far above the lid's own edge the skin is that comes to lie `above` the lowered one.

    `skin`: as much of it as is stretched to `skin + drop`; beyond it stays. At both ends its scale is kept.
    """
    length = skin + drop
    share = np.clip(above / length, 0, 1)
    missing = np.maximum(drop / length, 1e-6)
    bend = np.clip((1 - _LEAST_STRETCHED) / missing - 1, 0, 1)
    return np.asarray(above - drop * (share - bend * np.sin(2 * np.pi * share) / (2 * np.pi)))


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight


def _smooth_step(value: np.ndarray) -> np.ndarray:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
