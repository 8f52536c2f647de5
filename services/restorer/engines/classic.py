"""Matches a crop's replaced part to its surroundings: light and colour, sharpness, grain. No model, no state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.runtime.engine import ANYBODY, Caller, EngineInfo
from services.runtime.faces import Crop

_RING = 24  # pixels around the replaced part that count as its surroundings
_COLOUR_STEP = 6  # colour is compared on a picture this many times smaller
_UNLIKE = 24.0  # levels between the two sides of the border above which they are different things, not different light
_NATURAL = 2.0  # levels of difference between the two sides that faces have by themselves
_RELATED = 12  # neighbouring places that say about the same
_MOST_COLOUR = 12.0  # levels
_MOST_DETAIL = 0.3  # share by which fine detail may be strengthened or weakened
_DETAIL_SHARE = 0.5  # of that is done: the rim, where it is measured, is softer than the mouth itself
_SAME_SKIN = 45.0  # levels from the mean colour of the replaced part's rim
_DETAIL_CLIP = 10.0  # levels; stronger detail is an edge and says nothing of sharpness or grain
_LEAST_GRAIN, _MOST_GRAIN = 0.3, 1.5  # levels
_GRAIN_SHARE = 0.6  # of the missing grain is laid on: what is still in the source must not begin to crawl
_GAUSS_FIFTH = 0.2533  # a fifth of normal deviates are below this, without their sign
_GRAIN_SIZE = 1024  # pixels, longer than any crop so that it can be laid at many offsets


@dataclass(frozen=True, slots=True)
class _Texture:
    """Fine detail of skin: its mean strength, and as grain the deviation its calmest fifth stands for. Levels."""

    detail: float
    grain: float


class ClassicRestorer:
    """The default restorer: corrects only what it can measure at the border, and only by little."""

    info = EngineInfo("classic", "3")

    def __init__(self) -> None:
        noise = np.random.default_rng(20).standard_normal((_GRAIN_SIZE, _GRAIN_SIZE)).astype(np.float32)
        self._noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * 1.7  # of video: a little wider than a pixel, deviation 1

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        return [self._restore_crop(crop, strength) for crop in crops]

    def _restore_crop(self, crop: Crop, strength: float) -> Crop:
        weight = cv2.extractChannel(crop.pixels, 3)
        left, top, width, height = cv2.boundingRect(weight)
        if strength <= 0 or min(width, height) < 8:
            return crop
        rows = slice(max(0, top - _RING), top + height + _RING)
        columns = slice(max(0, left - _RING), left + width + _RING)
        picture = cv2.cvtColor(crop.pixels[rows, columns], cv2.COLOR_RGBA2RGB)
        weight = np.ascontiguousarray(weight[rows, columns])
        share = weight.astype(np.float32) * np.float32(min(strength, 1.0) / 255)
        change = self._sharpen(picture, weight, crop.frame)
        change = np.zeros_like(share) if change is None else cv2.multiply(change, share)
        # One channel at a time: four of floats take OpenCV twice as long.
        restored = [
            cv2.add(channel, cv2.scaleAdd(share, float(step), change), dtype=cv2.CV_8U)
            for channel, step in zip(cv2.split(picture), _colour_step(picture, weight), strict=True)
        ]
        pixels = crop.pixels.copy()
        pixels[rows, columns] = cv2.merge([*restored, weight])
        return replace(crop, pixels=pixels)

    def _sharpen(self, picture: np.ndarray, weight: np.ndarray, frame: int) -> np.ndarray | None:
        """What to add to the light of each pixel, levels, float32, for the detail and grain of the surroundings."""
        light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        fine = cv2.subtract(light, cv2.GaussianBlur(light.astype(np.float32), (0, 0), 1.2), dtype=cv2.CV_32F)
        textures = _compare_textures(picture, weight, fine)
        if textures is None:
            return None
        inside, outside = textures
        unlike = outside.detail / max(inside.detail, 1e-3) - 1
        gain = _DETAIL_SHARE * np.clip(unlike, -_MOST_DETAIL, _MOST_DETAIL)
        missing = np.sqrt(max(outside.grain**2 - ((1 + gain) * inside.grain) ** 2, 0.0))
        grain = min(_GRAIN_SHARE * missing, _MOST_GRAIN)
        if grain <= _LEAST_GRAIN:
            return fine * np.float32(gain)
        return cv2.addWeighted(fine, float(gain), self._lay_noise(frame, fine.shape), float(grain), 0)

    def _lay_noise(self, frame: int, shape: tuple[int, ...]) -> np.ndarray:
        """Noise of deviation 1, another for every frame and always the same for one."""
        mixed = (frame * 2654435761 + 40503) & 0xFFFFFFFF  # Knuth's multiplicative hash
        top = (mixed >> 16) % max(_GRAIN_SIZE - shape[0] + 1, 1)
        left = (mixed & 0xFFFF) % max(_GRAIN_SIZE - shape[1] + 1, 1)
        return self._noise[top : top + shape[0], left : left + shape[1]]


def _colour_step(picture: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The colour (3,), levels, that takes away a step all along the border; zeros where there is none.

    Faces have edges and shading of their own at any border, so only what most of the border agrees on counts.
    """
    size = (max(2, picture.shape[1] // _COLOUR_STEP), max(2, picture.shape[0] // _COLOUR_STEP))
    # Without the last odd pixels all shrink by a whole number, at a third of the cost.
    whole = np.s_[: size[1] * _COLOUR_STEP, : size[0] * _COLOUR_STEP]
    small = cv2.resize(picture[whole], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    masks = (cv2.threshold(weight[whole], least, 255, cv2.THRESH_BINARY)[1] for least in (128, 0))
    inner_mask, mask = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) for mask in masks)
    within, without = inner_mask > 252, mask < 3
    (inner, near_inner), (outer, near_outer) = (_spread(small, side.astype(np.float32)) for side in (within, without))
    steps = (outer - inner)[(near_inner > 0.1) & (near_outer > 0.1)]  # (places, 3)
    steps = steps[np.abs(steps).max(axis=1) < _UNLIKE]
    if len(steps) < 2 * _RELATED:
        return np.zeros(3, np.float32)
    middle = np.median(steps, axis=0)
    doubt = 1.5 * np.median(np.abs(steps - middle), axis=0) * np.sqrt(_RELATED / len(steps))
    sure = np.maximum(np.abs(middle) - doubt - _NATURAL, 0)
    return (np.sign(middle) * np.minimum(sure, _MOST_COLOUR)).astype(np.float32)


def _mask(flags: np.ndarray) -> np.ndarray:
    """255 where a flag is set."""
    return flags.astype(np.uint8) * np.uint8(255)


def _spread(picture: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of one side of the border near each place, and how much of the neighbourhood that side is."""
    near = cv2.blur(side, (5, 5), borderType=cv2.BORDER_CONSTANT)
    return cv2.blur(picture * side[..., None], (5, 5), borderType=cv2.BORDER_CONSTANT) / (near[..., None] + 1e-6), near


def _compare_textures(picture: np.ndarray, weight: np.ndarray, fine: np.ndarray) -> tuple[_Texture, _Texture] | None:
    """Skin inside the replaced part and skin around it; None where there is too little of either."""
    # Every second pixel is enough to measure.
    size = (-(-weight.shape[1] // 2), -(-weight.shape[0] // 2))
    colour, small_weight, strength = (
        cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in (picture, weight, fine)
    )
    strength = np.abs(strength)
    around = np.ones((_RING + 1, _RING + 1), np.uint8)
    replaced = _mask(small_weight > 0)
    outside = cv2.subtract(cv2.dilate(replaced, around), replaced)
    inside = _mask(small_weight > 250)
    inside = cv2.subtract(inside, cv2.erode(inside, around))
    if min(cv2.countNonZero(inside), cv2.countNonZero(outside)) < 64:
        return None
    middle = np.median(colour[inside > 0][::5], axis=0)
    skin = cv2.inRange(colour, middle - _SAME_SKIN, middle + _SAME_SKIN)
    chosen = (skin > 0) & (strength < _DETAIL_CLIP)
    samples = [strength[(side > 0) & chosen] for side in (inside, outside)]
    if min(len(sample) for sample in samples) < 64:
        return None
    first, second = (
        _Texture(float(sample.mean()), float(np.partition(sample, len(sample) // 5)[len(sample) // 5]) / _GAUSS_FIFTH)
        for sample in samples
    )
    return first, second
