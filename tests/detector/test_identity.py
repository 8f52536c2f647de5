"""Who a face is: one look at each track, another on doubt, and a new number for somebody else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from services.detector.config import DetectorConfig
from services.detector.engines import TrackSettings, load_engines
from services.detector.engines._identity import Recognizer
from services.detector.engines.blazeface import BlazeFace
from services.runtime.backends import BackendConfig
from services.runtime.batching import Batcher
from services.runtime.engine import ModelInfo

from .conftest import VIEW, Portrait

SETTINGS = TrackSettings(VIEW, VIEW)


class Network:
    """Says that every face is the person `who`; keeps the faces that it was shown."""

    def __init__(self) -> None:
        self.who = 0
        self.faces: list[np.ndarray] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.faces += list(inputs[0])
        return [np.tile(7 * np.eye(512, dtype=np.float32)[self.who], (len(inputs[0]), 1))]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def engine(network: Network) -> BlazeFace:
    batcher = Batcher(network, BackendConfig(max_queue_delay=0))
    return BlazeFace(recognizer=Recognizer(batcher, ModelInfo("arcface", "0" * 64, "MIT")))


def test_a_track_is_looked_at_once(engine: BlazeFace, network: Network, portrait: Portrait) -> None:
    tracker = engine.open_tracker(SETTINGS)
    frames = [tracker.track(portrait.place(300 + 2 * step, 180)[0]) for step in range(12)]
    taken = [face.embedding for frame in frames for face in frame.faces]
    assert [embedding is not None for embedding in taken] == [True] + [False] * 11
    assert np.linalg.norm(taken[0]) == pytest.approx(1)
    assert len(network.faces) == 1
    assert [model.name for model in engine.info.models][-1] == "arcface"


def test_the_face_is_cut_as_the_network_was_trained(engine: BlazeFace, network: Network, portrait: Portrait) -> None:
    """The eyes of the norm crop lie where its template has them, turned or not: pupils are darker than cheeks."""
    for turn in (0.0, 20.0):
        engine.open_tracker(SETTINGS).track(portrait.place(320, 180, 1.2, turn)[0])
    upright, turned = (((face + 1) / 2).mean(axis=0) for face in network.faces)
    assert upright.shape == (112, 112)
    for x in (38, 73):
        assert upright[48:56, x - 4 : x + 4].min() < upright[70:76, x - 4 : x + 4].mean() - 0.15
    middle = np.s_[24:100, 24:88]
    assert np.corrcoef(upright[middle].ravel(), turned[middle].ravel())[0, 1] > 0.95


def hide(view: np.ndarray) -> np.ndarray:
    hidden = view.copy()
    hidden[95:265, 245:395] = 90
    return hidden


@pytest.mark.parametrize(("who", "number"), [(0, 1), (1, 2)])
def test_a_face_that_comes_back_keeps_its_number_if_it_is_the_same(
    engine: BlazeFace, network: Network, portrait: Portrait, who: int, number: int
) -> None:
    tracker = engine.open_tracker(SETTINGS)
    view, _ = portrait.place(320, 180)
    for _ in range(2):
        tracker.track(view)
    for _ in range(3):
        tracker.track(hide(view))
    network.who = who
    (face,) = tracker.track(view).faces
    assert face.track == number
    assert face.embedding is not None
    assert len(network.faces) == 2


def test_a_face_seen_much_better_is_looked_at_again(engine: BlazeFace, network: Network, portrait: Portrait) -> None:
    tracker = engine.open_tracker(SETTINGS)
    for step in range(20):
        tracker.track(portrait.place(320, 180, 0.6 * 1.04**step)[0])
    assert 2 <= len(network.faces) <= 4


def test_the_real_network_on_random_weights(models: Path, portrait: Portrait) -> None:
    pytest.importorskip("torch", reason="the neural group is not installed")
    from tests.neural import make_models

    make_models(models, {"ours": ("arcface", {"units": (1, 1, 1, 1)})})
    config = DetectorConfig(arcface_model="ours", network=BackendConfig(backend="torch"))
    (loaded,) = load_engines(config)
    assert [model.license for model in loaded.info.models] == ["Apache-2.0", "Apache-2.0", "MIT"]
    (face,) = loaded.open_tracker(SETTINGS).track(portrait.place(320, 180)[0]).faces
    assert face.embedding is not None
    assert face.embedding.shape == (512,)
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
