"""Small movements that keep a photo's head alive: it sways, nods and leans a little, and blinks.

Every output frame is worked out by itself, from the photo and the frame's number. Head, hair and neck move as one
smooth field that dies out around them; what lies further away stays as it is, bit for bit.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from services.orchestrator.compositing import CropWindow
from services.orchestrator.eyelids import close_eyes, find_eyes, measure_closing, schedule_blinks
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.timeline import Timeline
from services.runtime.frames import Frame, FrameFormat

NOT_A_PHOTO = "idle_motion moves the head of a photo; this is a video, whose head moves as it was filmed."
VERSION = "1"  # changes when the same photo and seed may move otherwise

# Standard deviations of yaw, pitch and roll, degrees, and of going right and down, shares of the face's width.
_SPREADS = np.array([1.1, 0.8, 0.7, 0.006, 0.004])
_WAVES = 6  # of which each movement is the sum
_FREQUENCIES = (0.06, 0.5)  # hertz, of the slowest and the fastest
_START_SECONDS = 1.5  # in which the photo begins to move
_FACE_OVAL = (10, 152, 234, 454)  # of the FaceMesh: forehead, chin, and the ends at the ears
_NECK_AXIS = 0.35  # face widths behind the ears, about which the head turns
_NECK_PIVOT = 1.6  # half face heights below the face's middle, about which it leans
_BULGE = 0.5  # face widths from the ears to the front of the face
_HEAD, _STILL = 1.25, 2.6  # radii, 1 at the face's outline: all moves as the head does; nothing moves
_EDGE = 0.08  # of the frame's shorter side, within which the movement dies out at the frame's edges
_PLACES = 24  # of the field in half a face's width; it is smooth
_ROUNDS = 5  # in which the place that a point moves to is found


def move_photo(
    tracks: Sequence[SpeakerTrack], frame_format: FrameFormat, timeline: Timeline, strength: float, seed: str
) -> "list[IdleMotion]":
    """The idle motions of a photo's speaking faces, of those that are seen."""
    motions = []
    for number, track in enumerate(tracks):
        window, mesh = track.windows[0], track.crop_mesh(0)
        if window is not None and mesh is not None:
            frame_mesh = mesh / np.float32(window.crop_scale) + np.array([window.x, window.y, 0], np.float32)
            motions.append(IdleMotion(frame_mesh, frame_format, timeline, strength, f"{seed} {number}"))
    return motions


def move_picture(motions: "Sequence[IdleMotion]", photo: Frame, number: int) -> Frame:
    """The photo as output frame `number` shows it."""
    for motion in motions:
        photo = motion.move_picture(photo, number)
    return photo


def move_mesh(motions: "Sequence[IdleMotion]", mesh: np.ndarray, window: CropWindow, number: int) -> np.ndarray:
    """A mesh (468, 3) in pixels of the window's crop of the photo -> of the output frame's."""
    for motion in motions:
        mesh = motion.move_mesh(mesh, window, number)
    return mesh


class IdleMotion:
    """`mesh`: (468, 3) of the photo's speaking face, pixels of the frame; `strength`: 0 to 1, of the head's movement.

    The same `seed` gives the same movements.
    """

    def __init__(
        self, mesh: np.ndarray, frame_format: FrameFormat, timeline: Timeline, strength: float, seed: str
    ) -> None:
        self.key = [VERSION, strength, seed]
        self._rate = float(timeline.frame_rate)
        self._mesh, self._size = mesh, (frame_format.width, frame_format.height)
        random = np.random.default_rng(list(hashlib.sha256(seed.encode()).digest()))
        low, high = np.log(_FREQUENCIES)
        waves = len(_SPREADS), _WAVES
        self._frequencies = np.exp(low + (high - low) * (np.arange(_WAVES) + random.random(waves)) / _WAVES)
        self._phases = random.uniform(0, 2 * np.pi, waves)
        heights = self._frequencies**-0.5
        spreads = strength * _SPREADS / np.sqrt((heights**2).sum(axis=1) / 2)
        self._heights = heights * spreads[:, None]
        self.blinks = schedule_blinks(float(timeline.end), self._rate, random)
        self._eyes = find_eyes(mesh)
        top, bottom, left, right = (mesh[point, :2].astype(np.float64) for point in _FACE_OVAL)
        self._middle = (top + bottom + left + right) / 4
        self._width, self._height = float(np.linalg.norm(right - left)), float(np.linalg.norm(bottom - top))
        self._down = (bottom - top) / self._height
        self._across = np.array([self._down[1], -self._down[0]])
        self._step = max(2, round(self._width / 2 / _PLACES / 2) * 2)  # pixels, even: whole chroma samples
        self._lay_grid()

    def move_picture(self, photo: Frame, number: int) -> Frame:
        """The photo as output frame `number` shows it."""
        planes = photo.planes
        closing = measure_closing(self.blinks, number / self._rate)
        if closing > 0:
            planes = close_eyes(planes, self._eyes, closing)
        movement = self._move(number)
        if not movement.any():
            return replace(photo, planes=planes)
        offsets = self._offsets(self._basis, movement).astype(np.float32)  # (2, rows, columns)
        maps = {shape: self._map(offsets, shape) for shape in {plane.shape for plane in planes}}
        return replace(photo, planes=tuple(_warp(plane, *maps[plane.shape]) for plane in planes))

    def move_mesh(self, mesh: np.ndarray, window: CropWindow, number: int) -> np.ndarray:
        """A mesh (468, 3) in pixels of the window's crop of the photo -> of the output frame's."""
        corner = np.array([window.x, window.y])
        points = mesh[:, :2].astype(np.float64) / window.crop_scale + corner
        movement, moved = self._move(number), points
        for _ in range(_ROUNDS):
            moved = points + self._offsets(self._weigh(moved), movement).T
        crop_points = (moved - corner) * window.crop_scale
        return np.concatenate([crop_points, mesh[:, 2:]], axis=1).astype(np.float32)

    def _move(self, number: int) -> np.ndarray:
        """Yaw, pitch and roll in radians, and the way right and down in pixels. (5,)"""
        time = number / self._rate
        waves = self._heights * np.sin(2 * np.pi * self._frequencies * time + self._phases)
        begun = min(time / _START_SECONDS, 1.0)
        movement = waves.sum(axis=1) * begun * begun * (3 - 2 * begun)
        return np.asarray(np.concatenate([np.radians(movement[:3]), movement[3:] * self._width]))

    def _weigh(self, points: np.ndarray) -> np.ndarray:
        """What the offset at each of points (..., 2) is made of: weight, depth, lever right and lever down. (4, ...)"""
        away = points - self._middle
        across, down = away @ self._across / (self._width / 2), away @ self._down / (self._height / 2)
        radius = np.hypot(across, down)
        weight = 1 - _smooth_step((radius - _HEAD) / (_STILL - _HEAD))
        margin = _EDGE * min(self._size)
        for axis, size in enumerate(self._size):
            weight = weight * _smooth_step(np.minimum(points[..., axis], size - points[..., axis]) / margin)
        depth = self._width * (_NECK_AXIS + _BULGE * np.exp(-0.5 * radius**2))
        lever = away - self._down * _NECK_PIVOT * self._height / 2
        return np.stack([weight, weight * depth, -weight * lever[..., 1], weight * lever[..., 0]])

    def _offsets(self, basis: np.ndarray, movement: np.ndarray) -> np.ndarray:
        """How far right and down from where it was everything is that comes to lie at the basis's places. (2, ...)"""
        yaw, pitch, roll, right, down = movement
        weight, depth, lever_right, lever_down = basis
        turn = yaw * self._across + pitch * self._down
        return np.stack([
            weight * right + depth * turn[0] + lever_right * roll,
            weight * down + depth * turn[1] + lever_down * roll,
        ])  # fmt: skip

    def _lay_grid(self) -> None:
        """The basis at places `step` apart over all that ever moves."""
        reach = _STILL * max(self._width, self._height) / 2
        low = np.maximum((self._middle - reach) // self._step, 0).astype(int)
        high = np.minimum((self._middle + reach) // self._step + 1, -(-np.array(self._size) // self._step)).astype(int)
        self._low = low * self._step  # pixels of the frame
        x, y = ((np.arange(first, end) + 0.5) * self._step for first, end in zip(low, high, strict=True))
        self._basis = self._weigh(np.stack(np.meshgrid(x, y), axis=-1)).astype(np.float32)

    def _map(self, offsets: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """The part of a plane of this shape that moves, and from which x and y each of its samples comes."""
        rows, columns = shape
        shrink = round(self._size[0] / columns), round(self._size[1] / rows)  # 1, or 2 for halved chroma
        left, top = self._low[0] // shrink[0], self._low[1] // shrink[1]
        size = offsets.shape[2] * self._step // shrink[0], offsets.shape[1] * self._step // shrink[1]
        width, height = min(size[0], columns - left), min(size[1], rows - top)
        right, down = (cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR)[:height, :width] for offset in offsets)
        x = np.arange(left, left + width, dtype=np.float32) - right / np.float32(shrink[0])
        y = np.arange(top, top + height, dtype=np.float32)[:, None] - down / np.float32(shrink[1])
        return np.s_[top : top + height, left : left + width], x, y


def _warp(plane: np.ndarray, part: tuple[slice, slice], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    moved = plane.copy()
    values = cv2.remap(plane, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved[part] = values if plane.dtype == np.uint8 else np.minimum(values, 1023)
    return moved


def _smooth_step(value: np.ndarray) -> np.ndarray:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
