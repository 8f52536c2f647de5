"""The drawn inside of a mouth, for faces whose own was never seen: photos and silent sources.

Upper teeth stand still in the skull and hang behind the upper lip; below them is the dark. What the picture itself
shows between its lips is kept and continued.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from services.lipsync.engines.rewrite.masks import (
    LOWER_INNER_LIP,
    UPPER_INNER_LIP,
    inner_lip_ring,
    outer_lip_ring,
)
from services.lipsync.engines.rewrite.warp import Window, frame_window, overlap

_LIT_SKIN = np.array([50, 205, 187, 101, 280, 425, 411, 330])  # cheeks: four on each side
_TOOTH_EDGES = np.array([0.0, 0.15, 0.27, 0.38, 0.46], np.float32)  # from the middle, as a share of the mouth's width
_TOOTH_LENGTH = 0.12  # of the mouth's width
_CORNER = 0.2  # of the mouth's width: within this of its ends the opening narrows to a point
_PROBE = 1.2  # pixels, deviation of the blur that tells how blurred edges already are
_MOST_BLUR = 0.03  # of the mouth's width
_OWN_INSIDE = (0.07, 0.13)  # of the mouth's width: a gap above these shows something worth keeping
_BRIGHT_INSIDE = (0.35, 0.6)  # of the skin's light: an inside above these shows teeth
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Tones:
    """Colours of a face, (3,) float32 RGB 0 to 255; `slope`: how much lighter the picture's right is, -1 to 1.

    `blur`: deviation of the blur that the sharpest edges around the lips have, pixels.
    """

    lip: np.ndarray
    lip_shadow: np.ndarray
    skin: np.ndarray
    slope: float
    blur: float


def measure_gap(mesh: np.ndarray) -> float:
    """Mean height of the opening between the lips as a share of the mouth's width."""
    upper, lower = mesh[UPPER_INNER_LIP[1:-1], :2], mesh[LOWER_INNER_LIP[1:-1], :2]
    width = float(np.linalg.norm(mesh[UPPER_INNER_LIP[-1], :2] - mesh[UPPER_INNER_LIP[0], :2]))
    return float(np.linalg.norm(lower - upper, axis=1).mean()) / max(width, 1.0)


def measure_tones(target: np.ndarray, mesh: np.ndarray) -> Tones:
    """What the light makes of this face's lips and skin."""
    window = frame_window(outer_lip_ring(mesh), target.shape, 1)
    skin = _pick(target, mesh[_LIT_SKIN, :2])
    if window.empty:
        return Tones(np.median(skin, 0) * 0.8, np.median(skin, 0) * 0.5, np.median(skin, 0), 0.0, 1.0)
    patch = target[window.slices].reshape(-1, 3).astype(np.float32)
    on_lips = fill_outline(outer_lip_ring(mesh), window).ravel() > 0.5
    on_lips &= fill_outline(inner_lip_ring(mesh), window).ravel() < 0.1
    lips = patch[on_lips] if on_lips.sum() > 8 else patch
    light = lips.sum(axis=1)
    shadow = lips[light <= np.percentile(light, 12)].mean(axis=0)
    left, right = (float(np.median(side.sum(axis=1))) for side in np.split(skin, 2))
    slope = (right - left) / max(right + left, 1.0)
    slope = float(np.clip(slope, -0.5, 0.5))
    return Tones(np.median(lips, axis=0), shadow, np.median(skin, axis=0), slope, measure_blur(target[window.slices]))


def measure_blur(picture: np.ndarray) -> float:
    """Deviation, pixels, of the Gaussian that would blur a step as the picture's steepest edges are blurred.

    From how much less steep they become when blurred again (Zhuo and Sim, Defocus map estimation, 2011).
    """
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    before, after = (
        float(np.percentile(np.hypot(cv2.Scharr(plane, cv2.CV_32F, 1, 0), cv2.Scharr(plane, cv2.CV_32F, 0, 1)), 99))
        for plane in (light, cv2.GaussianBlur(light, (0, 0), _PROBE))
    )
    return _PROBE / max((before / max(after, 1e-3)) ** 2 - 1, 0.05) ** 0.5


def fill_outline(outline: np.ndarray, window: Window) -> np.ndarray:
    """The share of each pixel of the window that lies inside the outline (n, 2). (h, w) float32"""
    mask = np.zeros((window.bottom - window.top, window.right - window.left), np.uint8)
    fixed = np.round((outline - (window.left + 0.5, window.top + 0.5)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask.astype(np.float32) / 255


def draw_inside(
    picture: np.ndarray,
    window: Window,
    target: np.ndarray,
    target_mesh: np.ndarray,
    wanted: np.ndarray,
    share: float = 1.0,
) -> None:
    """Fills the opening between the lips of `wanted` in `picture`, the part of the frame under `window`.

    `picture`: (h, w, 3) float32, its lips already where `wanted` has them. `share`: how much of the drawing to lay on.
    """
    outline = inner_lip_ring(wanted)
    place = overlap(frame_window(outline, target.shape, 4), window)
    width = float(np.linalg.norm(wanted[308, :2] - wanted[78, :2]))
    if place.empty or width < 4:
        return
    along, below_upper, gap, motion = _mouth_coordinates(target_mesh, wanted, place)
    tones = measure_tones(target, target_mesh)
    seen = float(_smooth_step(measure_gap(target_mesh), *_OWN_INSIDE))
    teeth = 1 - seen * (1 - _teeth_seen(target, target_mesh, tones)) if seen > 0 else 1.0
    blur = float(np.clip(0.8 * tones.blur, 0.6, max(_MOST_BLUR * width, 0.7)))
    colour = cv2.GaussianBlur(_paint(tones, along, below_upper, gap, width, teeth), (0, 0), blur)
    if seen > 0:
        own, trust = _own_inside(target, target_mesh, along, below_upper, motion, place)
        colour = colour + (own - colour) * (seen * trust)[..., None]
    inside = cv2.dilate(fill_outline(outline, place), np.ones((3, 3), np.uint8))  # lips' rims show what was behind them
    cover = cv2.GaussianBlur(inside * _round_corners(along, below_upper, gap), (0, 0), blur) * share
    # A gap thinner than its own soft edge is closed lips: the contact line is already in the picture.
    cover *= _smooth_step(gap, 0.004 * width, 0.03 * width)
    part = picture[place.within(window)]
    part += (colour - part) * cover[..., None]


def draw_contact(
    picture: np.ndarray, window: Window, target: np.ndarray, target_mesh: np.ndarray, wanted: np.ndarray
) -> None:
    """Draws the line where lips touch that were apart in the target, over what their meeting left there."""
    width = float(np.linalg.norm(wanted[308, :2] - wanted[78, :2]))
    own, gap = measure_gap(target_mesh), measure_gap(wanted)
    closing = float(_smooth_step(own, 0.05, 0.12) * _smooth_step(gap, 0.05, 0.015))
    seam = (wanted[UPPER_INNER_LIP, :2] + wanted[LOWER_INNER_LIP, :2]) / 2
    place = overlap(frame_window(seam, target.shape, 6 + int(width / 8)), window)
    if closing <= 0 or place.empty:
        return
    line = np.zeros((place.bottom - place.top, place.right - place.left), np.uint8)
    fixed = np.round((seam - (place.left + 0.5, place.top + 0.5)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(line, [fixed], False, 255, max(1, round(width / 30)), cv2.LINE_AA, _SUBPIXEL_BITS)
    cover = cv2.GaussianBlur(line, (0, 0), max(width / 70, 0.7)).astype(np.float32) * (closing * 0.75 / 255)
    part = picture[place.within(window)]
    smooth = cv2.GaussianBlur(part, (0, 0), max(width / 45, 0.8))
    tones = measure_tones(target, target_mesh)
    part += (0.45 * smooth + 0.5 * tones.lip_shadow - part) * cover[..., None]


def _mouth_coordinates(
    target_mesh: np.ndarray, wanted: np.ndarray, place: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each pixel: share of the way corner to corner, pixels below the upper lip, the gap's height there, and the
    motion (2, h, w) of the upper lip above it.
    """
    start, end = wanted[UPPER_INNER_LIP[0], :2], wanted[UPPER_INNER_LIP[-1], :2]
    width = np.linalg.norm(end - start)
    across = (end - start) / width
    down = np.array([-across[1], across[0]])
    x = np.arange(place.left, place.right, dtype=np.float32) + 0.5 - start[0]
    y = (np.arange(place.top, place.bottom, dtype=np.float32) + 0.5 - start[1])[:, None]
    along = (x * across[0] + y * across[1]) / width
    depth = x * down[0] + y * down[1]
    upper, lower = (wanted[points, :2] - start for points in (UPPER_INNER_LIP, LOWER_INNER_LIP))
    upper_along, lower_along = (np.maximum.accumulate(points @ across / width) for points in (upper, lower))
    upper_edge = _interpolate(along, upper_along, upper @ down)
    lower_edge = _interpolate(along, lower_along, lower @ down)
    lip_motion = wanted[UPPER_INNER_LIP, :2] - target_mesh[UPPER_INNER_LIP, :2]
    motion = np.stack([_interpolate(along, upper_along, lip_motion[:, axis]) for axis in range(2)])
    return along, depth - upper_edge, np.maximum(lower_edge - upper_edge, 0), motion


def _round_corners(along: np.ndarray, below_upper: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """1 in the opening, 0 where it must not reach so that its ends are round. (h, w) float32"""
    height = _smooth_step(0.5 - np.abs(along - 0.5), 0, _CORNER)
    from_middle = np.abs(2 * below_upper / np.maximum(gap, 1) - 1)
    return _smooth_step(from_middle, height + 0.35, height).astype(np.float32)


def _paint(
    tones: Tones, along: np.ndarray, below_upper: np.ndarray, gap: np.ndarray, width: float, teeth: float
) -> np.ndarray:
    """The colour of every pixel of the mouth's inside. (h, w, 3) float32"""
    off_centre = np.abs(2 * along - 1)
    level = np.clip(below_upper / np.maximum(gap, 1), 0, 1)
    opening = float(gap.max()) / width
    shadow = np.minimum(0.30 * tones.lip_shadow + 0.05 * tones.lip, 60)
    flesh = 0.55 * tones.lip * np.array([1.05, 0.80, 0.80], np.float32)
    # The tongue lies behind the lower teeth: a dome that catches some light in a wide mouth.
    dome = _smooth_step(level - 0.35 * off_centre**2, 0.5, 1.05) * _smooth_step(off_centre, 0.9, 0.3)
    colour = shadow + (flesh - shadow) * (dome * min(1.0, 0.1 + 1.8 * opening))[..., None]
    enamel, where = _paint_teeth(tones, along, below_upper, gap, width)
    colour += (enamel - colour) * (teeth * where)[..., None]
    rim = np.maximum(_smooth_step(gap - below_upper, 0.05 * width, 0), _smooth_step(below_upper, 0.035 * width, 0))
    colour += (0.6 * tones.lip_shadow - colour) * (0.6 * rim)[..., None]
    return colour.astype(np.float32)


def _paint_teeth(
    tones: Tones, along: np.ndarray, below_upper: np.ndarray, gap: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) of the upper teeth, and where they are (h, w)."""
    from_middle = np.abs(along - 0.5)
    edge_distance = np.abs(from_middle - _TOOTH_EDGES[:, None, None]).min(axis=0)  # of the mouth's width
    wide = _smooth_step(float(gap.max()), 0.06 * width, 0.28 * width)
    length = _TOOTH_LENGTH * width * (1 - 0.75 * np.clip(from_middle / 0.45, 0, 1) ** 2)
    length -= 0.012 * width * np.exp(-((edge_distance / 0.018) ** 2))  # rounded corners
    length = np.minimum(length, (0.62 - 0.12 * wide) * gap)
    soft = max(0.016 * width, 0.8)
    where = _smooth_step(length - below_upper, -soft, soft) * _smooth_step(from_middle, 0.46, 0.28)
    # Little light comes in between lips hardly parted, and less to the back teeth; the upper lip throws a shadow.
    light = (0.6 + 0.45 * wide) * (0.6 + 0.4 * _smooth_step(below_upper, -0.01 * width, 0.1 * width))
    light *= 1 - 0.65 * _smooth_step(from_middle, 0.08, 0.42)
    light *= 1 - 0.12 * np.exp(-((edge_distance / 0.008) ** 2)) * _smooth_step(below_upper, 0, 0.06 * width)
    light *= 1 + tones.slope * (2 * along - 1)
    white = 0.66 * float(tones.skin.mean()) * np.array([1.04, 1.0, 0.92], np.float32) + 0.33 * tones.skin
    return np.minimum(white, 225) * light[..., None], where


def _teeth_seen(target: np.ndarray, mesh: np.ndarray, tones: Tones) -> float:
    """How surely the picture shows teeth below its upper lip, 0 to 1."""
    upper, lower = mesh[UPPER_INNER_LIP[3:-3], :2], mesh[LOWER_INNER_LIP[3:-3], :2]
    light = float(np.median(_pick(target, upper + 0.35 * (lower - upper)))) / max(float(tones.skin.mean()), 1.0)
    return float(_smooth_step(light, *_BRIGHT_INSIDE))


def _own_inside(
    target: np.ndarray, mesh: np.ndarray, along: np.ndarray, below_upper: np.ndarray, motion: np.ndarray, place: Window
) -> tuple[np.ndarray, np.ndarray]:
    """What the picture shows behind its own upper lip, hung behind the moved one, and how far it reaches."""
    x = np.arange(place.left, place.right, dtype=np.float32) - motion[0].astype(np.float32)
    y = np.arange(place.top, place.bottom, dtype=np.float32)[:, None] - motion[1].astype(np.float32)
    own = cv2.remap(target, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    share = np.linspace(0, 1, len(UPPER_INNER_LIP))
    heights = np.linalg.norm(mesh[LOWER_INNER_LIP, :2] - mesh[UPPER_INNER_LIP, :2], axis=1)
    own_gap = _interpolate(along, share, heights)
    return own, _smooth_step(below_upper, 0.92 * own_gap, 0.62 * own_gap)


def _pick(target: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The picture's colours at points (n, 2), nearest pixel inside it. (n, 3) float32"""
    height, width = target.shape[:2]
    x = np.clip(points[:, 0], 0, width - 1).astype(int)
    y = np.clip(points[:, 1], 0, height - 1).astype(int)
    return target[y, x].astype(np.float32)


def _interpolate(along: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values between those at `known` places. Of along's shape, float32"""
    return np.interp(along, known, values).astype(np.float32)


def _smooth_step(value: float | np.ndarray, start: float | np.ndarray, end: float | np.ndarray) -> np.ndarray:
    """0 at `start`, 1 at `end` (which may lie below it), smooth between."""
    span = end - start
    span = np.where(span == 0, np.float32(1e-6), span) if isinstance(span, np.ndarray) else span or 1e-6
    share = np.clip((value - start) / span, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
