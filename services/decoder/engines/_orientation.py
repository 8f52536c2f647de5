"""How a coded picture is to be shown: turned, mirrored, as its display matrix or its EXIF orientation says."""

import struct
from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type

from services.decoder.engines._side_data import find_side_data


@dataclass(frozen=True, slots=True)
class Orientation:
    """How to turn coded pictures upright: transposed first, then mirrored."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def mirrored(self) -> bool:
        """Left and right are exchanged, beside the turn."""
        return self.transposed ^ self.flip_x ^ self.flip_y

    @property
    def rotation(self) -> int:
        """Clockwise degrees; of a mirrored picture, those by which it is turned once it is mirrored."""
        if self.transposed:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def turn(self, samples: np.ndarray) -> np.ndarray:
        """(height, width) as coded -> upright; the same array where nothing is to be done."""
        turned = cv2.transpose(samples) if self.transposed else samples
        match self.flip_x, self.flip_y:
            case True, True:
                return cv2.flip(turned, -1)
            case True, False:
                return cv2.flip(turned, 1)
            case False, True:
                return cv2.flip(turned, 0)
            case _:
                return turned


def read_orientation(picture: av.VideoFrame, photo: bool, mirrored: bool) -> Orientation:
    """Of a picture that the decoder gave. `mirrored`: its EXIF orientation mirrors it, which counts for a photo."""
    # PyAV 18.1 cannot list the side data of pictures with EXIF, which is of a kind that it does not know; of their
    # display matrix it tells the angle, measured by where the matrix's first column points.
    if photo:
        turn = _TURNS[round(-picture.rotation / 90) * 90 % 360]
        if mirrored:  # the matrix's second column points the other way
            return Orientation(turn.transposed, turn.flip_x != turn.transposed, turn.flip_y == turn.transposed)
        return turn
    matrix = find_side_data(picture, Type.DISPLAYMATRIX)
    return Orientation() if matrix is None else orient_by_matrix(matrix)


def orient_by_matrix(matrix: bytes) -> Orientation:
    """FFmpeg's display matrix: nine int32 (a, b, u, c, d, v, x, y, w); a point goes to (a x + c y, b x + d y).

    Turns that are no multiple of 90 degrees go to the nearest that is one.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    if abs(b) > abs(a):
        return Orientation(transposed=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


_TURNS = {
    0: Orientation(),
    90: Orientation(transposed=True, flip_x=True),
    180: Orientation(flip_x=True, flip_y=True),
    270: Orientation(transposed=True, flip_y=True),
}
