"""RetinaFace's anchors beside the reference, coarse to fine with a network that is told what to see."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from services.detector.config import DetectorConfig
from services.detector.engines import TrackSettings, load_engines
from services.detector.engines._anchors import decode, make_priors, suppress
from services.detector.engines._confirmed import ConfirmedDetector
from services.detector.engines.retinaface import open_networks
from services.runtime.engine import EngineInfo

PHOTO = skimage.data.astronaut()  # her face is about 90 pixels wide, around x 222, y 115
SETTINGS = TrackSettings((512, 512), (512, 512))


def test_decoding_and_suppression_are_the_reference_s() -> None:
    """Expected: what biubug6/Pytorch_Retinaface makes of the same random outputs for a picture of 64 x 96 pixels."""
    random = np.random.RandomState(11)
    boxes, points = (random.uniform(-1, 1, (252, width)).astype(np.float32) for width in (4, 10))
    faces = random.uniform(0, 1, 252).astype(np.float32)
    scores = np.stack([1 - faces, faces], axis=1)
    assert len(make_priors(64, 96)) == 252
    corners, sure, five = decode((boxes, scores, points), (64, 96), 0.6)
    kept = suppress(corners)
    assert len(kept) == 62
    assert corners[kept[:3]] == pytest.approx(
        np.array([
            [45.8466, 56.15, 74.1841, 93.56], [2.916, 6.9284, 75.4151, 68.3438], [37.2786, 42.8779, 51.4272, 58.6129]
        ]),
        abs=1e-3,
    )  # fmt: skip
    assert five[kept[0]].ravel() == pytest.approx(
        np.array([61.997, 76.934, 61.602, 78.904, 59.601, 77.898, 57.708, 78.177, 57.553, 77.892]), abs=1e-3
    )
    assert sure[kept[:3]] == pytest.approx([0.989334, 0.987805, 0.985907], abs=1e-6)


class Seeing:
    """A network that sees one upright face in the middle of every picture at least `least` pixels large, or none."""

    def __init__(self, score: float) -> None:
        self.score = score
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        (pictures,) = inputs
        self.shapes.append(pictures.shape)
        batch, _, height, width = pictures.shape
        priors = make_priors(width, height)
        boxes, points = (np.zeros((batch, len(priors), numbers), np.float32) for numbers in (4, 10))
        scores = np.zeros((batch, len(priors), 2), np.float32)
        middle = np.abs(priors[:, :2] - 0.5).sum(axis=1) + np.abs(priors[:, 2] - 0.4)
        scores[:, int(middle.argmin()), 1] = self.score
        points[..., 0], points[..., 2] = -2, 2  # the eyes, left and right
        return [boxes, scores, points]


def open_detector(network: Seeing) -> ConfirmedDetector:
    return ConfirmedDetector(open_networks(network, 2, 2), EngineInfo("retinaface", "1"))


def test_retinaface_looks_only_where_the_cheap_detector_points() -> None:
    network = Seeing(0.9)
    tracker = open_detector(network).open_tracker(SETTINGS)
    (face,) = tracker.track(PHOTO).faces
    assert abs(face.box.x + face.box.width / 2 - 222) < 25
    assert abs(face.box.y + face.box.height / 2 - 115) < 35
    assert all(shape[2:] == (192, 192) for shape in network.shapes)


def test_what_retinaface_does_not_confirm_is_no_face() -> None:
    assert open_detector(Seeing(0.3)).open_tracker(SETTINGS).track(PHOTO).faces == []


def test_where_the_cheap_detector_names_nothing_the_whole_is_looked_at() -> None:
    network = Seeing(0.3)
    open_detector(network).open_tracker(SETTINGS).track(np.full((512, 512, 3), 120, np.uint8))
    assert any(shape[2:] == (640, 640) for shape in network.shapes)


def test_the_real_network_on_random_weights(models: Path) -> None:
    pytest.importorskip("torch", reason="the neural group is not installed")
    from tests.neural import make_models

    make_models(models, {"retinaface-mobilenet": ("retinaface", {"body": "mobilenet"})})
    blazeface, loaded = load_engines(DetectorConfig(engine="blazeface,retinaface"))
    assert (blazeface.info.name, loaded.info.name) == ("blazeface", "retinaface")
    loaded.open_tracker(SETTINGS).track(PHOTO)
