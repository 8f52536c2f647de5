"""The engine on single pictures: meshes lie where the face is, at its size and turn."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.engines import TrackSettings
from services.detector.engines._region import Region, cut_region, to_picture
from services.detector.engines.blazeface import BlazeFace
from services.runtime.models import load_manifest
from services.runtime.refusal import Refusal

from .conftest import VIEW, Portrait

# Read off the portrait by eye, pixels: outer corners of eyes and mouth, the lips' inner middles; the chin's height.
BY_EYE = {33: (193.5, 101), 263: (258, 103.5), 61: (202.5, 140), 291: (245.5, 140.5), 13: (223, 142.5), 14: (222, 150)}
CHIN, CHIN_HEIGHT = 152, 177.0


def mean_error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found[:, :2] - truth[:, :2], axis=1).mean())


def test_the_engine_reports_its_models(blazeface: BlazeFace) -> None:
    models = [model for name, model in load_manifest().models.items() if name.startswith("face-")]
    assert blazeface.info.name == "blazeface"
    assert {model.sha256 for model in blazeface.info.models} == {model.sha256 for model in models}
    assert all(model.license == "Apache-2.0" for model in blazeface.info.models)


def test_missing_models_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_MODELS", str(tmp_path))
    with pytest.raises(Refusal, match="make models") as refusal:
        BlazeFace()
    assert refusal.value.reason == "MODEL_MISSING"


def test_the_mesh_lies_on_eyes_lips_and_chin(portrait: Portrait) -> None:
    for index, truth in BY_EYE.items():
        assert portrait.mesh[index, :2] == pytest.approx(truth, abs=2.5), index  # the face is 90 wide
    assert portrait.mesh[CHIN, 1] == pytest.approx(CHIN_HEIGHT, abs=2)


def test_depth_grows_away_from_the_camera_on_the_scale_of_x(blazeface: BlazeFace, portrait: Portrait) -> None:
    nose, ears = portrait.mesh[1, 2], portrait.mesh[[234, 454], 2]
    width = np.ptp(portrait.mesh[:, 0])
    assert nose < ears.min()
    assert 0.3 * width < ears.mean() - nose < width
    crop = cv2.resize(portrait.photo[:300, 100:360], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found = blazeface.landmark(crop, None)
    assert found is not None
    assert np.ptp(found[1][:, 2]) == pytest.approx(2 * np.ptp(portrait.mesh[:, 2]), rel=0.05)


@pytest.mark.parametrize("turn", range(0, 360, 45))
def test_a_turned_face_is_found(blazeface: BlazeFace, portrait: Portrait, turn: int) -> None:
    view, truth = portrait.place(320, 180, turn=turn)
    frame = blazeface.open_tracker(TrackSettings(VIEW, VIEW)).track(view)
    assert len(frame.faces) == 1
    assert mean_error(frame.faces[0].landmarks, truth) < 2.5


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.5, 0.25])
def test_a_face_is_found_at_any_size(blazeface: BlazeFace, portrait: Portrait, scale: float) -> None:
    view, truth = portrait.place(300, 180, scale)
    frame = blazeface.open_tracker(TrackSettings(VIEW, VIEW)).track(view)
    assert len(frame.faces) == 1
    assert mean_error(frame.faces[0].landmarks, truth) < 2.5 * scale + 0.5
    box, (low, high) = frame.faces[0].box, (truth.min(axis=0), truth.max(axis=0))
    assert (box.x, box.y) == pytest.approx(tuple(low), abs=5 * scale + 1)
    assert (box.x + box.width, box.y + box.height) == pytest.approx(tuple(high), abs=5 * scale + 1)


@pytest.mark.parametrize("cut", [0, 30, 60])
def test_a_face_that_fills_the_picture_is_found(blazeface: BlazeFace, portrait: Portrait, cut: int) -> None:
    left, top, right, bottom = 165 + cut // 3, 70 + cut // 2, 285 - cut // 3, 205 - cut // 4
    scale = 512 / (bottom - top)
    size = (round((right - left) * scale), 512)
    view = cv2.resize(portrait.photo[top:bottom, left:right], size, interpolation=cv2.INTER_CUBIC)
    (face,) = blazeface.open_tracker(TrackSettings(size, size)).track(view).faces
    truth = (portrait.mesh[:, :2] - (left, top)) * (size[0] / (right - left), scale)
    shown = (truth > 0).all(axis=1) & (truth < size).all(axis=1)
    assert np.linalg.norm(face.landmarks[shown, :2] - truth[shown], axis=1).mean() < 0.03 * size[0]


def test_faces_are_told_in_source_pixels(blazeface: BlazeFace, portrait: Portrait) -> None:
    view, truth = portrait.place(320, 180)
    faces = blazeface.open_tracker(TrackSettings(VIEW, (2560, 1440))).track(view).faces
    assert mean_error(faces[0].landmarks, truth * 4) < 10
    plain = blazeface.open_tracker(TrackSettings(VIEW, VIEW)).track(view).faces
    assert faces[0].landmarks == pytest.approx(plain[0].landmarks * 4, rel=1e-5)


def test_a_rough_mesh_leads_to_the_exact_one(blazeface: BlazeFace, portrait: Portrait) -> None:
    crop, corner = portrait.photo[20:220, 120:330], np.array([120, 20, 0], np.float32)
    rough = portrait.mesh - corner + np.array([6, -5, 0], np.float32)
    found = blazeface.landmark(crop, rough)
    assert found is not None
    score, mesh = found
    assert score > 0.9
    assert mesh.dtype == np.float32
    assert mean_error(mesh + corner, portrait.mesh) < 1


@pytest.mark.parametrize("crop", [(0, 300, 100, 360), (40, 190, 160, 290)], ids=["loose", "tight"])
def test_a_crop_needs_no_rough_mesh(blazeface: BlazeFace, portrait: Portrait, crop: tuple[int, ...]) -> None:
    top, bottom, left, right = crop
    found = blazeface.landmark(portrait.photo[top:bottom, left:right], None)
    assert found is not None
    assert mean_error(found[1] + np.array([left, top, 0], np.float32), portrait.mesh) < 1


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e9], ids=str)
def test_a_useless_rough_mesh_does_no_harm(blazeface: BlazeFace, portrait: Portrait, value: float) -> None:
    crop = portrait.photo[:300, 100:360]
    rough = np.full((468, 3), value, np.float32)
    found = blazeface.landmark(crop, rough)
    assert found is not None
    assert mean_error(found[1] + np.array([100, 0, 0], np.float32), portrait.mesh) < 1


def test_a_crop_without_a_face_has_no_mesh(blazeface: BlazeFace, portrait: Portrait) -> None:
    assert blazeface.landmark(portrait.photo[300:500, 300:500], None) is None
    assert blazeface.landmark(np.zeros((64, 48, 3), np.uint8), None) is None


def test_read_only_pixels_will_do(blazeface: BlazeFace, portrait: Portrait) -> None:
    crop = np.frombuffer(portrait.photo[:300, 100:360].tobytes(), np.uint8).reshape(300, 260, 3)
    assert blazeface.landmark(crop, None) is not None


def test_threads_share_the_engine(blazeface: BlazeFace, portrait: Portrait) -> None:
    crops = [portrait.photo[top : top + 200, 120:330] for top in range(0, 40, 5)]
    alone = [blazeface.landmark(crop, None) for crop in crops]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda crop: blazeface.landmark(crop, None), crops))
    for one, other in zip(alone, together, strict=True):
        assert one is not None
        assert other is not None
        assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize("size", [30.0, 100.0, 192.0, 340.0])
def test_a_cut_shows_each_place_where_to_picture_says(size: float) -> None:
    rows, columns = np.mgrid[:500, :500] + 0.5
    picture = np.round(np.stack([columns, rows, rows], axis=-1) / 2).astype(np.uint8)
    region = Region(251.3, 247.8, size, 0.7)
    cut = cut_region(picture, region, 192, cv2.BORDER_CONSTANT).astype(float)
    down, across = np.mgrid[:192, :192] + 0.5
    places = to_picture(np.stack([across.ravel(), down.ravel()], axis=1).astype(np.float32) / 192, region)
    shift = cut[..., :2].reshape(-1, 2) * 2 - places
    assert np.abs(shift).max() < 2.1  # rounding to 8 bits, twice
    assert np.abs(shift.mean(axis=0)).max() < 0.1
