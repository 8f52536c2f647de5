"""What an HDR picture says of the screen it was made on and of how bright it gets."""

import struct
from fractions import Fraction

import av
from av.sidedata.sidedata import Type

from services.decoder.engines._side_data import find_side_data
from services.runtime.frames import ContentLight, MasteringDisplay

# FFmpeg's AVMasteringDisplayMetadata: ten rationals of chromaticities, two of luminances, two flags.
_MASTERING = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")  # AVContentLightMetadata: brightest pixel, brightest mean
_MAX = 2**32 - 1


def read_mastering_display(picture: av.VideoFrame) -> MasteringDisplay | None:
    """None where the picture does not tell, or tells only half."""
    told = find_side_data(picture, Type.MASTERING_DISPLAY_METADATA)
    if told is None:
        return None
    *numbers, has_primaries, has_luminance = _MASTERING.unpack(told[: _MASTERING.size])
    if not (has_primaries and has_luminance) or not all(numbers[1::2]):
        return None
    values = [Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    chromaticities = [_count(value / MasteringDisplay.CHROMATICITY) for value in values[:8]]
    low, high = (_count(value / MasteringDisplay.LUMINANCE) for value in values[8:])
    return MasteringDisplay(tuple(chromaticities[:6]), (chromaticities[6], chromaticities[7]), low, high)


def read_content_light(picture: av.VideoFrame) -> ContentLight | None:
    told = find_side_data(picture, Type.CONTENT_LIGHT_LEVEL)
    return None if told is None else ContentLight(*_LIGHT.unpack(told[: _LIGHT.size]))


def _count(value: Fraction) -> int:
    return min(max(round(value), 0), _MAX)
