"""Every measure on mouths, sounds and pictures whose truth is known."""

import cv2
import numpy as np
import pytest

from benchmarks.quality import measures, pictures
from tests.lipsync import people

RATE = 16000
FRAME = 0.04  # seconds
TIMES = np.arange(100) * FRAME
NEVER = np.zeros(100, bool)


def mouths(openings: np.ndarray) -> np.ndarray:
    """Meshes of the face frame, the head held still."""
    return people.make_points(people.open_mouths(openings))


def wobble(count: int = 100, seed: int = 3) -> np.ndarray:
    """Openings of speech: smooth, from 0 to about 1."""
    noise = np.random.default_rng(seed).standard_normal(count + 20)
    smooth = np.convolve(noise, np.hanning(7), "same")[10:-10]
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth))


def test_opening_is_in_eye_distances_whatever_the_head_does() -> None:
    points = mouths(np.array([0.05, 0.15]))
    still, turned = people.pose(points, scale=50), people.pose(points, yaw=25, pitch=-10, roll=15, scale=140)
    opening = measures.measure_opening(still)
    assert opening[1] - opening[0] == pytest.approx(0.1, abs=0.02)
    assert measures.measure_opening(turned) == pytest.approx(opening, rel=1e-4)


def test_aligned_meshes_are_free_of_place_size_and_pose() -> None:
    points = mouths(np.array([0.0, 0.1]))
    reference = people.pose(points[:1])[0]
    upright = measures.align_meshes(people.pose(points), reference)
    turned = measures.align_meshes(people.pose(points, yaw=30, roll=-20, scale=33, centre=(9, 400)), reference)
    assert turned == pytest.approx(upright, abs=1e-4)
    eyes = upright[0, measures.EYE_CORNERS[1]] - upright[0, measures.EYE_CORNERS[0]]
    assert np.linalg.norm(eyes) == pytest.approx(1, abs=1e-4)


def test_frames_without_a_face_stay_unknown() -> None:
    meshes = people.pose(mouths(np.zeros(3)))
    meshes[1] = np.nan
    aligned = measures.align_meshes(meshes, meshes[0])
    assert np.isnan(aligned[1]).all()
    assert np.isfinite(aligned[[0, 2]]).all()
    assert np.isnan(measures.measure_opening(meshes)[1])


def test_correlation_skips_the_unknown_and_knows_when_it_cannot_say() -> None:
    truth = wobble()
    other = 3 * truth + 1
    other[10:20] = np.nan
    assert measures.correlate(other, truth) == pytest.approx(1)
    assert measures.correlate(-truth, truth) == pytest.approx(-1)
    assert np.isnan(measures.correlate(np.ones(100), truth))
    assert np.isnan(measures.correlate(truth[:5], truth[:5]))


def test_lip_distance_is_0_for_the_truth_and_1_for_the_mean_mouth() -> None:
    truth = mouths(0.2 * wobble())[:, measures.LIPS]
    mean = truth.mean(axis=0)
    assert measures.lip_distance_ratio(truth, truth, mean) == 0
    assert measures.lip_distance_ratio(np.broadcast_to(mean, truth.shape), truth, mean) == pytest.approx(1)
    assert measures.lip_distance_ratio((truth + mean) / 2, truth, mean) == pytest.approx(0.5)
    assert measures.lip_distance(truth + np.array([0.03, 0.04, 0]), truth) == pytest.approx(0.05)


def test_a_closure_is_short_and_amid_speech() -> None:
    opening = np.full(100, 0.8)
    opening[20:22] = 0.05  # m
    opening[40:60] = 0.0  # a rest
    opening[70] = 0.1  # p, but in a pause
    opening[80] = 0.3  # not closed
    silent = NEVER.copy()
    silent[68:73] = True
    assert measures.find_closures(TIMES, opening, (0.0, 1.0), silent).tolist() == [20]
    assert measures.find_closures(TIMES, opening, (0.0, 1.0), NEVER).tolist() == [20, 70]


def test_closures_hit_within_a_frame_and_a_half() -> None:
    truth = np.ones(100)
    truth[[20, 40, 60, 80]] = 0
    closures = measures.find_closures(TIMES, truth, (0.0, 1.0), NEVER)
    other = np.ones(100)
    other[[21, 42]] = 0  # one frame late, and two
    other[60] = 0.2  # nearly closed
    assert measures.closure_hits(TIMES, closures, truth, (0.0, 1.0)) == 4
    assert measures.closure_hits(TIMES, closures, other, (0.0, 1.0)) == 2
    assert measures.closure_hits(TIMES, closures, np.full(100, np.nan), (0.0, 1.0)) == 0


@pytest.mark.parametrize("frames", [-4, -1, 0, 2, 5])
def test_offset_says_how_late_the_mouth_is(frames: int) -> None:
    sound = wobble(140)
    late = np.roll(sound, frames)[20:120]
    offset, correlation = measures.find_offset(TIMES, late, sound[20:120])
    assert offset == pytest.approx(40 * frames, abs=4)
    assert correlation > 0.98


def test_offset_without_a_peak_is_unknown() -> None:
    offset, _ = measures.find_offset(TIMES, np.sin(TIMES), np.sin(TIMES - 1))
    assert np.isnan(offset)


def test_offset_goes_below_a_frame() -> None:
    fine = np.sin(np.arange(0, 4, 0.01) * 9) + np.sin(np.arange(0, 4, 0.01) * 5.3)
    offset, _ = measures.find_offset(TIMES, np.interp(TIMES - 0.055, np.arange(0, 4, 0.01), fine), fine[::4])
    assert offset == pytest.approx(55, abs=6)


def speech_with_pause() -> np.ndarray:
    """Two seconds of noise with nothing from 0.8 to 1.4 s."""
    speech = 0.2 * np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)
    speech[int(0.8 * RATE) : int(1.4 * RATE)] = 0
    return speech


def test_loudness_is_in_decibels_of_full_scale() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    assert measures.measure_loudness(tone, RATE, np.array([0.5])) == pytest.approx(-3.01, abs=0.1)
    assert measures.measure_loudness(0.1 * tone, RATE, np.array([0.5])) == pytest.approx(-23.01, abs=0.1)


def test_silence_is_a_pause_without_its_ends() -> None:
    times = np.arange(50) * FRAME
    silent = measures.find_silence(speech_with_pause(), RATE, times)
    assert measures.find_runs(silent) == [(round(0.96 / FRAME), round(1.28 / FRAME))]
    hum = 0.1 * speech_with_pause() + 0.05
    assert not measures.find_silence(hum, RATE, times).any()


def test_rest_spread_is_that_of_pauses_alone() -> None:
    opening = wobble()
    silent = NEVER.copy()
    silent[20:40] = silent[60:80] = True
    opening[20:40], opening[60:80] = 0.1, 0.3  # two still rests, not alike
    assert measures.rest_spread(opening, silent) == pytest.approx(0)
    opening[20:80:2] += 0.02
    assert measures.rest_spread(opening, silent) == pytest.approx(0.01)
    assert np.isnan(measures.rest_spread(opening, NEVER))


def test_jitter_is_0_for_steady_motion_and_grows_with_trembling() -> None:
    steady = mouths(np.linspace(0, 0.2, 50))[:, measures.LIPS]
    noise = np.random.default_rng(2).normal(0, 0.01, steady.shape)
    assert measures.measure_jitter(steady) < 1e-3
    assert measures.measure_jitter(steady + 2 * noise) == pytest.approx(
        2 * measures.measure_jitter(steady + noise), rel=0.05
    )


def test_a_mouth_that_jumps_once_is_three_twitches() -> None:
    source = mouths(0.1 * wobble(200))[:, measures.LIPS]
    jumping = source[:100].copy()
    jumping[50] += 0.3
    before = measures.count_twitches(source[:100], source)
    assert before <= 2.1
    assert measures.count_twitches(jumping, source) - before == pytest.approx(100 * 3 / 98, abs=1.1)


def test_sharpness_is_compared_with_mouths_as_far_open() -> None:
    source_opening = wobble(200)
    source = 100 + 400 * source_opening  # open mouths show teeth
    opening = np.linspace(0.7, 0.9, 30)
    values = 0.5 * (100 + 400 * opening)
    assert measures.compare_alike(values, opening, source, source_opening) == pytest.approx(0.5, rel=0.1)


def test_identity_looks_past_the_mouth() -> None:
    points = mouths(np.array([0.0, 0.2]))
    meshes = people.pose(points)
    closed, opened = measures.align_meshes(meshes, meshes[0])
    assert measures.identity_distance(opened[None], closed[None]) < 0.2
    moved = closed.copy()
    moved[measures.IDENTITY, 0] += 0.02
    assert measures.identity_distance(moved[None], closed[None]) == pytest.approx(2)


@pytest.fixture
def face() -> tuple[np.ndarray, np.ndarray]:
    """A picture of a face, and its mesh."""
    mesh = people.pose(mouths(np.array([0.1])))[0]
    return people.paint(mesh), mesh


def test_blur_costs_sharpness(face: tuple[np.ndarray, np.ndarray]) -> None:
    picture, mesh = face
    sharp = pictures.measure_sharpness(picture, mesh)
    assert pictures.measure_sharpness(cv2.GaussianBlur(picture, (0, 0), 1.0), mesh) < 0.5 * sharp
    elsewhere = picture.copy()
    elsewhere[:80] = cv2.GaussianBlur(picture, (0, 0), 3)[:80]
    assert pictures.measure_sharpness(elsewhere, mesh) == sharp


def box_weight() -> np.ndarray:
    weight = np.zeros((people.CROP_SIDE, people.CROP_SIDE), np.uint8)
    weight[90:236, 60:200] = 255  # the lips lie well inside
    return weight


def test_a_step_along_the_border_is_a_seam(face: tuple[np.ndarray, np.ndarray]) -> None:
    picture, _ = face
    weight = box_weight()
    lighter = picture.copy()
    lighter[weight > 0] = np.clip(lighter[weight > 0].astype(int) + 20, 0, 255)
    assert pictures.seam_score(picture, weight) == pytest.approx(1, abs=0.2)
    assert pictures.seam_score(lighter, weight) > 1.5 * pictures.seam_score(picture, weight)
    assert np.isnan(pictures.seam_score(picture, np.zeros_like(weight)))


def test_a_ring_around_the_lips_is_found_where_it_is(face: tuple[np.ndarray, np.ndarray]) -> None:
    picture, mesh = face
    inside = pictures.lip_distances(picture.shape, mesh) < 0.33
    darker = picture.copy()
    darker[inside] = (0.85 * darker[inside]).astype(np.uint8)
    rise = pictures.ring_profile(darker, mesh) / pictures.ring_profile(picture, mesh)
    assert pictures.PROFILE[np.nanargmax(rise)] == pytest.approx(0.30)
    assert np.nanmax(rise) > 1.5


def test_a_head_that_moves_does_not_flicker_but_changing_light_does() -> None:
    points = mouths(np.array([0.1]))
    meshes = [people.pose(points, centre=(100 + 2 * step, 120.0))[0] for step in range(12)]
    shades = [cv2.GaussianBlur(people.paint(mesh), (0, 0), 2) for mesh in meshes]
    patches = np.stack([pictures.still_patch(*pair, meshes[0]) for pair in zip(shades, meshes, strict=True)])
    flashing = patches.copy()
    flashing[::2] += 8
    assert pictures.measure_flicker(patches) < 2
    assert pictures.measure_flicker(flashing) > 3 * pictures.measure_flicker(patches)
