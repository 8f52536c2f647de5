"""The choice of mouths: near in shape and pose, in runs, and never a mouth that does not belong."""

import tracemalloc

import numpy as np
import pytest

from services.lipsync.engines.rewrite import shape
from services.lipsync.engines.rewrite.fit import Range
from services.lipsync.engines.rewrite.library import Library
from services.lipsync.engines.rewrite.path import MAX_OPENING_ERROR, MAX_TURN, OWN, Path, Wish, find_path
from services.lipsync.engines.rewrite.shape import Measure
from services.runtime.faces import CropOutcome

KNOWN = Range(np.zeros(shape.MEASURES), np.full(shape.MEASURES, 0.2))


def make_library(measures: np.ndarray, yaw: np.ndarray | float = 0.0) -> Library:
    n = len(measures)
    poses = np.tile(np.float32([0, 0, 0, 80]), (n, 1))
    poses[:, 0] = yaw
    return Library(
        np.arange(n),
        np.zeros((n, 468, 3), np.int16),
        measures.astype(np.float32),
        poses,
        np.ones(n, np.float32),
        np.full((n, 3), 128, np.float32),
        np.zeros(n, np.int64),
        np.zeros(0, np.uint8),
    )


def make_measures(openings: np.ndarray) -> np.ndarray:
    measures = np.zeros((len(openings), shape.MEASURES))
    measures[:, Measure.OPENING] = openings
    measures[:, Measure.LOWER_LIP] = openings
    return measures


def wish_for(openings: np.ndarray, own: float | np.ndarray = 0.0, yaw: float | np.ndarray = 0.0) -> Wish:
    n = len(openings)
    poses = np.tile([0.0, 0.0, 0.0, 80.0], (n, 1))
    poses[:, 0] = yaw
    return Wish(make_measures(openings), make_measures(np.broadcast_to(own, n)), poses, np.arange(n))


def wander(n: int, seed: int = 0) -> np.ndarray:
    """Openings of a mouth that speaks."""
    steps = np.random.default_rng(seed).normal(0, 1, n + 8)
    smooth = np.convolve(steps, np.hanning(9), mode="valid")
    return np.clip(0.1 + 0.05 * smooth, 0, 0.3)


def test_a_stretch_of_the_source_is_found_again_as_it_was() -> None:
    openings = wander(200)
    path = find_path(wish_for(openings[60:100], own=0.29), make_library(make_measures(openings)), KNOWN)
    np.testing.assert_array_equal(path.candidates, np.arange(60, 100))
    assert (path.outcomes == CropOutcome.SYNCED).all()


def test_shapes_are_near_what_is_wanted() -> None:
    openings, wanted = wander(400), wander(150, seed=9)
    path = find_path(wish_for(wanted, own=0.29), make_library(make_measures(openings)), KNOWN)
    assert np.abs(openings[path.candidates] - wanted).mean() < 0.02


def test_no_mouth_is_taken_from_a_head_turned_otherwise() -> None:
    openings = wander(300)
    yaws = np.linspace(-40, 40, 300)
    wish = wish_for(wander(120, seed=3), yaw=np.linspace(-60, 60, 120))
    path = find_path(wish, make_library(make_measures(openings), yaws), KNOWN)
    synced = path.candidates != OWN
    assert synced.any()
    assert (np.abs(yaws[path.candidates[synced]] - wish.poses[synced, 0]) <= MAX_TURN[0]).all()
    beyond = np.abs(wish.poses[:, 0]) > 40 + MAX_TURN[0]
    assert (path.candidates[beyond] == OWN).all()


def test_own_pixels_move_where_no_mouth_is_near() -> None:
    library = make_library(make_measures(np.linspace(0.1, 0.12, 20)))
    shut = find_path(wish_for(np.full(10, 0.1 - 0.2 * MAX_OPENING_ERROR - 0.005), own=0.1), library, KNOWN)
    assert (shut.outcomes == CropOutcome.WARPED).all()
    turned = find_path(wish_for(np.full(10, 0.12), own=0.0, yaw=MAX_TURN[0] + 1), library, KNOWN)
    assert (turned.outcomes == CropOutcome.DRAWN).all()


def test_the_widest_mouth_stands_for_one_wider_still() -> None:
    library = make_library(make_measures(wander(200)))
    wanted = np.concatenate([np.full(6, 0.2), np.full(3, 0.5), np.full(6, 0.2)])
    path = find_path(wish_for(wanted, own=0.02), library, KNOWN)
    assert (path.outcomes == CropOutcome.SYNCED).all()
    assert (library.measures[path.candidates[6:9], Measure.OPENING] > 0.2).all()


def test_a_mouth_is_not_left_for_a_single_frame() -> None:
    openings = wander(300)
    wanted = np.clip(wander(200, seed=5) + np.random.default_rng(5).normal(0, 0.01, 200), 0, None)
    steps = np.diff(find_path(wish_for(wanted, own=0.4), make_library(make_measures(openings)), KNOWN).candidates)
    jumps = (np.abs(steps) > 2).astype(int)
    assert 0 < jumps.sum() < 0.15 * len(steps)
    assert not (jumps[1:] & jumps[:-1]).any()


@pytest.mark.parametrize("mouths", [0, 1, 40])
def test_without_open_mouths_the_inside_is_drawn(mouths: int) -> None:
    path = find_path(wish_for(np.full(12, 0.15)), make_library(make_measures(np.full(mouths, 0.01))), KNOWN)
    assert (path.outcomes == CropOutcome.DRAWN).all()
    assert (path.candidates == OWN).all()


def test_a_closed_mouth_is_left_its_own_in_silence() -> None:
    path = find_path(wish_for(np.zeros(30), own=0.0), make_library(make_measures(wander(100))), KNOWN)
    assert (path.candidates == OWN).all()


def test_an_open_mouth_is_replaced_by_a_closed_one_in_silence() -> None:
    openings = np.where(np.arange(100) < 50, 0.0, 0.2)
    path = find_path(wish_for(np.zeros(30), own=0.2), make_library(make_measures(openings)), KNOWN)
    assert (path.candidates != OWN).all()
    assert (openings[path.candidates] == 0).all()


def test_frames_without_a_face_pass_through() -> None:
    wish = wish_for(wander(30), own=0.29)
    wish.poses[10:14] = np.nan
    wish.own[10:14] = np.nan
    path = find_path(wish, make_library(make_measures(wander(60))), KNOWN)
    assert (path.outcomes[10:14] == CropOutcome.PASSED_THROUGH).all()
    assert (path.outcomes[:10] == CropOutcome.SYNCED).all()
    assert (path.outcomes[14:] == CropOutcome.SYNCED).all()


def test_nothing_wanted_is_nothing_chosen() -> None:
    path = find_path(wish_for(np.zeros(0)), make_library(make_measures(wander(5))), KNOWN)
    assert isinstance(path, Path)
    assert len(path.candidates) == 0


def test_memory_grows_by_little_per_frame() -> None:
    library = make_library(make_measures(wander(2000)))
    wish = wish_for(wander(4000, seed=2), own=0.29)
    tracemalloc.start()
    find_path(wish, library, KNOWN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * 2**20 + 4000 * 1000  # of 100,000 frames: 160 MB
