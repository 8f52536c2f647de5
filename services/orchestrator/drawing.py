"""A frame of a result beside what was done to it: the masks that were pasted in, and the landmarks gone by."""

import cv2
import numpy as np

from services.orchestrator.compositing import make_view
from services.orchestrator.rendering import Patch, Shown, paste_patches

_LONGEST_SIDE = 1280  # pixels of each of the two pictures
_MASK, _LANDMARK, _WINDOW = (255, 64, 160), (80, 255, 255), (255, 220, 80)  # RGB
_TINT = 0.35  # of the mask's colour where it is full
_SHIFT = 4  # bits of a fraction of a pixel


def draw_frame(shown: Shown) -> np.ndarray:
    """(height, 2 x width, 3) uint8 RGB: as it will be; the same with masks, landmarks and crop windows."""
    _, frame = paste_patches(shown)
    view = make_view(frame, _LONGEST_SIDE)
    scale = view.shape[1] / frame.format.width
    drawn = view.copy()
    for patch in shown.patches:
        if patch is not None:
            _tint(drawn, patch, scale)
            _mark(drawn, patch, scale)
    return np.hstack([view, drawn])


def to_png(picture: np.ndarray) -> bytes:
    """(height, width, 3) uint8 RGB -> the bytes of a file."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _tint(drawn: np.ndarray, patch: Patch, scale: float) -> None:
    """Where the crop replaces the frame, as strongly as it does."""
    if patch.crop is None:
        return
    grow = scale / patch.window.crop_scale  # view pixels per crop pixel
    place = np.array([[grow, 0, patch.window.x * scale], [0, grow, patch.window.y * scale]])
    weight = cv2.warpAffine(patch.crop.pixels[..., 3], place, (drawn.shape[1], drawn.shape[0]), flags=cv2.INTER_LINEAR)
    mixed = drawn + (np.array(_MASK) - drawn.astype(np.float32)) * (weight[..., None] * np.float32(_TINT / 255))
    drawn[...] = np.rint(mixed)
    edges, _ = cv2.findContours((weight > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, edges, -1, _MASK, 1, cv2.LINE_AA)


def _mark(drawn: np.ndarray, patch: Patch, scale: float) -> None:
    window = patch.window
    points = (patch.mesh[:, :2] / window.crop_scale + [window.x, window.y]) * scale
    radius = max(window.side * scale / 300, 0.6)  # pixels
    for x, y in np.rint(points * (1 << _SHIFT)).astype(int).tolist():
        cv2.circle(drawn, (x, y), round(radius * (1 << _SHIFT)), _LANDMARK, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    corner = np.array([window.x, window.y])
    low, high = (np.rint(end * scale).astype(int).tolist() for end in (corner, corner + window.side))
    cv2.rectangle(drawn, low, high, _WINDOW, 1)
