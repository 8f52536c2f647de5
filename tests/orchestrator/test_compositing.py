"""Crops out of frames and back: what was not changed stays as it was, to the bit."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.compositing import CropWindow, cut, cut_crop, make_view, paste_crop
from services.orchestrator.encoding import to_picture
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat

PLANAR = [pixel_format for pixel_format in PixelFormat if pixel_format < PixelFormat.RGB24]
BT709 = Color(matrix=1, primaries=1, transfer=1)


def paste(frame: Frame, window: CropWindow, crop: np.ndarray) -> Frame:
    return paste_crop(frame, window, cut(frame, window), crop)


def make_frame(
    width: int, height: int, pixel_format: PixelFormat = PixelFormat.YUV420P, color: Color = BT709, seed: int = 0
) -> Frame:
    """Smooth colours that RGB can hold, with some grain; planes that cannot be written to, as decoded ones are."""
    random = np.random.default_rng(seed)
    frame_format = FrameFormat(width, height, pixel_format, color)
    scale = 4 if frame_format.bit_depth == 10 else 1
    planes = []
    for index, shape in enumerate(frame_format.plane_shapes):
        rough = random.uniform(115, 141, (4, 4)) if index else random.uniform(70, 180, (4, 4))
        smooth = cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC) + random.normal(0, 2, shape)
        plane = np.clip(smooth * scale, 16 * scale, 235 * scale).astype(frame_format.dtype)
        plane.flags.writeable = False
        planes.append(plane)
    return Frame(7, frame_format, tuple(planes))


def make_flat(rgb: tuple[int, int, int], color: Color, pixel_format: PixelFormat, height: int = 64) -> Frame:
    """A frame of one colour, by the formulas of the standards."""
    red, blue = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[color.matrix]
    r, g, b = (value / 255 for value in rgb)
    luma = red * r + (1 - red - blue) * g + blue * b
    levels = luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    frame_format = FrameFormat(64, height, pixel_format, color)
    ten_bit = frame_format.bit_depth == 10
    if color.full_range:
        top = 1023 if ten_bit else 255
        samples = levels[0] * top, levels[1] * top + (top + 1) / 2, levels[2] * top + (top + 1) / 2
    else:
        step = 4 if ten_bit else 1
        samples = (219 * levels[0] + 16) * step, (224 * levels[1] + 128) * step, (224 * levels[2] + 128) * step
    planes = [
        np.full(shape, round(sample), frame_format.dtype)
        for shape, sample in zip(frame_format.plane_shapes, samples, strict=True)
    ]
    return Frame(0, frame_format, tuple(planes))


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | int) -> np.ndarray:
    return np.dstack([rgb, np.broadcast_to(np.uint8(alpha), rgb.shape[:2])])


@pytest.mark.parametrize("rgb", [(255, 255, 255), (0, 0, 0), (200, 30, 60), (20, 180, 70), (40, 60, 220)])
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixel_format", [PixelFormat.YUV420P, PixelFormat.YUV444P10])
def test_colours_are_right(rgb: tuple[int, int, int], matrix: int, full_range: bool, pixel_format: PixelFormat) -> None:
    frame = make_flat(rgb, Color(matrix=matrix, full_range=full_range), pixel_format)
    assert np.abs(cut_crop(frame, CropWindow.of(8, 8, 32)).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize(("height", "matrix"), [(480, 6), (719, 6), (720, 1), (1080, 1)])
def test_unspecified_colour_goes_by_height(height: int, matrix: int) -> None:
    named = make_flat((200, 30, 60), Color(matrix=matrix), PixelFormat.YUV420P, height)
    unnamed = Frame(0, FrameFormat(64, height, PixelFormat.YUV420P), named.planes)
    window = CropWindow.of(0, 0, 32)
    assert np.array_equal(cut_crop(named, window), cut_crop(unnamed, window))


@given(
    st.sampled_from(PLANAR),
    st.integers(-80, 120),
    st.integers(-80, 120),
    st.integers(2, 80),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=120, deadline=None)
def test_an_unchanged_crop_changes_nothing(
    pixel_format: PixelFormat, x: int, y: int, half_side: int, scaled: bool, seed: int
) -> None:
    frame = make_frame(96, 130, pixel_format, seed=seed)
    side = 2 * half_side
    window = CropWindow(2 * (x // 2), 2 * (y // 2), side, max(2, side * 2 // 3) if scaled else side)
    pasted = paste(frame, window, with_alpha(cut_crop(frame, window), 255))
    for before, after in zip(frame.planes, pasted.planes, strict=True):
        assert np.array_equal(before, after)


@given(
    st.sampled_from(PLANAR),
    st.integers(-20, 40).map(lambda half: 2 * half),
    st.integers(-20, 40).map(lambda half: 2 * half),
    st.integers(8, 40).map(lambda half: 2 * half),
    st.data(),
)
@settings(max_examples=120, deadline=None)
def test_nothing_changes_where_a_is_zero(
    pixel_format: PixelFormat, x: int, y: int, side: int, data: st.DataObject
) -> None:
    frame, window = make_frame(96, 130, pixel_format), CropWindow.of(x, y, side)
    left, top = data.draw(st.integers(0, side - 1)), data.draw(st.integers(0, side - 1))
    alpha = np.zeros((side, side), np.uint8)
    alpha[top : top + side // 3, left : left + side // 2] = data.draw(st.integers(1, 255))
    pasted = paste(frame, window, with_alpha(255 - cut_crop(frame, window), alpha))

    touched = np.zeros((130 + 2 * 200, 96 + 2 * 200), bool)
    touched[200 + y : 200 + y + side, 200 + x : 200 + x + side] = alpha > 0
    touched = touched[200:-200, 200:-200]
    for before, after in zip(frame.planes, pasted.planes, strict=True):
        horizontal, vertical = 96 // before.shape[1], 130 // before.shape[0]
        blocks = touched.reshape(before.shape[0], vertical, before.shape[1], horizontal).any((1, 3))
        assert np.array_equal(before[~blocks], after[~blocks])
    assert pasted.format == frame.format
    assert pasted.pts == frame.pts


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_a_new_crop_is_what_the_frame_then_shows(pixel_format: PixelFormat) -> None:
    frame, other = make_frame(160, 160, pixel_format), make_frame(160, 160, pixel_format, seed=1)
    window = CropWindow.of(30, 40, 96)
    new = cut_crop(other, window)
    shown = cut_crop(paste(frame, window, with_alpha(new, 255)), window)
    off = np.abs(shown.astype(int) - new)
    assert np.percentile(off[2:-2, 2:-2], 99) <= 6  # chroma between two samples is interpolated, not stored
    assert off[2:-2, 2:-2].mean() < 1.5


def test_luma_of_a_new_crop_is_exact_to_one_code_value() -> None:
    frame, other = make_frame(160, 160), make_frame(160, 160, seed=1)
    window = CropWindow.of(30, 40, 96)
    pasted = paste(frame, window, with_alpha(cut_crop(other, window), 255))
    part = np.s_[40:136, 30:126]
    off = np.abs(pasted.planes[0][part].astype(int) - other.planes[0][part])
    assert off.max() <= 2  # a code value each for the old and the new crop's rounding to 8-bit RGB
    assert off.mean() < 0.5


def test_alpha_blends_in_between() -> None:
    frame = make_flat((50, 50, 50), BT709, PixelFormat.YUV420P)
    window = CropWindow.of(0, 0, 64)
    pasted = paste(frame, window, with_alpha(np.full((64, 64, 3), 150, np.uint8), 128))
    assert np.abs(cut_crop(pasted, window).astype(int) - 100).max() <= 2


def test_ten_bits_survive_under_a_changed_crop() -> None:
    ramp = np.tile(np.arange(400, 496, dtype=np.uint16), (96, 1))  # one step of 10 bits per pixel
    gray = np.full((48, 48), 512, np.uint16)
    frame = Frame(0, FrameFormat(96, 96, PixelFormat.YUV420P10, BT709), (ramp, gray, gray))
    window = CropWindow.of(0, 0, 96)
    brighter = cut_crop(frame, window) + np.uint8(20)
    after = paste(frame, window, with_alpha(brighter, 255)).planes[0].astype(int)
    assert np.all(np.diff(after) == 1)  # not the steps of four that an 8-bit crop has
    assert after.max() <= 1023


def test_samples_stay_in_range() -> None:
    for pixel_format, top in (PixelFormat.YUV420P10, 1023), (PixelFormat.YUV420P, 255):
        frame = make_flat((250, 250, 250), Color(matrix=1, full_range=True), pixel_format)
        planes = tuple(plane.copy() for plane in frame.planes)
        planes[0][:] = top
        frame = Frame(0, frame.format, planes)
        window = CropWindow.of(0, 0, 64)
        white = paste(frame, window, with_alpha(np.full((64, 64, 3), 255, np.uint8), 255))
        black = paste(frame, window, with_alpha(np.zeros((64, 64, 3), np.uint8), 255))
        assert white.planes[0].max() <= top
        assert black.planes[0].max() <= 4


def test_a_large_window_is_scaled_down_and_back_up() -> None:
    frame, other = make_frame(800, 900), make_frame(800, 900, seed=1)
    window = CropWindow.of(20, 40, 768)
    assert window.pixels == 512
    assert window.crop_scale == pytest.approx(2 / 3)
    crop = cut_crop(other, window)
    assert crop.shape == (512, 512, 3)
    shown = cut_crop(paste(frame, window, with_alpha(crop, 255)), window)
    assert np.abs(shown.astype(int) - crop)[8:-8, 8:-8].mean() < 2


def test_a_scaled_crop_takes_the_old_detail_away_where_it_changes_the_picture() -> None:
    stripes = np.full((1024, 1024), 100, np.uint8)
    stripes[:, ::2] = 140  # finer than the crop can carry
    chroma = np.full((512, 512), 128, np.uint8)
    frame = Frame(0, FrameFormat(1024, 1024, PixelFormat.YUV420P, BT709), (stripes, chroma, chroma))
    window = CropWindow.of(0, 0, 1024)
    crop = cut_crop(frame, window)
    crop[:256] = 20  # a new, dark and smooth upper half
    after = paste(frame, window, with_alpha(crop, 255)).planes[0]
    assert np.ptp(after[:480]) <= 2
    assert np.array_equal(after[560:], stripes[560:])


def test_the_edge_is_repeated_outside() -> None:
    frame = make_frame(64, 64, PixelFormat.YUV444P)
    crop = cut_crop(frame, CropWindow.of(-40, -40, 60))
    assert np.all(crop[:40, :40] == crop[40, 40])
    assert np.array_equal(crop[40:, 40:], cut_crop(frame, CropWindow.of(0, 0, 20)))


def test_a_window_wholly_outside_changes_nothing() -> None:
    frame, window = make_frame(64, 64), CropWindow.of(200, -300, 60)
    pasted = paste(frame, window, with_alpha(np.zeros((60, 60, 3), np.uint8), 255))
    assert all(before is after for before, after in zip(frame.planes, pasted.planes, strict=True))


def test_a_crop_without_weight_returns_the_frame_itself() -> None:
    frame, window = make_frame(64, 64), CropWindow.of(0, 0, 32)
    assert paste(frame, window, with_alpha(np.zeros((32, 32, 3), np.uint8), 0)) is frame


def test_pasting_leaves_the_given_frame_alone() -> None:
    frame = make_frame(64, 64)
    before = [plane.copy() for plane in frame.planes]
    paste(frame, CropWindow.of(0, 0, 32), with_alpha(np.zeros((32, 32, 3), np.uint8), 255))
    assert all(np.array_equal(old, plane) for old, plane in zip(before, frame.planes, strict=True))


@pytest.mark.parametrize(
    ("size", "view_size"), [((1080, 1920), (360, 640)), ((3840, 2160), (640, 360)), ((590, 524), (590, 524))]
)
def test_a_view_shows_the_whole_frame(size: tuple[int, int], view_size: tuple[int, int]) -> None:
    frame = make_frame(*size)
    view = make_view(frame)
    assert view.shape == (view_size[1], view_size[0], 3)
    corner = cut_crop(frame, CropWindow.of(0, 0, 64)).mean((0, 1))
    side = max(1, round(64 * view_size[0] / size[0]))
    assert np.abs(view[:side, :side].mean((0, 1)) - corner).max() < 4


@pytest.mark.parametrize(("x", "side", "pixels"), [(1, 32, 32), (0, 31, 31), (0, 32, 64), (0, 0, 0)])
def test_a_window_off_the_even_grid_is_refused(x: int, side: int, pixels: int) -> None:
    with pytest.raises(ValueError, match="a crop"):
        CropWindow(x, 0, side, pixels)


@pytest.mark.parametrize("pixel_format", [PixelFormat.YUV420P, PixelFormat.YUV420P10])
def test_super_whites_and_blacks_stay_where_the_crop_changes_elsewhere(pixel_format: PixelFormat) -> None:
    """RGB of 8 bits cannot hold them; the frame keeps its own samples all the same."""
    frame_format = FrameFormat(64, 64, pixel_format, BT709)
    scale = 4 if frame_format.bit_depth == 10 else 1
    planes = [np.full(shape, 128 * scale, frame_format.dtype) for shape in frame_format.plane_shapes]
    planes[0][:, :20], planes[0][:, 20:40] = 250 * scale, 4 * scale
    frame, window = Frame(0, frame_format, tuple(planes)), CropWindow.of(0, 0, 64)
    crop = cut_crop(frame, window)
    crop[:, 44:] += 30
    pasted = paste(frame, window, with_alpha(crop, 255))
    assert np.array_equal(pasted.planes[0][:, :40], planes[0][:, :40])
    assert (pasted.planes[0][:, 48:] > planes[0][:, 48:]).all()


def test_pixels_outside_the_mask_are_the_sources_own_when_they_reach_the_encoder() -> None:
    """From the frame that came to the picture that is encoded, through the copy between them."""
    frame = make_frame(96, 130, PixelFormat.YUV420P10)
    window = CropWindow.of(16, 20, 48)
    alpha = np.zeros((48, 48), np.uint8)
    alpha[10:30, 12:36] = 255
    picture, own = to_picture(frame)
    paste_crop(own, window, cut(frame, window), with_alpha(255 - cut_crop(frame, window), alpha), in_place=True)
    for index, (plane, source) in enumerate(zip(picture.planes, frame.planes, strict=True)):
        shift = 1 if index else 0
        encoded = np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)[:, : source.shape[1]]
        outside = np.ones(source.shape, bool)
        outside[30 >> shift : 50 >> shift, 28 >> shift : 52 >> shift] = False
        assert np.array_equal(encoded[outside], source[outside])
        assert not np.array_equal(encoded, source)
