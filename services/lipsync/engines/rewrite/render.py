"""One frame with a new mouth: the face's own pixels moved to the wanted mesh, a recorded mouth laid over them.

The caller blends frame * (1 - A) + RGB * A; RGB is the whole new picture wherever A is above 0.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from services.lipsync.engines.rewrite import warp
from services.lipsync.engines.rewrite.masks import (
    LOWER_INNER_LIP,
    UPPER_INNER_LIP,
    inner_lip_ring,
    mouth_weights,
    outer_lip_ring,
)
from services.lipsync.engines.rewrite.mouth import draw_contact, draw_inside, measure_gap
from services.lipsync.engines.rewrite.warp import Window

_LEAST_MOTION = 0.04  # pixels; less is stillness
_COARSE_FROM = 90  # pixels between the eyes; under a recorded mouth larger faces are warped by every second pixel
_MOUTH_MARGIN = 8  # pixels
_EDGE_FADE = 14  # pixels from the crop's edge within which motion dies out
_LEAST_GAIN, _MOST_GAIN = 0.7, 1.4  # of the recorded mouth's light
_COLOUR_STEP = 4  # colour is compared on a picture this many times smaller
_SEALED_GAP, _OPEN_GAP = 0.025, 0.085  # measured gaps of lips that touch, and of lips that surely do not
_MOST_OWN_STRETCH = 1.4  # of the face's own mouth opening; teeth that grow more look like rubber
_MOST_STRETCH = 2.2  # of a recorded mouth's opening before its inside is drawn instead


@dataclass(frozen=True, slots=True)
class _Moved:
    """The face moved to its wanted mesh, within the grid's window."""

    grid: warp.Grid
    points: np.ndarray  # wanted mesh and surroundings after limiting, (540, 2)
    inverses: np.ndarray  # of its triangles, (t, 3, 3)
    under: np.ndarray  # triangle at each place of the grid
    picture: np.ndarray  # (h, w, 3) uint8
    weight: np.ndarray  # (h, w) float32, 0 to 1


def render_candidate(
    target: np.ndarray, target_mesh: np.ndarray, candidate: np.ndarray, candidate_mesh: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The target with the candidate's mouth at `wanted`. RGBA uint8 of the target's size.

    `target`, `candidate`: (h, w, 3) uint8 RGB; meshes (468, 3) in pixels of their picture, `wanted` in the target's.
    """
    if not _usable(target, target_mesh) or not _usable(candidate, candidate_mesh):
        return _untouched(target)
    moved = _move_face(target, target_mesh, wanted, _mouth_triangles())
    if moved is None:
        return _untouched(target)
    shown = np.concatenate([moved.points[:468], wanted[:, 2:]], axis=1)
    mouth = _mouth_grid(moved)
    if mouth.window.empty:
        return _untouched(target)
    part = mouth.window.within(moved.grid.window)
    base = moved.picture[part].astype(np.float32)
    layer, weight = _move_mouth(candidate, candidate_mesh, target_mesh, moved, mouth)
    _match_light(layer, base, weight, shown, mouth.window)
    missing = _missing_inside(candidate_mesh, shown)
    if missing > 0:
        draw_inside(layer, mouth.window, target, target_mesh, shown, missing)
    moved.picture[part] = _mix(base, layer, weight)
    np.maximum(moved.weight[part], np.minimum(3 * weight, 1), out=moved.weight[part])
    return _finish(target, moved)


def render_own(target: np.ndarray, target_mesh: np.ndarray, wanted: np.ndarray, inside: bool) -> np.ndarray:
    """The target with its own pixels moved to `wanted`. RGBA uint8 of the target's size.

    `inside`: draw what comes to sight between opening lips; without it the mouth opens no further than its own
    inside can be stretched.
    """
    if not _usable(target, target_mesh):
        return _untouched(target)
    target_mesh, wanted = _seal_lips(target_mesh), _seal_lips(wanted)
    if not inside:
        wanted = _limit_opening(target_mesh, wanted)
    moved = _move_face(target, target_mesh, wanted, None)
    if moved is None:
        return _untouched(target)
    shown = np.concatenate([moved.points[:468], target_mesh[:, 2:]], axis=1)
    mouth = _mouth_grid(moved).window
    if not mouth.empty:
        part = mouth.within(moved.grid.window)
        picture = moved.picture[part].astype(np.float32)
        if inside:
            draw_inside(picture, mouth, target, target_mesh, shown)
        draw_contact(picture, mouth, target, target_mesh, shown)
        moved.picture[part] = np.clip(picture + 0.5, 0, 255)
    return _finish(target, moved)


def _usable(picture: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether there is a face to work on at all."""
    if not np.isfinite(mesh).all() or np.abs(mesh).max() > 1e5:
        return False
    size = np.ptp(mesh[:, :2], axis=0)
    return bool(size.min() >= 4 and min(picture.shape[:2]) >= 4)


def _untouched(target: np.ndarray) -> np.ndarray:
    result = cv2.cvtColor(target, cv2.COLOR_RGB2RGBA)
    result[..., 3] = 0
    return result


def _move_face(
    target: np.ndarray, target_mesh: np.ndarray, wanted: np.ndarray, also: np.ndarray | None
) -> _Moved | None:
    """The target's own pixels carried along by its mesh; `also` (t,) bool names triangles to find though they rest."""
    source = target_mesh[:, :2].astype(np.float64)
    limited = warp.limit_motion(source, wanted[:, :2].astype(np.float64))
    sources, points = warp.add_surroundings(source, limited)
    triangles = warp.all_triangles()
    motion = sources - points
    chosen = (np.abs(motion).max(axis=1) > _LEAST_MOTION)[triangles].any(axis=1)
    if also is not None:
        chosen |= also
    if not chosen.any():
        return None
    window = warp.frame_window(points[np.unique(triangles[chosen])], target.shape, 8)
    if window.empty:
        return None
    # The face's own lips part and meet at a sharp line; a recorded mouth covers that line.
    coarse = also is not None and warp.eye_distance(target_mesh) > _COARSE_FROM
    grid = warp.Grid(window, 2 if coarse else 1)
    under = warp.find_triangles(points, chosen, grid)
    inverses = warp.invert_corners(points)
    offset = warp.apply_affines(warp.fit_affines(inverses, motion), under, grid)
    offset = np.stack([cv2.blur(plane, (3, 3)) for plane in offset]) * _edge_ramp(target.shape, grid)
    x = grid.enlarge(offset[0]) + np.arange(window.left, window.right, dtype=np.float32)
    y = grid.enlarge(offset[1]) + np.arange(window.top, window.bottom, dtype=np.float32)[:, None]
    picture = cv2.remap(target, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return _Moved(grid, points, inverses, under, picture, grid.enlarge(_cover_motion(offset)))


@cache
def _mouth_triangles() -> np.ndarray:
    """Which triangles show something of a recorded mouth. (t,) bool"""
    weights = np.pad(mouth_weights(), (0, len(warp.all_triangles())))
    return (weights[warp.all_triangles()] > 0).any(axis=1)


def _mouth_grid(moved: _Moved) -> warp.Grid:
    """The part of the moved face's grid around the mouth."""
    whole, step = moved.grid.window, moved.grid.step
    around = moved.points[np.unique(warp.all_triangles()[_mouth_triangles()])]
    low = np.maximum(np.floor((around.min(axis=0) - _MOUTH_MARGIN - (whole.left, whole.top)) / step), 0) * step
    high = np.ceil(around.max(axis=0)) + _MOUTH_MARGIN
    window = Window(whole.left + int(low[0]), whole.top + int(low[1]), int(high[0]), int(high[1]))
    return warp.Grid(warp.overlap(window, whole), step)


def _edge_ramp(shape: tuple[int, ...], grid: warp.Grid) -> np.ndarray:
    """0 at the crop's edges, 1 further in. (rows, columns) float32"""
    ramps = []
    for position, size in ((grid.rows, shape[0]), (grid.columns, shape[1])):
        share = np.clip((np.minimum(position, size - position) - 1) / min(_EDGE_FADE, size / 4), 0, 1)
        ramps.append(share * share * (3 - 2 * share))
    return (ramps[0] * ramps[1]).astype(np.float32)


def _cover_motion(offset: np.ndarray) -> np.ndarray:
    """1 wherever pixels moved visibly, soft outside. Of the shape of offset (2, ...)

    Half-moved pixels would show twice, so the soft part lies where nothing moves.
    """
    moving = (np.abs(offset).max(axis=0) > 0.12).astype(np.uint8)
    grown = cv2.dilate(moving, np.ones((7, 7), np.uint8)).astype(np.float32)
    return cv2.blur(grown, (7, 7))


def _move_mouth(
    candidate: np.ndarray, candidate_mesh: np.ndarray, target_mesh: np.ndarray, moved: _Moved, mouth: warp.Grid
) -> tuple[np.ndarray, np.ndarray]:
    """The candidate's pixels at the wanted mesh, (h, w, 3) float32, and their weight (h, w)."""
    shrink = warp.eye_distance(target_mesh) / max(warp.eye_distance(candidate_mesh), 1e-3)
    scale = np.ones(2)
    if shrink < 0.65:
        before = candidate.shape
        candidate = cv2.resize(candidate, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        scale = np.array([candidate.shape[1] / before[1], candidate.shape[0] / before[0]])
    source = candidate_mesh[:, :2] * scale - 0.5
    # Motion is told apart from the whole face's, so that it can be smoothed where triangles of unlike stretch meet.
    face = np.linalg.lstsq(np.pad(moved.points[:468], ((0, 0), (0, 1)), constant_values=1), source, rcond=None)[0]
    values = np.zeros((len(moved.points), 3))
    values[:468, :2] = source - moved.points[:468] @ face[:2] - face[2]
    values[:468, 2] = mouth_weights()
    top, left = (part.start // mouth.step for part in mouth.window.within(moved.grid.window))
    under = moved.under[top : top + mouth.shape[0], left : left + mouth.shape[1]]
    offset_x, offset_y, weight = warp.apply_affines(warp.fit_affines(moved.inverses, values), under, mouth)
    size = 5 if mouth.step == 1 else 3
    slopes = face.astype(np.float32)
    x = cv2.blur(offset_x, (size, size)) + mouth.columns * slopes[0, 0] + mouth.rows * slopes[1, 0] + slopes[2, 0]
    y = cv2.blur(offset_y, (size, size)) + mouth.columns * slopes[0, 1] + mouth.rows * slopes[1, 1] + slopes[2, 1]
    layer = cv2.remap(candidate, mouth.enlarge(x), mouth.enlarge(y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    weight = np.clip(weight, 0, 1)
    weight = cv2.blur(weight * weight * (3 - 2 * weight), (size, size))
    return layer.astype(np.float32), mouth.enlarge(weight)


def _match_light(layer: np.ndarray, base: np.ndarray, weight: np.ndarray, shown: np.ndarray, mouth: Window) -> None:
    """Gives the recorded mouth the light of the face around it, smoothly, judged where both show skin or lips."""
    size = (max(1, layer.shape[1] // _COLOUR_STEP), max(1, layer.shape[0] // _COLOUR_STEP))
    small_layer, small_base, trust = (
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (layer, base, weight)
    )
    lips = np.zeros(layer.shape[:2], np.uint8)
    corner = (mouth.left, mouth.top)
    cv2.fillPoly(lips, [np.round(outer_lip_ring(shown) - corner).astype(np.int32)], 128)
    inside = np.round(inner_lip_ring(shown) - corner).astype(np.int32)
    cv2.fillPoly(lips, [inside], 255)
    cv2.polylines(lips, [inside], True, 255, 5)
    trust = np.minimum(trust * 2, 1) * (1 - cv2.resize(lips, size, interpolation=cv2.INTER_AREA) / np.float32(255))
    unlike = np.abs(small_layer - small_base).max(axis=2)
    trust *= np.clip((90 - unlike) / 40, 0, 1)  # moustaches, hands: not a matter of light
    spread = max(float(np.ptp(shown[[61, 291], 0])) / _COLOUR_STEP * 0.35, 1.0)
    known = cv2.GaussianBlur(trust, (0, 0), spread)[..., None] + 1e-4
    of_layer = cv2.GaussianBlur(small_layer * trust[..., None], (0, 0), spread) / known
    of_base = cv2.GaussianBlur(small_base * trust[..., None], (0, 0), spread) / known
    certain = np.minimum(known / 0.02, 1)
    gain = 1 + certain * (np.clip((of_base + 8) / (of_layer + 8), _LEAST_GAIN, _MOST_GAIN) - 1)
    layer *= cv2.resize(gain, (layer.shape[1], layer.shape[0]), interpolation=cv2.INTER_LINEAR)


def _missing_inside(candidate_mesh: np.ndarray, shown: np.ndarray) -> float:
    """How far the candidate's opening falls short of the one it has to fill, 0 to 1."""
    opening, has = measure_gap(shown), measure_gap(candidate_mesh)
    if opening < 0.05:
        return 0.0
    return float(np.clip((opening / (has + 0.02) - _MOST_STRETCH) / 1.5, 0, 1))


def _seal_lips(mesh: np.ndarray) -> np.ndarray:
    """The mesh with nearly closed lips closed: the landmark net leaves a slit between lips that touch."""
    sealed = mesh.copy()
    upper, lower = mesh[UPPER_INNER_LIP], mesh[LOWER_INNER_LIP]
    share = np.clip((measure_gap(mesh) - _SEALED_GAP) / (_OPEN_GAP - _SEALED_GAP), 0, 1)
    share = share * share * (3 - 2 * share)
    sealed[UPPER_INNER_LIP] = lower + (upper - lower) * (1 + share) / 2
    sealed[LOWER_INNER_LIP] = upper + (lower - upper) * (1 + share) / 2
    return sealed


def _limit_opening(target_mesh: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`wanted`, drawn back to the target until its opening is one the target's own inside can be stretched to."""
    own, opening = measure_gap(target_mesh), measure_gap(wanted)
    most = _MOST_OWN_STRETCH * own + 0.005
    if opening <= most:
        return wanted
    return target_mesh + (wanted - target_mesh) * ((most - own) / (opening - own))


def _mix(base: np.ndarray, layer: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`base` where `weight` is 0, `layer` where it is 1, both float32. uint8"""
    return np.clip(base + (layer - base) * weight[..., None] + 0.5, 0, 255).astype(np.uint8)


def _finish(target: np.ndarray, moved: _Moved) -> np.ndarray:
    """The whole RGBA picture."""
    result = _untouched(target)
    weight = np.round(moved.weight * 255).astype(np.uint8)
    changed = cv2.merge([moved.picture, weight])
    part = result[moved.grid.window.slices]
    part[:] = cv2.copyTo(changed, weight, part.copy())
    return result
