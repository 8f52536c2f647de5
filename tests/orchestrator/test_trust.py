"""How much of a restored face is shown when the network cannot always be trusted."""

from collections.abc import Sequence

import numpy as np

from services.orchestrator.trust import Trust, show_share
from services.runtime.faces import Crop

FULL = np.full((16, 16, 4), 200, np.uint8)


def shown(trusts: Sequence[float | None], frames: Sequence[int] | None = None) -> list[float]:
    """How far the network's picture is in the end let in, frame after frame; 1: all of it."""
    trust = Trust()
    crops = [Crop(frame, 0, FULL, None, trust=each) for frame, each in zip(frames or range(99), trusts, strict=False)]
    return [trust.share(crop) * (1.0 if crop.trust is None else crop.trust) for crop in crops]


def test_a_network_that_fails_on_every_other_frame_does_not_flicker() -> None:
    steady = shown([1.0, 0.0] * 12)
    assert np.abs(np.diff(steady[1:])).max() <= 1 / 8


def test_what_is_not_trusted_goes_at_once_and_comes_back_by_little() -> None:
    steady = shown([1.0, 1.0, 0.25, *[1.0] * 8])
    assert steady[:3] == [1.0, 1.0, 0.25]
    assert np.allclose(np.diff(steady[2:]), [1 / 8] * 6 + [0] * 2)
    assert steady[-1] == 1


def test_no_more_is_ever_shown_than_is_trusted() -> None:
    trusts = np.random.default_rng(0).uniform(0, 1, 90).tolist()
    assert all(share <= trust + 1e-12 for share, trust in zip(shown(trusts), trusts, strict=True))


def test_a_face_that_was_away_begins_anew() -> None:
    assert shown([0.0, 1.0], [4, 6]) == [0.0, 1.0]


def test_a_restorer_without_a_network_is_always_shown_in_full() -> None:
    assert shown([None] * 3) == [1.0] * 3


def test_a_share_of_the_change_is_shown_and_the_weight_stays() -> None:
    sent, restored = (Crop(0, 0, FULL - np.array([below, 0, 0, 0], np.uint8), None, trust=1.0) for below in (100, 0))
    pixels = show_share(restored, sent, 0.25)
    assert (pixels == [125, 200, 200, 200]).all()
    assert show_share(restored, sent, 1.0) is restored.pixels
