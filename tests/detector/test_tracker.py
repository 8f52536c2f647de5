"""Faces over time: the same face keeps its number, whatever it does; another never gets it."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.detector.engines import TrackedFrame, TrackSettings
from services.detector.engines._tracker import FaceTracker
from services.detector.engines.blazeface import BlazeFace

from .conftest import VIEW, Portrait, read_views

SETTINGS = TrackSettings(VIEW, VIEW)
EMPTY = np.full((VIEW[1], VIEW[0], 3), 90, np.uint8)


@pytest.fixture
def tracker(blazeface: BlazeFace) -> FaceTracker:
    return blazeface.open_tracker(SETTINGS)


def numbers(frame: TrackedFrame) -> list[int]:
    return sorted(face.track for face in frame.faces)


def track_clip(engine: BlazeFace, path: Path, count: int) -> list[TrackedFrame]:
    views = list(read_views(path, count))
    height, width = views[0][0].shape[:2]
    tracker = engine.open_tracker(TrackSettings((width, height), views[0][1]))
    return [tracker.track(view) for view, _ in views]


def test_a_moving_turning_growing_face_keeps_its_number(tracker: FaceTracker, portrait: Portrait) -> None:
    for step in range(40):
        phase = 2 * math.pi * step / 30
        scale, turn = 0.9 + 0.2 * math.sin(phase / 2), 15 * math.sin(phase)
        view, truth = portrait.place(320 + 100 * math.sin(phase), 180 + 30 * math.cos(phase), scale, turn)
        frame = tracker.track(view)
        assert numbers(frame) == [1]
        error = np.linalg.norm(frame.faces[0].landmarks[:, :2] - truth, axis=1).mean()
        assert error < 2.5, step


def test_a_face_hidden_for_a_moment_keeps_its_number(tracker: FaceTracker, portrait: Portrait) -> None:
    view, _ = portrait.place(320, 180)
    hidden = view.copy()
    hidden[95:265, 245:395] = 90
    for _ in range(3):
        assert numbers(tracker.track(view)) == [1]
    for _ in range(8):
        assert numbers(tracker.track(hidden)) == []
    assert numbers(tracker.track(portrait.place(330, 184)[0])) == [1]


def test_a_face_hidden_for_long_is_a_new_one(tracker: FaceTracker, portrait: Portrait) -> None:
    view, _ = portrait.place(320, 180)
    hidden = view.copy()
    hidden[95:265, 245:395] = 90
    tracker.track(view)
    for _ in range(14):
        tracker.track(hidden)
    assert numbers(tracker.track(view)) == [2]


def test_two_faces_keep_apart(tracker: FaceTracker, portrait: Portrait) -> None:
    for step in range(30):
        view = np.hstack(
            [portrait.place(160 + step, 150, 0.8)[0][:, :320], portrait.place(480 - step, 200)[0][:, 320:]]
        )
        frame = tracker.track(view)
        assert [face.track for face in sorted(frame.faces, key=lambda face: face.box.x)] == [2, 1]
        assert frame.faces[0].box.width >= frame.faces[1].box.width


def test_a_face_that_comes_later_is_found_within_the_interval(blazeface: BlazeFace, portrait: Portrait) -> None:
    tracker = blazeface.open_tracker(TrackSettings(VIEW, VIEW, redetect_interval=5))
    alone, _ = portrait.place(160, 180)
    alone[:, 320:] = 90
    both = alone.copy()
    both[:, 320:] = portrait.place(480, 180, 0.9)[0][:, 320:]
    assert [numbers(tracker.track(alone)) for _ in range(6)] == [[1]] * 6
    seen = [numbers(tracker.track(both)) for _ in range(5)]
    assert seen[-1] == [1, 2]


def test_only_the_largest_are_told(blazeface: BlazeFace, portrait: Portrait) -> None:
    tracker = blazeface.open_tracker(TrackSettings(VIEW, VIEW, max_faces=1))
    view = np.hstack([portrait.place(160, 150, 0.6)[0][:, :320], portrait.place(480, 200)[0][:, 320:]])
    frame = tracker.track(view)
    assert len(frame.faces) == 1
    assert frame.faces[0].box.x > 320


def test_a_cut_ends_all_tracks(tracker: FaceTracker, portrait: Portrait) -> None:
    first, _ = portrait.place(200, 150)
    blocks = np.random.default_rng(7).integers(0, 255, (3, 5, 3), np.uint8)
    second = cv2.resize(blocks, VIEW, interpolation=cv2.INTER_NEAREST)
    third, _ = portrait.place(420, 200, 1.3)
    assert numbers(tracker.track(first)) == [1]
    middle = tracker.track(second)
    assert middle.cut
    assert numbers(middle) == []
    last = tracker.track(third)
    assert last.cut
    assert numbers(last) == [2]


def test_the_first_picture_follows_no_cut(tracker: FaceTracker, portrait: Portrait) -> None:
    assert not tracker.track(portrait.place(320, 180)[0]).cut
    assert not tracker.track(portrait.place(330, 180)[0]).cut


def test_a_face_that_leaves_the_picture_is_let_go(tracker: FaceTracker, portrait: Portrait) -> None:
    seen = [numbers(tracker.track(portrait.place(320 - 20 * step, 180)[0])) for step in range(25)]
    assert seen[0] == [1]
    assert seen[-1] == []
    assert all(len(frame) <= 1 for frame in seen)


@pytest.mark.parametrize("size", [(16, 16), (4096, 16), (33, 640)])
def test_odd_views_without_a_face_are_answered(blazeface: BlazeFace, size: tuple[int, int]) -> None:
    tracker = blazeface.open_tracker(TrackSettings(size, size))
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    for _ in range(2):
        assert tracker.track(noise).faces == []


def test_an_empty_picture_has_no_face(tracker: FaceTracker) -> None:
    frames = [tracker.track(EMPTY) for _ in range(3)]
    assert frames == [TrackedFrame(False, [])] * 3


@pytest.mark.parametrize("name", ["talking/hdtf_4.mp4", "talking/azure_1080_bowing.mp4", "talking/side_view_noisy.mp4"])
def test_a_real_speaker_is_one_track_without_gaps(blazeface: BlazeFace, clips: Path, name: str) -> None:
    frames = track_clip(blazeface, clips / name, 60)
    assert [numbers(frame) for frame in frames] == [[1]] * len(frames)
    assert not any(frame.cut for frame in frames)


def test_two_real_faces_are_two_tracks(blazeface: BlazeFace, clips: Path) -> None:
    frames = track_clip(blazeface, clips / "several" / "two_shot_2.avi", 151)
    assert all(numbers(frame) == [1, 2] for frame in frames[:147])
    assert [index for index, frame in enumerate(frames) if frame.cut] == [147]
    assert all(numbers(frame) == [] for frame in frames[147:])


def test_real_cuts_are_seen(blazeface: BlazeFace, clips: Path) -> None:
    frames = track_clip(blazeface, clips / "several" / "six_faces_cuts.mp4", 230)
    assert [index for index, frame in enumerate(frames) if frame.cut] == [20, 82, 211]
    assert not set(numbers(frames[100])) & set(numbers(frames[10]))
