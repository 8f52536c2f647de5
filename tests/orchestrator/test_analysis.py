"""Faces of large frames, small ones and ones across borders, by the real decoder and detector."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from services.decoder.engines.pyav import PyAVDecoder
from services.decoder.servicer import DecoderServicer
from services.detector.engines import Engine, load_engine
from services.detector.engines._identity import Recognizer
from services.detector.engines.blazeface import BlazeFace
from services.detector.servicer import DetectorServicer
from services.orchestrator.analysis import Analysis, analyse
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.likeness import ARCFACE
from services.orchestrator.persons import find_persons
from services.orchestrator.stages import Stages
from services.runtime.backends import BackendConfig
from services.runtime.batching import Batcher
from services.runtime.engine import ModelInfo
from tests.end_to_end.conftest import write_video
from tests.stages import run, serving

SIZE = 2560, 1440
HEAD = np.s_[0:300, 80:380]  # of the photo: the head with room
FACE = 105  # pixels of the photo, width of the mesh


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """The mesh of the photo's face, (468, 3), in pixels of HEAD."""
    found = load_engine("blazeface", 2).landmark(np.ascontiguousarray(skimage.data.astronaut()[HEAD]), None)
    assert found is not None
    return found[1]


def draw(faces: list[tuple[int, int, int]]) -> np.ndarray:
    """Heads (x, y of the corner; width of the face) on grain, (1440, 2560, 3) uint8."""
    rng = np.random.default_rng(1)
    picture = cv2.resize(rng.integers(90, 130, (360, 640, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    for x, y, width in faces:
        scale = width / FACE
        head = cv2.resize(skimage.data.astronaut()[HEAD], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture[y : y + head.shape[0], x : x + head.shape[1]] = head
    return picture


@contextlib.asynccontextmanager
async def open_stages(store: Path, engine: Engine) -> AsyncIterator[Stages]:
    async with (
        serving(DecoderServicer(PyAVDecoder(), store)) as decoder,
        serving(DetectorServicer(engine)) as detector,
    ):
        ports = [served.running.port for served in (decoder, detector)]
        stages = Stages(*(f"127.0.0.1:{port}" for port in (*ports, 1, 1)))
        try:
            yield stages
        finally:
            await stages.close()


def look_at(pictures: list[np.ndarray], folder: Path, engine: Engine | None = None) -> Analysis:
    write_video(folder / "video.mp4", pictures)
    artifacts = ArtifactStore(folder / "store")
    asset = artifacts.put([(folder / "video.mp4").read_bytes()])

    async def work() -> Analysis:
        async with open_stages(folder / "store", engine or load_engine("blazeface", 2)) as stages:
            return await analyse(stages, artifacts, asset.digest, "key", (), lambda done: None)

    return run(work())


def expect(truth: np.ndarray, face: tuple[int, int, int]) -> np.ndarray:
    """(468, 2): where the mesh of a drawn face lies."""
    x, y, width = face
    expected: np.ndarray = truth[:, :2] * (width / FACE) + (x, y)
    return expected


def test_a_face_too_small_for_the_view_is_found_part_by_part(truth: np.ndarray, tmp_path: Path) -> None:
    small = (1900, 700, 34)  # 8 pixels of the view of 640
    analysis = look_at([draw([small])] * 14, tmp_path)
    assert np.array_equal(analysis.faces.frame, np.arange(14))
    assert len(np.unique(analysis.faces.track)) == 1
    off = np.linalg.norm(analysis.meshes[3][:, :2] - expect(truth, small), axis=1)
    assert off.mean() < 2


def test_a_face_on_the_border_of_two_parts_counts_once(truth: np.ndarray, tmp_path: Path) -> None:
    across = (943, 440, 40)  # one part ends at 1000, the next begins at 780
    other = (1500, 440, 40)
    analysis = look_at([draw([across, other])] * 14, tmp_path)
    assert np.bincount(analysis.faces.frame).tolist() == [2] * 14
    for face in (across, other):
        centre = expect(truth, face).mean(axis=0)
        near = np.linalg.norm(analysis.faces.centre - centre, axis=1) < 15
        assert near.sum() == 14


class ByLight:
    """A recognition network to which light faces are one person and dark ones another."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.eye(512, dtype=np.float32)[[int(face.mean() > 0) for face in inputs[0]]]]


def test_persons_are_told_apart_by_the_detectors_embeddings(tmp_path: Path) -> None:
    batcher = Batcher(ByLight(), BackendConfig(max_queue_delay=0))
    engine = BlazeFace(recognizer=Recognizer(batcher, ModelInfo("arcface", "0" * 64, "MIT")))
    light = draw([(400, 300, 300)])
    shots = [light] * 6, [light // 3] * 6, [np.roll(light, 900, axis=1)] * 6
    analysis = look_at([picture for shot in shots for picture in shot], tmp_path, engine)
    assert analysis.measure is ARCFACE
    assert {description.shape for description in analysis.descriptions.values()} == {(512,)}
    persons = find_persons(analysis.faces, analysis.descriptions, analysis.measure)
    assert [sorted({int(frame) // 6 for frame in person.frames}) for person in persons] == [[0, 2], [1]]


def test_only_the_shot_that_shows_too_little_is_looked_at_again(truth: np.ndarray, tmp_path: Path) -> None:
    large, small = (400, 300, 260), (1900, 700, 34)
    analysis = look_at([draw([large])] * 6 + [255 - draw([])] * 2 + [draw([small])] * 16, tmp_path)
    assert np.array_equal(np.unique(analysis.faces.frame), [*range(6), *range(8, 24)])
    by_shot = [set(analysis.faces.track[(analysis.faces.frame >= first) & (analysis.faces.frame < end)].tolist())
               for first, end in ((0, 6), (8, 24))]  # fmt: skip
    assert by_shot[0].isdisjoint(by_shot[1])
    assert set(analysis.descriptions) == by_shot[0] | by_shot[1]
    for frame, face in ((2, large), (12, small)):
        (row,) = np.flatnonzero(analysis.faces.frame == frame)
        off = np.linalg.norm(analysis.meshes[row][:, :2] - expect(truth, face), axis=1)
        assert off.mean() < 3


def test_meshes_are_as_fine_as_the_frame(truth: np.ndarray, tmp_path: Path) -> None:
    face = (1000, 500, 180)  # 45 pixels of the view
    analysis = look_at([draw([face])] * 3, tmp_path)
    off = np.linalg.norm(np.asarray(analysis.meshes)[:, :, :2] - expect(truth, face), axis=2)
    assert off.mean() < 2  # by the view alone: 3
