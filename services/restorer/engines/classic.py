"""Matches a crop's replaced part to its surroundings: light and colour, sharpness, grain. No model, no state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop

_RING = 24  # pixels around the replaced part that count as its surroundings
_COLOUR_STEP = 8  # colour is compared on a picture this many times smaller
_UNLIKE = 24.0  # levels between the two sides of the border above which they are different things, not different light
_NATURAL = 2.5  # levels of difference between the two sides that faces have by themselves
_MOST_COLOUR = 12.0  # levels
_MOST_DETAIL = 0.3  # share by which fine detail is strengthened or weakened
_SAME_SKIN = 45.0  # levels from the mean colour of the replaced part's rim
_DETAIL_CLIP = 10.0  # levels; stronger detail is an edge and says nothing of sharpness or grain
_LEAST_GRAIN, _MOST_GRAIN = 0.3, 3.0  # levels
_GRAIN_SIZE = 1024  # pixels, longer than any crop so that it can be laid at many offsets


@dataclass(frozen=True, slots=True)
class _Texture:
    """Fine detail of skin: its mean strength, and as grain the deviation that its median strength stands for. Levels."""

    detail: float
    grain: float


class ClassicRestorer:
    """The default restorer: corrects only what it can measure at the border, and only by little."""

    info = EngineInfo("classic", "1")

    def __init__(self) -> None:
        noise = np.random.default_rng(20).standard_normal((_GRAIN_SIZE, _GRAIN_SIZE)).astype(np.float32)
        self._noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * 1.7  # of video: a little wider than a pixel, deviation 1

    def restore(self, crops: Sequence[Crop], strength: float) -> list[Crop]:
        return [self._restore_crop(crop, strength) for crop in crops]

    def _restore_crop(self, crop: Crop, strength: float) -> Crop:
        weight = crop.pixels[..., 3]
        left, top, width, height = cv2.boundingRect(weight)
        if strength <= 0 or min(width, height) < 8:
            return crop
        rows = slice(max(0, top - _RING), top + height + _RING)
        columns = slice(max(0, left - _RING), left + width + _RING)
        picture, weight = (
            np.ascontiguousarray(crop.pixels[rows, columns, :3]),
            np.ascontiguousarray(weight[rows, columns]),
        )
        share = cv2.multiply(weight, min(strength, 1.0) / 255, dtype=cv2.CV_32F)
        change = self._sharpen(picture, weight, crop.frame)
        change = np.zeros_like(share) if change is None else cv2.multiply(change, share)
        changes = cv2.merge([change, change, change])
        colour = _colour_step(picture, weight)
        if colour is not None:
            changes = cv2.add(changes, cv2.multiply(colour, cv2.merge([share, share, share])))
        restored = cv2.add(picture, changes, dtype=cv2.CV_8U)
        pixels = crop.pixels.copy()
        changed = cv2.merge([restored, weight])
        pixels[rows, columns] = cv2.copyTo(changed, weight, pixels[rows, columns].copy())
        return replace(crop, pixels=pixels)

    def _sharpen(self, picture: np.ndarray, weight: np.ndarray, frame: int) -> np.ndarray | None:
        """What to add to the light of each pixel, levels, float32, for the detail and grain of the surroundings."""
        light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        fine = cv2.subtract(light, cv2.GaussianBlur(light.astype(np.float32), (0, 0), 1.2), dtype=cv2.CV_32F)
        textures = _compare_textures(picture, weight, fine)
        if textures is None:
            return None
        inside, outside = textures
        gain = np.clip(outside.detail / max(inside.detail, 1e-3), 1 - _MOST_DETAIL, 1 + _MOST_DETAIL) - 1
        grain = min(np.sqrt(max(outside.grain**2 - ((1 + gain) * inside.grain) ** 2, 0.0)), _MOST_GRAIN)
        if grain <= _LEAST_GRAIN:
            return fine * np.float32(gain)
        return cv2.addWeighted(fine, float(gain), self._lay_noise(frame, fine.shape), float(grain), 0)

    def _lay_noise(self, frame: int, shape: tuple[int, ...]) -> np.ndarray:
        """Noise of deviation 1, another for every frame and always the same for one."""
        mixed = (frame * 2654435761 + 40503) & 0xFFFFFFFF  # Knuth's multiplicative hash
        top = (mixed >> 16) % max(_GRAIN_SIZE - shape[0] + 1, 1)
        left = (mixed & 0xFFFF) % max(_GRAIN_SIZE - shape[1] + 1, 1)
        return self._noise[top : top + shape[0], left : left + shape[1]]


def _colour_step(picture: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
    """The smooth colour (h, w, 3) float32, levels, that takes away a step at the border; None without a border."""
    size = (max(2, picture.shape[1] // _COLOUR_STEP), max(2, picture.shape[0] // _COLOUR_STEP))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    within = cv2.resize(cv2.compare(weight, 128, cv2.CMP_GT), size, interpolation=cv2.INTER_AREA) > 252
    without = cv2.resize(cv2.compare(weight, 0, cv2.CMP_GT), size, interpolation=cv2.INTER_AREA) < 3
    (inner, near_inner), (outer, near_outer) = (_spread(small, side.astype(np.float32)) for side in (within, without))
    step = outer - inner
    unlike = np.abs(step).max(axis=2)
    trust = (near_inner > 0) * (near_outer > 0) * np.clip((1.5 * _UNLIKE - unlike) / (0.5 * _UNLIKE), 0, 1)
    if trust.sum() < 4:
        return None
    step = np.sign(step) * np.maximum(np.abs(step) - _NATURAL, 0)
    reach = max(size) / 6
    known = cv2.GaussianBlur(trust.astype(np.float32), (0, 0), reach)[..., None]
    field = cv2.GaussianBlur((step * trust[..., None]).astype(np.float32), (0, 0), reach) / (known + 1e-3)
    field = np.clip(field, -_MOST_COLOUR, _MOST_COLOUR)
    return cv2.resize(field, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)


def _spread(picture: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of one side of the border near each place, and how much of the neighbourhood that side is."""
    near = cv2.blur(side, (3, 3), borderType=cv2.BORDER_CONSTANT)
    return cv2.blur(picture * side[..., None], (3, 3), borderType=cv2.BORDER_CONSTANT) / (near[..., None] + 1e-6), near


def _compare_textures(picture: np.ndarray, weight: np.ndarray, fine: np.ndarray) -> tuple[_Texture, _Texture] | None:
    """Skin inside the replaced part and skin around it; None where there is too little of either."""
    # Every second pixel is enough to measure.
    colour, small_weight, strength = (np.ascontiguousarray(plane[::2, ::2]) for plane in (picture, weight, fine))
    strength = np.abs(strength)
    around = np.ones((_RING + 1, _RING + 1), np.uint8)
    replaced = cv2.compare(small_weight, 0, cv2.CMP_GT)
    outside = cv2.subtract(cv2.dilate(replaced, around), replaced)
    inside = cv2.compare(small_weight, 250, cv2.CMP_GT)
    inside = cv2.subtract(inside, cv2.erode(inside, around))
    if min(cv2.countNonZero(inside), cv2.countNonZero(outside)) < 64:
        return None
    middle = np.array(cv2.mean(colour, inside)[:3])
    skin = cv2.inRange(colour, middle - _SAME_SKIN, middle + _SAME_SKIN)
    skin &= cv2.compare(strength, _DETAIL_CLIP, cv2.CMP_LT)
    samples = [strength[(side & skin) > 0] for side in (inside, outside)]
    if min(len(sample) for sample in samples) < 64:
        return None
    first, second = (_Texture(float(sample.mean()), float(np.median(sample)) / 0.6745) for sample in samples)
    return first, second
