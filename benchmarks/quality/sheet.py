"""A contact sheet per clip: what the mouth really did above what came out."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.trial import Driven, Trial

_GAP = 4  # pixels
_CAPTION = 18  # pixels
_TITLES = {
    "straight": "hidden part, its own sound",
    "shifted": "hidden part, the same sound over frames of another time",
    "cross": "another clip's speech",
}


def save_sheet(trial: Trial, path: Path) -> None:
    """Moments and neighbouring frames of each drive, the source above the result, in the source's own pixels."""
    strips = []
    for name, driven in trial.driven.items():
        for kind, frames in (("moments", driven.moments), ("neighbours", driven.neighbours)):
            strip = _pair_rows(driven, frames)
            if strip is not None:
                strips.append(_caption(strip, f"{trial.clip.name}: {_TITLES[name]}; {kind}; source above result"))
    if strips:
        cv2.imwrite(str(path), _stack(strips)[..., ::-1])


def _pair_rows(driven: Driven, frames: Iterable[int]) -> np.ndarray | None:
    pairs = [driven.tiles[frame] for frame in frames if frame in driven.tiles]
    if not pairs:
        return None
    side = min(picture.shape[0] for pair in pairs for picture in pair)  # turning heads differ by a little
    rows = [np.hstack([_pad(_cut(pair[row], side)) for pair in pairs]) for row in range(2)]
    return np.vstack(rows)


def _cut(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle of a picture."""
    edge = (picture.shape[0] - side) // 2
    return picture[edge : edge + side, edge : edge + side]


def _pad(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _caption(strip: np.ndarray, text: str) -> np.ndarray:
    bar = np.full((_CAPTION, strip.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (4, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, strip])


def _stack(strips: list[np.ndarray]) -> np.ndarray:
    width = max(strip.shape[1] for strip in strips)
    return np.vstack([
        np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips
    ])  # fmt: skip
