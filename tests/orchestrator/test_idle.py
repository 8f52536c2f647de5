"""A photo's head that moves by itself, on the portrait that scikit-image carries."""

from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest

from services.orchestrator.compositing import CropWindow
from services.orchestrator.eyelids import close_eyes, find_eyes, measure_closing, schedule_blinks
from services.orchestrator.idle import IdleMotion
from services.orchestrator.timeline import PHOTO_RATE, build_photo_timeline
from services.runtime.frames import Frame, FrameFormat, PixelFormat
from tests.stages import portrait

SECONDS = 40
FRAMES = SECONDS * PHOTO_RATE
TIMELINE = build_photo_timeline(Fraction(SECONDS))
EYES = np.s_[92:110, 188:262]
PUPIL = 60  # luma under which a pixel is pupil, iris or lash


def to_frame(photo: np.ndarray, pixel_format: PixelFormat = PixelFormat.YUV420P) -> Frame:
    """Planes of any layout, their colour roughly right."""
    frame_format = FrameFormat(photo.shape[1], photo.shape[0], pixel_format)
    planes = cv2.split(cv2.cvtColor(photo, cv2.COLOR_RGB2YUV))
    scale = 1 if frame_format.bit_depth == 8 else 4
    sized = [
        cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_AREA).astype(frame_format.dtype) * scale
        for plane, shape in zip(planes, frame_format.plane_shapes, strict=True)
    ]
    return Frame(0, frame_format, tuple(plane.astype(frame_format.dtype) for plane in sized))


@cache
def idle(strength: float = 1.0, seed: str = "job") -> IdleMotion:
    photo, mesh = portrait()
    return IdleMotion(mesh, to_frame(photo).format, TIMELINE, strength, seed)


WHOLE = CropWindow.of(0, 0, 512)


def test_the_video_begins_with_the_photo_and_what_is_far_from_the_head_stays() -> None:
    photo = to_frame(portrait()[0])
    for plane, own in zip(idle().move_picture(photo, 0).planes, photo.planes, strict=True):
        np.testing.assert_array_equal(plane, own)
    moved = idle().move_picture(photo, 300)
    changed = moved.planes[0] != photo.planes[0]
    assert changed[60:190, 160:290].mean() > 0.5
    for still in (np.s_[350:, :], np.s_[:, 400:], np.s_[:, :40], np.s_[[0, -1], :], np.s_[:, [0, -1]]):
        assert not changed[still].any()
    assert [plane.shape for plane in moved.planes] == [plane.shape for plane in photo.planes]


def test_a_frame_depends_on_its_number_and_the_seed_alone() -> None:
    photo, mesh = portrait()
    again = IdleMotion(mesh, to_frame(photo).format, TIMELINE, 1.0, "job")
    frames = [333, 41, 999]
    for number in frames:
        one, other = idle().move_picture(to_frame(photo), number), again.move_picture(to_frame(photo), number)
        np.testing.assert_array_equal(one.planes[0], other.planes[0])
    assert idle().key == again.key
    assert idle(seed="another").key != again.key
    ours, theirs = (motion.move_mesh(mesh, WHOLE, 333) for motion in (again, idle(seed="another")))
    assert np.abs(ours - theirs).max() > 0.5


def test_the_mesh_goes_where_the_picture_goes() -> None:
    photo, mesh = portrait()
    marked = np.full_like(photo, 40)
    spots = [1, 152, 61, 291, 10]  # nose, chin, corners of the mouth, forehead
    for spot in spots:
        cv2.circle(marked, tuple(np.round(16 * (mesh[spot, :2] - 0.5)).astype(int).tolist()), 48, (250,) * 3, -1, 16, 4)
    window = CropWindow.of(100, 60, 256)
    crop_mesh = (mesh - np.array([100, 60, 0], np.float32)) * np.float32(window.crop_scale)
    furthest = 0.0
    for number in range(100, FRAMES, 180):
        luma = idle().move_picture(to_frame(marked), number).planes[0].astype(float) - 50
        found = idle().move_mesh(crop_mesh, window, number)[:, :2] / window.crop_scale + (100, 60)
        for spot in spots:
            x, y = found[spot].astype(int)
            part = np.maximum(luma[y - 7 : y + 8, x - 7 : x + 8], 0)
            rows, columns = np.mgrid[y - 7 : y + 8, x - 7 : x + 8] + 0.5
            shown = np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum()
            assert shown == pytest.approx(found[spot], abs=0.3)
            furthest = max(furthest, float(np.abs(found[spot] - mesh[spot, :2]).max()))
    assert furthest > 1


def test_movements_are_small_slow_and_do_not_come_again() -> None:
    mesh = portrait()[1]
    nose = np.array([idle().move_mesh(mesh, WHOLE, number)[1, :2] for number in range(FRAMES)])
    width = np.ptp(mesh[:, 0])
    away = nose - mesh[1, :2]
    assert 0.01 * width < away.std(axis=0).max() < 0.05 * width
    assert np.abs(away).max() < 0.1 * width
    assert np.linalg.norm(np.diff(nose, axis=0), axis=1).max() < 0.01 * width
    later = away[10 * PHOTO_RATE :]
    for shift in range(2 * PHOTO_RATE, 20 * PHOTO_RATE, 5):
        assert np.abs(later[shift:] - later[:-shift]).max() > 0.01 * width


def test_strength_scales_the_movement() -> None:
    mesh = portrait()[1]
    whole, half = (idle(strength).move_mesh(mesh, WHOLE, 200)[1] - mesh[1] for strength in (1.0, 0.5))
    assert half == pytest.approx(whole / 2, abs=0.02)


def test_blinks_come_irregularly_and_every_one_closes_the_eyes() -> None:
    blinks = schedule_blinks(600, PHOTO_RATE, np.random.default_rng(0))
    pauses = np.diff(blinks[:, 0])
    assert 1.9 < pauses.min() < 3 < 5 < pauses.max() < 6.1
    assert ((blinks[:, 1] >= 0.15) & (blinks[:, 1] <= 0.3)).all()
    closing = np.array([measure_closing(blinks, number / PHOTO_RATE) for number in range(600 * PHOTO_RATE)])
    shut = np.flatnonzero(closing == 1)
    assert len(np.unique(np.searchsorted(blinks[:, 0], shut / PHOTO_RATE))) == len(blinks)
    assert 0.02 < (closing > 0).mean() < 0.1
    assert measure_closing(blinks[:0], 3.0) == 0


def test_a_lid_comes_down_over_the_eye_and_nothing_else_changes() -> None:
    photo, mesh = portrait()
    frame, eyes = to_frame(photo), find_eyes(mesh)
    assert len(eyes) == 2
    steps = [close_eyes(frame.planes, eyes, closing)[0] for closing in (0, 0.25, 0.5, 0.75, 1)]
    np.testing.assert_array_equal(steps[0][EYES], frame.planes[0][EYES])
    dark = [int((luma[EYES] < PUPIL).sum()) for luma in steps]
    assert dark == sorted(dark, reverse=True)
    assert 0.08 * dark[0] < dark[-1] < 0.5 * dark[0]  # lashes stay, pupils do not
    for upper, lower in ((159, 145), (386, 374)):
        x, y = mesh[[upper, lower], :2].mean(axis=0).astype(int)
        opened, closed = (luma[y - 1 : y + 2, x - 1 : x + 2] for luma in (steps[0], steps[-1]))
        assert opened.min() < PUPIL < 2 * PUPIL < np.median(closed)  # the lid's skin
    changed = np.any([luma != frame.planes[0] for luma in steps], axis=0)
    changed[80:114, 182:268] = False
    assert not changed.any()


def test_eyes_that_are_shut_in_the_photo_stay_so() -> None:
    mesh = portrait()[1].copy()
    mesh[[7, 163, 144, 145, 153, 154, 155]] = mesh[[246, 161, 160, 159, 158, 157, 173]]
    assert find_eyes(mesh) == []  # the other eye alone would wink
    assert find_eyes(mesh * 0) == []


@pytest.mark.parametrize(
    "pixel_format", [PixelFormat.YUV420P, PixelFormat.YUV422P, PixelFormat.YUV444P, PixelFormat.YUV420P10]
)
@pytest.mark.parametrize("crop", [np.s_[:, :], np.s_[60:181, 171:272], np.s_[90:, 200:]])
def test_any_layout_and_any_cut_of_the_face(pixel_format: PixelFormat, crop: tuple[slice, slice]) -> None:
    photo, mesh = portrait()
    frame = to_frame(np.ascontiguousarray(photo[crop]), pixel_format)
    corner = np.array([crop[1].start or 0, crop[0].start or 0, 0], np.float32)
    motion = IdleMotion(mesh - corner, frame.format, TIMELINE, 1.0, "job")
    blinking = next(number for number in range(FRAMES) if measure_closing(motion.blinks, number / PHOTO_RATE))
    for number in (blinking, 500):
        moved = motion.move_picture(frame, number)
        assert [plane.shape for plane in moved.planes] == frame.format.plane_shapes
        for plane, own in zip(moved.planes, frame.planes, strict=True):
            assert plane.dtype == own.dtype
            assert plane.max() <= (255 if frame.format.bit_depth == 8 else 1023)
