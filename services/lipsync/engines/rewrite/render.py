"""One frame with a new mouth: the face's own pixels moved to the wanted mesh, a recorded mouth laid over them.

The caller blends frame * (1 - A) + RGB * A; RGB is the whole new picture wherever A is above 0.
"""

from dataclasses import dataclass
from functools import lru_cache

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

_LEAST_MOTION = 0.12  # pixels; less is stillness
_STEP = 2  # pixels between the places motion is worked out at; it is smooth but where lips part
_LIP_MARGIN = 8  # pixels around the line where the face's own lips part, in which every pixel counts
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

    tiling: warp.Tiling
    points: np.ndarray  # wanted mesh and surroundings after limiting, (540, 2)
    picture: np.ndarray  # (h, w, 3) float32, 0 to 255 and a little beyond
    weight: np.ndarray  # (h, w) float32, 0 to 1

    @property
    def window(self) -> Window:
        return self.tiling.grid.window


def render_candidate(
    target: np.ndarray,
    target_mesh: np.ndarray,
    candidate: np.ndarray,
    candidate_mesh: np.ndarray,
    wanted: np.ndarray,
    padding: float = 1.0,
) -> np.ndarray:
    """The target with the candidate's mouth at `wanted`. RGBA uint8 of the target's size.

    `target`, `candidate`: (h, w, 3) uint8 RGB; meshes (468, 3) in pixels of their picture, `wanted` in the target's.
    `padding`: how far around the lips the candidate reaches, and around the face its motion, 0.5 to 1.5.
    """
    if not _usable(target, target_mesh) or not _usable(candidate, candidate_mesh):
        return _untouched(target)
    moved = _move_face(target, target_mesh, wanted, _mouth_triangles(padding), padding)
    if moved is None:
        return _untouched(target)
    shown = np.concatenate([moved.points[:468], wanted[:, 2:]], axis=1)
    mouth = _mouth_grid(moved, padding)
    if mouth.window.empty:
        return _untouched(target)
    part = mouth.window.within(moved.window)
    base = moved.picture[part]
    layer, weight = _move_mouth(candidate, candidate_mesh, target_mesh, moved, mouth, padding)
    _match_light(layer, base, weight, shown, mouth.window)
    missing = _missing_inside(candidate_mesh, shown)
    if missing > 0:
        draw_inside(layer, mouth.window, target, target_mesh, shown, missing)
    moved.picture[part] = cv2.blendLinear(layer, base, weight, 1 - weight)
    np.maximum(moved.weight[part], np.minimum(3 * weight, 1), out=moved.weight[part])
    return _finish(target, moved)


def render_own(
    target: np.ndarray, target_mesh: np.ndarray, wanted: np.ndarray, inside: bool, padding: float = 1.0
) -> np.ndarray:
    """The target with its own pixels moved to `wanted`. RGBA uint8 of the target's size.

    `inside`: draw what comes to sight between opening lips; without it the mouth opens no further than its own
    inside can be stretched.
    """
    if not _usable(target, target_mesh):
        return _untouched(target)
    target_mesh, wanted = _seal_lips(target_mesh), _seal_lips(wanted)
    if not inside:
        wanted = _limit_opening(target_mesh, wanted)
    moved = _move_face(target, target_mesh, wanted, None, padding)
    if moved is None:
        return _untouched(target)
    shown = np.concatenate([moved.points[:468], target_mesh[:, 2:]], axis=1)
    mouth = _mouth_grid(moved, padding).window
    if not mouth.empty:
        picture = moved.picture[mouth.within(moved.window)]
        if inside:
            draw_inside(picture, mouth, target, target_mesh, shown)
        draw_contact(picture, mouth, target, target_mesh, shown)
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
    target: np.ndarray, target_mesh: np.ndarray, wanted: np.ndarray, also: np.ndarray | None, padding: float
) -> _Moved | None:
    """The target's own pixels carried along by its mesh; `also` (t,) bool names triangles to find though they rest."""
    source = target_mesh[:, :2].astype(np.float64)
    limited = warp.limit_motion(source, wanted[:, :2].astype(np.float64))
    sources, points = warp.add_surroundings(source, limited, padding)
    triangles = warp.all_triangles()
    motion = sources - points
    moves = np.abs(motion).max(axis=1) > _LEAST_MOTION
    chosen = moves[triangles[:, 0]] | moves[triangles[:, 1]] | moves[triangles[:, 2]]
    if also is not None:
        chosen |= also
    if not chosen.any():
        return None
    triangles = triangles[chosen]
    window = warp.frame_window(points[triangles.ravel()], target.shape, 8)
    if window.empty:
        return None
    tiling = warp.tile(points, triangles, warp.Grid(window, _STEP))
    offset = _find_motion(tiling, motion, target.shape)
    x, y = (tiling.grid.enlarge(plane) for plane in offset)
    if also is None:  # a recorded mouth covers the sharp line where the face's own lips part and meet
        around = warp.frame_window(inner_lip_ring(points), target.shape, _LIP_MARGIN)
        lips = warp.Grid(warp.overlap(around, window), 1)
        if not lips.window.empty:
            part = lips.window.within(window)
            x[part], y[part] = _find_motion(warp.tile(points, triangles, lips), motion, target.shape)
    x += np.arange(window.left, window.right, dtype=np.float32)
    y += np.arange(window.top, window.bottom, dtype=np.float32)[:, None]
    return _Moved(tiling, points, _fetch(target, x, y), tiling.grid.enlarge(_cover_motion(offset)))


def _find_motion(tiling: warp.Tiling, motion: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """From the grid's places to where their pixels come from. (2, rows, columns) float32"""
    smooth = [cv2.blur(plane, (3, 3)) for plane in tiling.interpolate(motion)]
    return np.asarray(smooth * _edge_ramp(shape, tiling.grid))


def _fetch(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The uint8 picture's colours at x and y. (h, w, 3) float32, at half the cost of uint8"""
    return cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=16)
def _mouth_triangles(padding: float) -> np.ndarray:
    """Which triangles show something of a recorded mouth. (t,) bool"""
    weights = np.pad(mouth_weights(padding), (0, len(warp.all_triangles())))
    return (weights[warp.all_triangles()] > 0).any(axis=1)


@lru_cache(maxsize=16)
def _mouth_points(padding: float) -> np.ndarray:
    """Indices of the points of those triangles."""
    return np.unique(warp.all_triangles()[_mouth_triangles(padding)])


def _mouth_grid(moved: _Moved, padding: float) -> warp.Grid:
    """The part of the moved face's grid around the mouth."""
    whole, step = moved.window, moved.tiling.grid.step
    around = moved.points[_mouth_points(padding)]
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
    moving = (np.abs(offset).max(axis=0) > _LEAST_MOTION).astype(np.uint8)
    grown = cv2.dilate(moving, np.ones((5, 5), np.uint8)).astype(np.float32)
    return cv2.blur(grown, (5, 5))


def _move_mouth(
    candidate: np.ndarray,
    candidate_mesh: np.ndarray,
    target_mesh: np.ndarray,
    moved: _Moved,
    mouth: warp.Grid,
    padding: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The candidate's pixels at the wanted mesh, (h, w, 3) float32, and their weight (h, w)."""
    shrink = warp.eye_distance(target_mesh) / max(warp.eye_distance(candidate_mesh), 1e-3)
    scale = np.ones(2)
    if shrink < 0.65:
        before = candidate.shape
        candidate = cv2.resize(candidate, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        scale = np.array([candidate.shape[1] / before[1], candidate.shape[0] / before[0]])
    source = candidate_mesh[:, :2] * scale - 0.5
    # Motion is told apart from the whole mouth's, so that it can be smoothed where triangles of unlike stretch meet.
    around = _mouth_points(padding)
    around = around[around < 468]
    places = np.column_stack([moved.points[around], np.ones(len(around))])
    whole = np.linalg.lstsq(places, source[around], rcond=None)[0]
    values = np.zeros((len(moved.points), 3))
    values[:468, :2] = source - moved.points[:468] @ whole[:2] - whole[2]
    values[:468, 2] = mouth_weights(padding)
    offset_x, offset_y, weight = moved.tiling.cut(mouth).interpolate(values)
    slopes = whole.astype(np.float32)
    x = cv2.blur(offset_x, (3, 3)) + mouth.columns * slopes[0, 0] + mouth.rows * slopes[1, 0] + slopes[2, 0]
    y = cv2.blur(offset_y, (3, 3)) + mouth.columns * slopes[0, 1] + mouth.rows * slopes[1, 1] + slopes[2, 1]
    weight = np.clip(weight, 0, 1)
    weight = cv2.blur(weight * weight * (3 - 2 * weight), (3, 3))
    return _fetch(candidate, mouth.enlarge(x), mouth.enlarge(y)), mouth.enlarge(weight)


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
    # Of the channels the largest; numpy takes maxima over a short last axis very slowly.
    unlike = cv2.reduce(cv2.absdiff(small_layer, small_base).reshape(-1, 3), 1, cv2.REDUCE_MAX).reshape(trust.shape)
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


def _finish(target: np.ndarray, moved: _Moved) -> np.ndarray:
    """The whole RGBA picture."""
    result = _untouched(target)
    weight = cv2.convertScaleAbs(moved.weight, alpha=255)
    picture = cv2.addWeighted(moved.picture, 1, moved.picture, 0, 0, dtype=cv2.CV_8U)
    part = result[moved.window.slices]
    part[:] = cv2.copyTo(cv2.merge([picture, weight]), weight, part.copy())
    return result
