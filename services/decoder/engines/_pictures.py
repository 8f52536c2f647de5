"""Decoded pictures -> frames: which layout a picture keeps or gets; upright, even-sized, copied only if it must be."""

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation
from av.video.reformatter import Colorspace as SwsMatrix

from services.decoder.engines._crop import NO_CROP, Crop
from services.decoder.engines._orientation import Orientation, read_orientation
from services.runtime.frames import FFMPEG_NAMES, Color, Frame, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal

MIN_SIDE = 16  # pixels
MAX_SIDE = 16384  # pixels, as FrameFormat in media.proto

_FORMATS = {name: pixel_format for pixel_format, name in FFMPEG_NAMES.items()}
# The same samples under a name that says full range.
_FORMATS |= {"yuvj420p": PixelFormat.YUV420P, "yuvj422p": PixelFormat.YUV422P, "yuvj444p": PixelFormat.YUV444P}

# Layouts by (10 bits, halvings of chroma horizontally, vertically).
_LAYOUTS = {
    (False, 1, 1): PixelFormat.YUV420P,
    (False, 1, 0): PixelFormat.YUV422P,
    (False, 0, 0): PixelFormat.YUV444P,
    (True, 1, 1): PixelFormat.YUV420P10,
    (True, 1, 0): PixelFormat.YUV422P10,
    (True, 0, 0): PixelFormat.YUV444P10,
}

# RGB becomes limited-range BT.709 at 4:2:0, tagged as such with sRGB's own transfer curve: the one form of H.264 that
# every player shows in the right colours. Full range is often ignored, 4:4:4 often not played at all, and without tags
# players guess the matrix from the picture's height.
_FROM_RGB = Color(matrix=1, primaries=1, transfer=13, full_range=False)
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is done to every picture of a stream. `coded_size`: (width, height) before cutting and turning.

    `shown`: x, y, width and height of what is left of a coded picture; even.
    """

    format: FrameFormat
    coded_size: tuple[int, int]
    shown: tuple[int, int, int, int]
    orientation: Orientation

    def deliver(self, picture: av.VideoFrame, pts: int) -> Frame:
        """The picture as a frame; its planes are read-only, because the decoder still refers to them."""
        x, y, width, height = self.shown
        direct = _FORMATS.get(picture.format.name) is self.format.pixel_format
        if not direct or (picture.width, picture.height) != self.coded_size:
            picture = self._convert(picture)
        planes = []
        for index, plane in enumerate(picture.planes[:3]):
            # Turning exchanges the two shifts, but then they are equal: see choose_delivery.
            horizontal, vertical = self.format.chroma_shift if index else (0, 0)
            samples = np.frombuffer(memoryview(plane), self.format.dtype).reshape(plane.height, -1)
            rows, columns = (
                slice(y >> vertical, (y + height) >> vertical),
                slice(x >> horizontal, (x + width) >> horizontal),
            )
            samples = samples[rows, columns]
            samples = self.orientation.turn(samples)
            samples.flags.writeable = False
            planes.append(samples)
        return Frame(pts, self.format, tuple(planes))

    def _convert(self, picture: av.VideoFrame) -> av.VideoFrame:
        width, height = self.coded_size
        full = ColorRange.JPEG if self.format.color.full_range else ColorRange.MPEG
        if picture.format.is_rgb or picture.format.has_palette:
            source_range, matrix = ColorRange.JPEG, _sws_matrix(self.format.color.matrix)
        else:
            # Equal ranges and no matrix: the samples are moved to the new layout and mean what they meant.
            source_range, matrix = full, None
        return picture.reformat(
            width,
            height,
            FFMPEG_NAMES[self.format.pixel_format],
            dst_colorspace=matrix,
            src_color_range=source_range,
            dst_color_range=full,
            interpolation=_SCALING,
        )


def choose_delivery(
    picture: av.VideoFrame, mirrored: bool = False, photo: bool = False, crop: Crop = NO_CROP
) -> Delivery:
    """From the first picture of a stream; `mirrored`: see read_orientation.

    A photo becomes 4:2:0 whatever it was: many a JPEG is 4:4:4, which as a video most players do not show.

    Raises Refusal PICTURE_TOO_SMALL, UNSUPPORTED_MEDIA.
    """
    width, height = picture.width, picture.height
    if min(width, height) < MIN_SIDE:
        message = f"The picture is {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed."
        raise Refusal("PICTURE_TOO_SMALL", message, width=width, height=height)
    if max(width, height) > MAX_SIDE:
        message = f"The picture is {width} x {height} pixels; at most {MAX_SIDE} a side are possible. Scale it down."
        raise Refusal("UNSUPPORTED_MEDIA", message, width=width, height=height)
    is_rgb = picture.format.is_rgb or picture.format.has_palette
    orientation = read_orientation(picture, photo, mirrored)
    pixel_format = PixelFormat.YUV420P if photo or is_rgb else _choose_layout(picture)
    if orientation.transposed and pixel_format in (PixelFormat.YUV422P, PixelFormat.YUV422P10):
        # Lying on its side 4:2:2 halves the height instead of the width, which no layout of ours does.
        pixel_format = _LAYOUTS[pixel_format is PixelFormat.YUV422P10, 1, 1]
    color = _FROM_RGB if is_rgb else _read_color(picture)
    shown = _cut_even(width, height, crop)
    size = shown[2:][::-1] if orientation.transposed else shown[2:]
    return Delivery(FrameFormat(*size, pixel_format, color), (width, height), shown, orientation)


def _cut_even(width: int, height: int, crop: Crop) -> tuple[int, int, int, int]:
    """Whole chroma samples inside the crop; all of the picture where that would be too small."""
    x, y = crop.left + crop.left % 2, crop.top + crop.top % 2
    across, down = (width - crop.right - x) & ~1, (height - crop.bottom - y) & ~1
    return (x, y, across, down) if min(across, down) >= MIN_SIDE else (0, 0, width & ~1, height & ~1)


def _choose_layout(picture: av.VideoFrame) -> PixelFormat:
    layout = picture.format
    if (known := _FORMATS.get(layout.name)) is not None:
        return known
    ten_bit = max(component.bits for component in layout.components) > 8
    if not any(component.is_chroma for component in layout.components):
        return _LAYOUTS[ten_bit, 1, 1]
    horizontal, vertical = layout.chroma_width(16) < 16, layout.chroma_height(16) < 16
    return _LAYOUTS[ten_bit, int(horizontal), int(vertical and horizontal)]


def _read_color(picture: av.VideoFrame) -> Color:
    full = picture.format.name.startswith("yuvj") or picture.color_range == ColorRange.JPEG
    numbers = (int(picture.colorspace), int(picture.color_primaries), int(picture.color_trc))
    matrix, primaries, transfer = (number if 0 < number < 256 else 2 for number in numbers)  # 0 and 3 are reserved
    return Color(matrix, primaries, transfer, full)


def _sws_matrix(matrix: int) -> SwsMatrix:
    return {5: SwsMatrix.ITU601, 6: SwsMatrix.ITU601, 9: SwsMatrix.BT2020}.get(matrix, SwsMatrix.ITU709)
