"""Moving pixels by the face mesh: which triangle lies under each pixel, and where its colour comes from."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np

from services.lipsync.engines.rewrite.masks import (
    EYE_CORNERS,
    FACE_OVAL,
    all_corners_on_lips,
    inside_triangles,
    lip_points,
    skin_triangles,
)

_FAR_RING = (0.40, 0.80)  # least and most distance from the face's outline, as a share of that from its centre
_NEAR_RING, _NEAR_SHARE = 0.4, 0.52  # of the way to the far ring, and of the outline's motion that is left there
_ATTEMPTS = 8
_LONGEST_MOTION = 0.8  # of the distance between the eyes
_LEAST_AREA = 0.12  # of a triangle after its motion, as a share of before
_SUBPIXEL_BITS = 4
_THINNEST = 0.3  # pixels; thinner triangles show nothing and their maps explode


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of whole pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Where this window lies in an array that covers `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


def overlap(first: Window, second: Window) -> Window:
    """What two windows share; may be empty."""
    return Window(
        max(first.left, second.left),
        max(first.top, second.top),
        min(first.right, second.right),
        min(first.bottom, second.bottom),
    )


def frame_window(points: np.ndarray, shape: tuple[int, ...], margin: int) -> Window:
    """The window around points (n, 2) and a margin, cut to a picture of `shape`."""
    height, width = shape[:2]
    low = np.clip(np.floor(points.min(axis=0)) - margin, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + margin + 1, 0, (width, height)).astype(int)
    return Window(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def eye_distance(mesh: np.ndarray) -> float:
    """Length between the outer eye corners, depth included so that turning the head keeps it. Pixels."""
    return float(np.linalg.norm(mesh[EYE_CORNERS[1]] - mesh[EYE_CORNERS[0]]))


def limit_motion(source: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`wanted` (468, 2), drawn back towards `source` wherever getting there would fold or tear the picture."""
    motion = wanted - source
    motion[~np.isfinite(motion).all(axis=1)] = 0
    triangles, neighbours = skin_triangles(), _neighbours()
    longest = _LONGEST_MOTION * max(float(np.linalg.norm(source[EYE_CORNERS[1]] - source[EYE_CORNERS[0]])), 1.0)
    length = np.linalg.norm(motion, axis=1, keepdims=True)
    motion /= np.sqrt(1 + (length / longest) ** 4) ** 0.5  # leaves short motions alone, never passes the longest
    before = measure_areas(source, triangles)
    # Lips roll in and out, so their triangles may vanish; those under half a pixel cannot be seen.
    worth = (np.abs(before) > 0.5) & ~all_corners_on_lips()
    triangles = triangles[worth]
    for attempt in range(_ATTEMPTS):
        reach = _reach(source, motion, triangles)
        if reach.min() >= 1:
            break
        if attempt == _ATTEMPTS - 1:
            motion *= max(float(reach.min()), 0.0)
            break
        share = np.ones(len(motion))
        np.minimum.at(share, triangles.ravel(), np.repeat(reach, 3))
        share = np.minimum(share, neighbours @ share)  # those around come along a little
        share[lip_points()] = 1  # the lips are what the viewer watches
        motion *= share[:, None]
    return source + motion


def _reach(source: np.ndarray, motion: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Per triangle the share of its motion, at most 1, at which its area has shrunk to the least allowed."""
    a, b, c = (source[triangles[:, corner]] for corner in range(3))
    move_a, move_b, move_c = (motion[triangles[:, corner]] for corner in range(3))
    before = _cross(b - a, c - a)
    linear = (_cross(b - a, move_c - move_a) + _cross(move_b - move_a, c - a)) / before
    square = _cross(move_b - move_a, move_c - move_a) / before
    # Area over area before is 1 + linear s + square s^2; its first way down to the least area:
    inner = linear**2 - 4 * square * (1 - _LEAST_AREA)
    below = np.sqrt(np.maximum(inner, 0)) - linear
    first = 2 * (1 - _LEAST_AREA) / np.where(below > 1e-9, below, 1e-9)
    return np.where(inner >= 0, np.minimum(first, 1), 1)


@cache
def _neighbours() -> np.ndarray:
    """Row-normalised adjacency of the skin's points. (468, 468)"""
    linked = np.zeros((468, 468))
    for first, second in ((0, 1), (1, 2), (2, 0)):
        triangles = skin_triangles()
        linked[triangles[:, first], triangles[:, second]] = 1
        linked[triangles[:, second], triangles[:, first]] = 1
    return linked / linked.sum(axis=1, keepdims=True)


def measure_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the signed area of each triangle, square pixels."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return _cross(b - a, c - a)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def add_surroundings(source: np.ndarray, wanted: np.ndarray, padding: float) -> tuple[np.ndarray, np.ndarray]:
    """Both meshes with two rings outside the face; the motion dies out from the outline to the far ring. (540, 2)

    `padding`: how far away that is for short motions, against the usual.
    """
    outline = source[FACE_OVAL]
    away = outline - outline.mean(axis=0)
    moved = (wanted - source)[FACE_OVAL]
    size = np.maximum(np.linalg.norm(away, axis=1), 1e-3)
    least, most = _FAR_RING[0] * padding, _FAR_RING[1] * max(padding, 1)  # less room would fold a long motion
    reach = np.clip(2.2 * (np.linalg.norm(moved, axis=1) / size).max(), least, most)
    near, far = outline + _NEAR_RING * reach * away, outline + reach * away
    moved_near = near + _NEAR_SHARE * moved
    return np.concatenate([source, near, far]), np.concatenate([wanted, moved_near, far])


@cache
def all_triangles() -> np.ndarray:
    """In the order they are drawn: surroundings, mouth's inside, skin."""
    count = len(FACE_OVAL)
    rings = [FACE_OVAL, 468 + np.arange(count), 468 + count + np.arange(count)]
    surroundings = []
    for inner, outer in pairwise(rings):
        following_inner, following_outer = np.roll(inner, -1), np.roll(outer, -1)
        surroundings += [np.stack([inner, outer, following_outer], 1)]
        surroundings += [np.stack([inner, following_outer, following_inner], 1)]
    return np.concatenate([*surroundings, inside_triangles(), skin_triangles()])


@dataclass(frozen=True, slots=True)
class Grid:
    """Places in a window that are `step` pixels apart: every pixel's centre for 1, the middle of 2 x 2 pixels for 2."""

    window: Window
    step: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        window = self.window
        return -(-(window.bottom - window.top) // self.step), -(-(window.right - window.left) // self.step)

    @property
    def corner(self) -> tuple[int, int]:
        return self.window.left, self.window.top

    @property
    def columns(self) -> np.ndarray:
        """x of the places, pixels of the picture. (columns,)"""
        return self.window.left + (np.arange(self.shape[1], dtype=np.float32) + 0.5) * self.step

    @property
    def rows(self) -> np.ndarray:
        """y of the places, pixels of the picture. (rows, 1)"""
        return (self.window.top + (np.arange(self.shape[0], dtype=np.float32) + 0.5) * self.step)[:, None]

    def enlarge(self, plane: np.ndarray) -> np.ndarray:
        """Values at the grid's places -> at every pixel of the window."""
        if self.step == 1:
            return plane
        height, width = self.shape
        whole = cv2.resize(plane, (width * self.step, height * self.step), interpolation=cv2.INTER_LINEAR)
        return whole[: self.window.bottom - self.window.top, : self.window.right - self.window.left]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Triangles laid over a grid. `under`: which of them is at each place, -1 where none is. (rows, columns) int16"""

    grid: Grid
    triangles: np.ndarray  # (t, 3) point indices
    inverses: np.ndarray  # (t, 3, 3), of the corners' matrices (x, y, 1)
    under: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """`values` (n, k) at the points, affine across each triangle; 0 where none is. (k, rows, columns) float32"""
        affines = self.inverses @ values[self.triangles]  # (t, 3, k)
        table = np.zeros((3 * values.shape[1], len(affines) + 1), np.float32)  # index -1 takes the last entry
        table[:, :-1] = affines.transpose(2, 1, 0).reshape(len(table), -1)
        parts = table.take(self.under, axis=1, mode="wrap").reshape(-1, 3, *self.grid.shape)
        return np.asarray(parts[:, 0] * self.grid.columns + parts[:, 1] * self.grid.rows + parts[:, 2])

    def cut(self, grid: Grid) -> "Tiling":
        """The part under a grid whose places are some of this one's."""
        top, left = (part.start // grid.step for part in grid.window.within(self.grid.window))
        under = self.under[top : top + grid.shape[0], left : left + grid.shape[1]]
        return Tiling(grid, self.triangles, self.inverses, under)


def tile(points: np.ndarray, triangles: np.ndarray, grid: Grid) -> Tiling:
    """Lays triangles (t, 3), corners at `points`, over the grid, later ones over earlier ones."""
    # A pixel's index is its centre in fillConvexPoly's coordinates, half a pixel from the mesh's.
    x, y = ((points[triangles, axis] - low) / grid.step - 0.5 for axis, low in enumerate(grid.corner))  # (t, 3)
    next_x, next_y = x[:, [1, 2, 0]], y[:, [1, 2, 0]]
    areas = (next_x[:, 0] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (next_y[:, 0] - y[:, 0]) * (x[:, 2] - x[:, 0])
    sides = np.maximum(np.abs(next_x - x), np.abs(next_y - y)).T
    shown = np.abs(areas) > _THINNEST * np.maximum(np.maximum(sides[0], sides[1]), sides[2])
    for values, size in ((x.T, grid.shape[1]), (y.T, grid.shape[0])):
        shown &= (values > -1).any(axis=0) & (values < size).any(axis=0)
    triangles = triangles[shown]
    fixed = np.round(np.stack([x[shown], y[shown]], axis=2) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    under = np.full(grid.shape, -1, np.int16)
    for index, corners in enumerate(fixed):
        cv2.fillConvexPoly(under, corners, index, cv2.LINE_8, _SUBPIXEL_BITS)
    pinholes = under < 0  # where triangles were skipped
    under[pinholes] = cv2.dilate(under, np.ones((3, 3), np.uint8))[pinholes]
    return Tiling(grid, triangles, _invert_corners(points[triangles]), under)


def _invert_corners(corners: np.ndarray) -> np.ndarray:
    """Per triangle (t, 3, 2) the inverse of its corners' matrix (x, y, 1). (t, 3, 3)"""
    (ax, ay), (bx, by), (cx, cy) = (corners[:, corner].T for corner in range(3))
    adjugates = np.array([
        [by - cy, cy - ay, ay - by],
        [cx - bx, ax - cx, bx - ax],
        [bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay],
    ])  # fmt: skip
    return np.asarray((adjugates / adjugates[2].sum(axis=0)).transpose(2, 0, 1))
