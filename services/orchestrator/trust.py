"""How far a restored face is shown, frame after frame: at once no further than it is trusted, then back by little."""

import cv2
import numpy as np

from services.runtime.faces import Crop

_RECOVERY = 8  # frames in which a face that was not trusted at all is shown in full again


class Trust:
    """Of one mouth in one run of frames. A network that fails on every other frame would flicker; this one rests it.

    Restorers look at single crops, wherever they are sent; only here are the frames in their order, so that the result
    is the same whoever restored which.
    """

    def __init__(self) -> None:
        self._frame, self._share = -1, 1.0

    def share(self, restored: Crop) -> float:
        """How much of what the restorer changed in this crop is to be shown, 0 to 1. Call in order of frames."""
        if restored.trust is None:
            return 1.0
        most = self._share + 1 / _RECOVERY if restored.frame == self._frame + 1 else 1.0
        self._frame, self._share = restored.frame, min(restored.trust, most)
        return self._share / restored.trust if restored.trust > 0 else 1.0


def show_share(restored: Crop, sent: Crop, share: float) -> np.ndarray:
    """The crop's pixels (height, width, 4) uint8 RGBA, with that much of what the restorer changed."""
    if share == 1:
        return restored.pixels
    return cv2.addWeighted(restored.pixels, share, sent.pixels, 1 - share, 0)
