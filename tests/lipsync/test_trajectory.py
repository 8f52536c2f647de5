"""The shown mouth's motion: smooth where mouths follow one another that were not filmed together, still at rest."""

import numpy as np

from services.lipsync.engines.rewrite import shape
from services.lipsync.engines.rewrite.path import OWN, Wish
from services.lipsync.engines.rewrite.shape import Measure
from services.lipsync.engines.rewrite.trajectory import NEIGHBOURS, mix_neighbours, plan_shapes

from .people import make_points, open_mouths
from .test_path import KNOWN, make_library, make_measures, wish_for

INTERVAL = 1 / 25  # seconds


def plan_openings(candidates: np.ndarray, openings: np.ndarray, wish: Wish) -> np.ndarray:
    library = make_library(make_measures(openings))
    return plan_shapes(candidates.astype(np.int32), wish, library, KNOWN, INTERVAL)[:, Measure.OPENING]


def test_a_jump_between_mouths_is_no_jump_of_the_lips() -> None:
    wanted = 0.12 + 0.06 * np.sin(np.arange(40) / 2)
    candidates = np.where(np.arange(40) < 20, 0, 1)
    shown = plan_openings(candidates, np.array([0.08, 0.16]), wish_for(wanted))
    assert np.abs(np.diff(shown)).max() < 1.2 * np.abs(np.diff(wanted)).max()
    assert np.abs(np.diff(shown, n=2)).max() < 1.2 * np.abs(np.diff(wanted, n=2)).max()


def test_a_recorded_mouth_is_believed_in_part() -> None:
    wanted = 0.12 + 0.06 * np.sin(np.arange(40) / 2)
    shown = plan_openings(np.zeros(40), np.array([0.14]), wish_for(wanted))
    assert np.abs(shown - wanted).max() < np.abs(0.14 - wanted).max() / 2
    assert np.abs(shown - wanted).max() > 0.005


def test_rest_is_still_whatever_the_mouths_do() -> None:
    trembling = 0.02 + 0.002 * np.random.default_rng(2).normal(size=60)
    wish = wish_for(trembling)
    own = plan_openings(np.full(60, OWN), np.array([0.02]), wish)
    assert own.std() < trembling.std() / 2
    mixed = plan_openings(np.arange(60) // 12 % 2, np.array([0.01, 0.04]), wish)
    assert mixed.std() < 0.002


def test_lips_closed_for_a_moment_stay_closed() -> None:
    wanted = 0.12 + 0.06 * np.sin(np.arange(60) / 2)
    wanted[28:36] = 0.0
    shown = plan_openings(np.full(60, OWN), np.array([0.05]), wish_for(wanted))
    assert np.abs(shown[30:34]).max() < 0.005


def test_own_frames_show_what_is_wanted() -> None:
    wanted = 0.12 + 0.06 * np.sin(np.arange(40) / 2)
    shown = plan_openings(np.full(40, OWN), np.array([0.05]), wish_for(wanted))
    np.testing.assert_allclose(shown, wanted, atol=1e-3)


def test_no_frames_and_one_frame() -> None:
    for frames in (0, 1):
        shown = plan_openings(np.zeros(frames), np.array([0.1]), wish_for(np.full(frames, 0.1)))
        assert shown.shape == (frames,)
        assert np.isfinite(shown).all()


def test_frames_around_share_their_mouths() -> None:
    shut, wide = make_points(open_mouths(np.array([0.0, 0.3])))
    openings = [
        shape.measure_points(mix_neighbours(shut, list(mouths))[None])[0, Measure.OPENING]
        for mouths in ([None] * 5, [None, None, None, wide, wide], [None, None, wide, wide, wide], [wide] * 5)
    ]
    own = shape.measure_points(shut[None])[0, Measure.OPENING]
    np.testing.assert_allclose((np.array(openings) - own) / (openings[-1] - own), [0, 1 / 3, 2 / 3, 1], atol=0.02)
    assert NEIGHBOURS.sum() == 1
