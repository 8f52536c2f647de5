"""Measures of pixels: sharpness of the mouth, seams, flicker. Pictures are (height, width, 3) uint8 RGB."""

import cv2
import numpy as np

from benchmarks.quality.measures import LIPS, STABLE

PROFILE = np.arange(0.0, 0.66, 0.06)  # edges of rings around the lips, in mouth widths
PATCH = 96  # pixels, side of the still picture that flicker is measured on; eyes are half of it apart
_BORDER, _BESIDE = 1.5, (4.0, 9.0)  # pixels from the mask's border


def measure_sharpness(picture: np.ndarray, mesh: np.ndarray) -> float:
    """Variance of the Laplacian of luma over the mouth: the lips' hull and a tenth of its width around. Square levels.

    Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000). Larger is sharper.
    """
    distance = lip_distances(picture.shape, mesh)
    inside = distance < 0.1
    if inside.sum() < 64:
        return float("nan")
    return float(cv2.Laplacian(_luma(picture), cv2.CV_32F)[inside].var())


def seam_score(picture: np.ndarray, weight: np.ndarray) -> float:
    """How much steeper luma is across the border A = 50 % than 4 to 9 pixels inside and outside. 1: no border to see.

    `weight`: (height, width) uint8, the A of the crop laid on. Compare with the same on the untouched picture, as faces
    have edges of their own. After the box seams that users of face pastes complain of; no standard measure exists.
    """
    inside = (weight >= 128).astype(np.uint8)
    if not 64 < inside.sum() < inside.size - 64:
        return float("nan")
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) - within
    steep = _across(picture, distance)
    away = np.abs(distance)
    border, beside = steep[away <= _BORDER], steep[(away > _BESIDE[0]) & (away < _BESIDE[1])]
    if min(len(border), len(beside)) < 64:
        return float("nan")
    return float(border.mean() / max(beside.mean(), 0.1))


def ring_profile(picture: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Mean steepness of luma outwards in rings around the lips, levels per pixel; (len(PROFILE) - 1,).

    Finds a recorded mouth's border, whose place A does not tell, as a ring that is steeper than the source's.
    """
    distance = lip_distances(picture.shape, mesh)
    steep = _across(picture, distance * np.ptp(mesh[LIPS, 0]))
    rings = np.digitize(distance, PROFILE) - 1
    chosen = (rings >= 0) & (rings < len(PROFILE) - 1) & (distance > 0)
    sums = np.bincount(rings[chosen], steep[chosen], len(PROFILE) - 1)
    counts = np.bincount(rings[chosen], minlength=len(PROFILE) - 1)
    return np.asarray(sums / np.where(counts < 32, np.nan, counts))


def still_patch(picture: np.ndarray, mesh: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Luma of the lower face with the head held still: (PATCH, PATCH) uint8.

    `mesh` (468, 3): of the picture; `model` (468, 3): any mesh of this face, the same for all frames.
    """
    eyes = np.linalg.norm(model[263] - model[33])
    place = (model[STABLE, :2] - model[[61, 291], :2].mean(axis=0)) * (PATCH / 2 / eyes) + PATCH / 2
    turn = cv2.estimateAffinePartial2D(mesh[STABLE, :2], place, method=cv2.LMEDS)[0]
    if turn is None:
        return np.zeros((PATCH, PATCH), np.uint8)
    return cv2.warpAffine(_luma(picture), turn, (PATCH, PATCH), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def measure_flicker(patches: np.ndarray) -> float:
    """Mean second difference over time of still patches (n, PATCH, PATCH), coarse luma levels; the inner half, where
    cheeks, lips and chin are. What jumps there and back is seen at once.

    The temporal flicker of Bonneel et al., Blind Video Temporal Consistency (2015), without its optical flow.
    """
    if len(patches) < 3:
        return float("nan")
    middle = slice(PATCH // 5, PATCH - PATCH // 5)
    coarse = np.stack([cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.5)[middle, middle] for patch in patches])
    return float(np.abs(np.diff(coarse, n=2, axis=0)).mean())


def lip_distances(shape: tuple[int, ...], mesh: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the lips' hull in mouth widths, 0 inside. (height, width) float32"""
    outside = np.ones(shape[:2], np.uint8)
    cv2.fillConvexPoly(outside, cv2.convexHull(np.round(mesh[LIPS, :2]).astype(np.int32)), 0)
    width = max(float(np.ptp(mesh[LIPS, 0])), 1.0)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, 3) / np.float32(width))


def _across(picture: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Absolute slope of luma in the direction in which `distance` (pixels) grows, levels per pixel."""
    light = cv2.GaussianBlur(_luma(picture).astype(np.float32), (0, 0), 0.8)
    smooth = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 1.5)
    x, y = _slopes(smooth)
    length = np.maximum(np.hypot(x, y), 1e-3)
    light_x, light_y = _slopes(light)
    return np.asarray(np.abs(light_x * x + light_y * y) / length)


def _slopes(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cv2.Scharr(plane, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(plane, cv2.CV_32F, 0, 1, scale=1 / 32)


def _luma(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
