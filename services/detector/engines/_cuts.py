"""Cuts: where one picture of a video has nothing to do with the one before."""

import cv2
import numpy as np

_THUMBNAIL = (24, 24)  # pixels
_BLUR = (5, 5)  # pixels of the thumbnail: a shaken camera moves the picture by less
# Measured on clips of talking people: cuts change 0.77 and more with a likeness of 0.31 and less; heads, hands, paper
# held before the camera and changes of light stay below 0.67 in change.
_LEAST_CHANGE = 0.71
_MOST_LIKENESS = 0.45
# Standard deviation that a black picture is taken to have, so that its noise is no change. Unit: 8-bit levels.
_CONTRAST_FLOOR = 4.0


class CutFinder:
    """Compares each picture with the one before."""

    def __init__(self) -> None:
        self._thumbnail: np.ndarray | None = None

    def is_cut(self, view: np.ndarray) -> bool:
        """Whether a cut lies before this picture (height, width, 3) uint8. The first picture follows no cut."""
        grey = cv2.cvtColor(cv2.resize(view, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        before, now = self._thumbnail, cv2.blur(grey.astype(np.float32), _BLUR)
        self._thumbnail = now
        if before is None:
            return False
        change, likeness = compare(before, now)
        return change >= _LEAST_CHANGE and likeness <= _MOST_LIKENESS


def compare(before: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Change of two grey thumbnails in units of their contrast, and their likeness (correlation, -1 to 1)."""
    contrast_before, contrast_now = before.std() + _CONTRAST_FLOOR, now.std() + _CONTRAST_FLOOR
    change = np.abs(before - now).mean() * 2 / (contrast_before + contrast_now)
    likeness = ((before - before.mean()) * (now - now.mean())).mean() / (contrast_before * contrast_now)
    return float(change), float(likeness)
