"""Hands, microphones and paper before the mouth: seen by what they hide, and only then."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from services.detector.engines.blazeface import BlazeFace
from services.lipsync.engines.rewrite import shape
from services.lipsync.engines.rewrite.library import Library, LibraryBuilder, read_library
from services.lipsync.engines.rewrite.occlusion import weigh_mouth, weigh_turn
from services.runtime.faces import Crop, CropOutcome
from services.runtime.refusal import Refusal

from .people import film, make_points, open_mouths, paint, pose, speak
from .test_engine import RATE, RewriteEngine, plan, prepare, retell

Occluder = Callable[[np.ndarray, np.ndarray], np.ndarray]


def learn(crops: list[Crop]) -> Library:
    builder = LibraryBuilder()
    meshes = np.array([crop.landmarks for crop in crops])
    builder.add(crops, shape.measure_shapes(meshes), shape.measure_poses(meshes))
    return builder.finish()


def film_speaker(frames: int = 60) -> list[Crop]:
    return film(0.15 + 0.15 * np.sin(np.arange(frames) / 3))


def lay_paper(pixels: np.ndarray, mesh: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """White paper before mouth and chin; `shift`: how much lower it is held, eye distances."""
    eyes = float(np.linalg.norm(mesh[263] - mesh[33]))
    x, y = mesh[13, :2] + (0, shift * eyes)
    covered = pixels.copy()
    covered[max(round(y - 0.3 * eyes), 0) : round(y + 1.2 * eyes), round(x - 0.6 * eyes) : round(x + 0.6 * eyes)] = 235
    return covered


def hold_microphone(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    eyes = float(np.linalg.norm(mesh[263] - mesh[33]))
    centre = np.rint(mesh[14, :2] + (0, 0.15 * eyes)).astype(int)
    return cv2.circle(pixels.copy(), centre.tolist(), round(0.24 * eyes), (25, 25, 28), -1, cv2.LINE_AA)


def lay_hand(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """A palm of skin a little darker than the face's, from the chin to the nose."""
    eyes = float(np.linalg.norm(mesh[263] - mesh[33]))
    skin = np.median(pixels[mesh[[50, 280, 205, 425], 1].astype(int), mesh[[50, 280, 205, 425], 0].astype(int)], axis=0)
    centre, axes = np.rint(mesh[14, :2]).astype(int), (round(0.5 * eyes), round(0.4 * eyes))
    return cv2.ellipse(pixels.copy(), centre.tolist(), axes, 20, 0, 360, (0.85 * skin).tolist(), -1, cv2.LINE_AA)


@pytest.mark.parametrize("occlude", [lay_paper, hold_microphone, lay_hand])
def test_what_hides_the_mouth_is_seen(occlude: Occluder) -> None:
    crops = film_speaker()
    looks = learn(crops).looks
    for crop in crops[::10]:
        assert weigh_mouth(crop.pixels, crop.landmarks, looks) == 1
        assert weigh_mouth(occlude(crop.pixels, crop.landmarks), crop.landmarks, looks) == 0


def test_it_is_seen_on_real_faces_and_never_without(clips: Path) -> None:
    detector, crops, mesh = BlazeFace(), [], None
    with av.open(clips / "talking" / "hdtf_3.mp4") as container:
        for number, frame in zip(range(48), container.decode(video=0), strict=False):
            pixels = cv2.resize(frame.to_ndarray(format="rgb24"), (384, 384), interpolation=cv2.INTER_AREA)
            found = detector.landmark(pixels, mesh)
            assert found is not None
            mesh = found[1]
            crops.append(Crop(number, number, pixels, mesh))
    looks = learn(crops[:36]).looks
    assert all(weigh_mouth(crop.pixels, crop.landmarks, looks) == 1 for crop in crops)
    for occlude in (lay_paper, hold_microphone, lay_hand):
        weights = [weigh_mouth(occlude(crop.pixels, crop.landmarks), crop.landmarks, looks) for crop in crops]
        assert np.percentile(weights, 80) == 0, weights


def test_other_light_hides_nothing() -> None:
    crops = film_speaker()
    looks = learn(crops).looks
    for light in ([0.6, 0.6, 0.6], [1.2, 1.0, 0.8]):
        lit = np.clip(crops[7].pixels * np.array(light), 0, 255).astype(np.uint8)
        assert weigh_mouth(lit, crops[7].landmarks, looks) == 1


def test_a_mouth_is_faded_out_as_paper_comes() -> None:
    crops = film_speaker()
    looks, crop = learn(crops).looks, crops[7]
    shifts = np.linspace(1.2, 0.2, 60)
    weights = [weigh_mouth(lay_paper(crop.pixels, crop.landmarks, shift), crop.landmarks, looks) for shift in shifts]
    assert weights[0] == 1
    assert weights[-1] == 0
    assert sum(0 < weight < 1 for weight in weights) >= 2


def test_a_head_turned_far_keeps_to_its_own_mouth() -> None:
    points = make_points(open_mouths(np.array([0.1])))
    ways = [weigh_turn(pose(points, yaw=yaw)[0]) for yaw in (0, 28, 34, -38, 46)]
    assert ways[0] == ways[1] == 1 > ways[2] > ways[3] > ways[4] == 0
    assert weigh_turn(pose(points, pitch=-50)[0]) == 0


def test_the_mouth_of_a_head_on_its_way_to_the_side_moves_less_and_is_one_mouth() -> None:
    engine, (speech, openness) = RewriteEngine(), speak(4)
    openings = 0.3 * openness[np.arange(4 * RATE) * len(speech) // (4 * RATE)]
    yaws = np.linspace(0, 44, 4 * RATE)
    meshes = [pose(make_points(open_mouths(openings[k : k + 1])), yaw=yaw)[0] for k, yaw in enumerate(yaws)]
    crops = [Crop(k, k, paint(mesh), mesh) for k, mesh in enumerate(meshes)]
    learned = prepare(engine, crops, speech)
    targets = retell(crops)
    rendering = engine.open_rendering(learned.blob, plan(engine, learned.blob, targets, speak(4, seed=3)[0]))
    ways = np.array([weigh_turn(crop.landmarks) for crop in targets])
    assert {0.0, 1.0} < set(ways.tolist())
    for crop, way in zip(targets, ways, strict=True):
        answer = rendering.sync(crop)
        assert (answer.outcome is CropOutcome.PASSED_THROUGH) == (way == 0)
        if way > 0.4 and answer.pixels[..., 3].any():
            assert answer.pixels[..., 3].max() == 255, "nothing of the frame's own mouth shows through"


def test_hidden_mouths_are_not_kept() -> None:
    crops = film_speaker()
    crops[20:35] = [
        Crop(crop.frame, crop.pts, hold_microphone(crop.pixels, crop.landmarks), crop.landmarks)
        for crop in crops[20:35]
    ]
    kept = learn(crops).source_frames.tolist()
    assert kept == [*range(20), *range(35, 60)]


def test_few_faces_teach_no_looks() -> None:
    crop = film_speaker(8)[0]
    looks = learn(film_speaker(8)).looks
    assert weigh_mouth(lay_paper(crop.pixels, crop.landmarks), crop.landmarks, looks) == 1


@pytest.mark.parametrize("name", ["looks_weights", "looks_centre", "looks_reach", "looks_spread"])
def test_damaged_looks_are_refused(name: str) -> None:
    arrays = learn(film_speaker(20)).to_arrays()
    with pytest.raises(Refusal) as refused:
        read_library(arrays | {name: arrays[name][..., :-1]})
    assert refused.value.reason == "BLOB_UNUSABLE"


def test_a_hand_is_not_painted_over() -> None:
    engine, (speech, openness) = RewriteEngine(), speak(4)
    crops = film(0.3 * openness[np.arange(4 * RATE) * len(speech) // (4 * RATE)])
    learned = prepare(engine, crops, speech)
    targets = retell(crops[:30])
    rendering = engine.open_rendering(learned.blob, plan(engine, learned.blob, targets, speak(2, seed=3)[0]))
    for crop in targets[::5]:
        assert rendering.sync(crop).outcome is not CropOutcome.PASSED_THROUGH
        covered = lay_hand(crop.pixels, crop.landmarks)
        answer = rendering.sync(Crop(crop.frame, crop.pts, covered, crop.landmarks))
        assert answer.outcome is CropOutcome.PASSED_THROUGH
        np.testing.assert_array_equal(answer.pixels[..., :3], covered)
        assert (answer.pixels[..., 3] == 0).all()


def test_what_is_faded_keeps_the_sources_pixels_elsewhere() -> None:
    engine, (speech, openness) = RewriteEngine(), speak(4)
    crops = film(0.3 * openness[np.arange(4 * RATE) * len(speech) // (4 * RATE)])
    learned = prepare(engine, crops, speech)
    looks = learn(crops).looks
    targets = retell(crops[:10])
    rendering = engine.open_rendering(learned.blob, plan(engine, learned.blob, targets, speak(2, seed=3)[0]))
    crop = targets[5]
    covers = (lay_paper(crop.pixels, crop.landmarks, shift) for shift in np.linspace(1.2, 0.2, 60))
    half = next(cover for cover in covers if 0 < weigh_mouth(cover, crop.landmarks, looks) < 0.9)
    faded = rendering.sync(Crop(crop.frame, crop.pts, half, crop.landmarks)).pixels
    assert 0 < faded[..., 3].max() < 255
    np.testing.assert_array_equal(faded[faded[..., 3] == 0][:, :3], half[faded[..., 3] == 0])
