"""Which face speaks and where it is cut out, on tracks made up of a real mesh that moves by known steps."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.compositing import MAX_CROP
from services.orchestrator.faces import DetectedFaces, SpeakerTrack
from services.orchestrator.persons import choose_largest, find_persons
from tests.stages import portrait

LOWER_FACE = [2, 61, 291, 0, 17, 152, 172, 397]  # under the nose, lips, chin, corners of the jaw
SIZE = 100.0


@dataclass(frozen=True)
class Seen:
    """A track that the detector saw from frame `first` to before `end`, its middle going from `at` by `step` a frame.

    Size, in pixels of the face's width, goes by `growth` a frame.
    """

    track: int
    first: int
    end: int
    at: tuple[float, float]
    step: tuple[float, float] = (0.0, 0.0)
    size: float = SIZE
    growth: float = 1.0
    holes: tuple[int, ...] = ()

    def place(self, frame: int) -> tuple[np.ndarray, float]:
        passed = frame - self.first
        return np.array(self.at) + passed * np.array(self.step), self.size * self.growth**passed


def shape() -> np.ndarray:
    """The portrait's mesh about (0, 0), 1 wide."""
    mesh = portrait()[1]
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    centred = mesh - np.array([*(low + high) / 2, 0], np.float32)
    return centred / (high[0] - low[0])


def detect(seen: Sequence[Seen], frames: int, cuts: Sequence[int] = ()) -> tuple[DetectedFaces, np.ndarray]:
    """What the detector would tell, largest face first in each frame, and the meshes."""
    rows = []
    for frame in range(frames):
        here = [track for track in seen if track.first <= frame < track.end and frame not in track.holes]
        for track in sorted(here, key=lambda track: -track.place(frame)[1]):
            centre, size = track.place(frame)
            mesh = (shape() * np.float32(size) + np.array([*centre, 0], np.float32)).astype(np.float32)
            width, height = np.ptp(mesh[:, :2], axis=0)
            rows.append((frame, track.track, float(width * height), centre, mesh))
    flags = np.zeros(frames, bool)
    flags[list(cuts)] = True
    faces = DetectedFaces(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.float64).reshape(-1, 2),
        flags,
    )
    return faces, np.array([row[4] for row in rows], np.float32).reshape(-1, 468, 3)


def chosen(seen: Sequence[Seen], frames: int, cuts: Sequence[int] = ()) -> list[int]:
    """The track chosen for each frame; 0: none."""
    faces, _ = detect(seen, frames, cuts)
    rows = choose_largest(faces, find_persons(faces, {}))
    assert rows.shape == (frames,)
    for frame, row in enumerate(rows):
        assert row < 0 or faces.frame[row] == frame
    return [int(faces.track[row]) if row >= 0 else 0 for row in rows]


def test_without_faces_nobody_speaks() -> None:
    assert chosen([], 5) == [0] * 5
    assert chosen([], 0) == []


def test_the_only_face_speaks_where_it_is_seen() -> None:
    assert chosen([Seen(1, 2, 6, (200, 200))], 8) == [0, 0, 1, 1, 1, 1, 0, 0]


def test_the_larger_face_speaks() -> None:
    near, far = Seen(1, 0, 20, (200, 200), size=150), Seen(2, 0, 20, (600, 200), size=90)
    assert chosen([near, far], 20) == [1] * 20


def test_the_face_that_is_seen_longer_speaks_though_another_is_larger_for_a_while() -> None:
    passer_by = Seen(2, 8, 11, (600, 200), size=160)
    assert chosen([Seen(1, 0, 30, (200, 200)), passer_by], 30) == [1] * 30


def test_each_shot_has_its_own_speaker() -> None:
    seen = [Seen(1, 0, 10, (200, 200)), Seen(2, 10, 20, (600, 300)), Seen(3, 20, 30, (210, 200))]
    assert chosen(seen, 30, cuts=[10, 20]) == [1] * 10 + [2] * 10 + [3] * 10


def test_a_shot_without_a_face_has_no_speaker() -> None:
    seen = [Seen(1, 0, 10, (200, 200)), Seen(2, 20, 30, (200, 200))]
    assert chosen(seen, 30, cuts=[10, 20]) == [1] * 10 + [0] * 10 + [2] * 10


def test_cuts_at_the_first_frame_and_next_to_one_another_do_no_harm() -> None:
    seen = [Seen(1, 0, 5, (200, 200)), Seen(2, 5, 14, (200, 200))]
    assert chosen(seen, 14, cuts=[0, 5, 6]) == [1] * 5 + [0] + [2] * 8  # one frame of a face is nobody


@pytest.mark.parametrize("first_is_longer", [True, False])
def test_a_face_that_was_lost_goes_on_under_its_new_number(first_is_longer: bool) -> None:
    middle = 30 if first_is_longer else 10
    seen = [Seen(1, 0, middle, (200, 200)), Seen(2, middle + 5, 40, (230, 210), size=110)]
    assert chosen(seen, 40) == [1] * middle + [0] * 5 + [2] * (35 - middle)


def test_a_face_lost_twice_is_followed_as_it_wanders() -> None:
    seen = [
        Seen(1, 0, 20, (100, 200), (5, 0)),
        Seen(2, 22, 42, (210, 200), (5, 0)),
        Seen(3, 45, 65, (325, 200), (5, 0)),
    ]
    assert chosen(seen, 65) == [1] * 20 + [0] * 2 + [2] * 20 + [0] * 3 + [3] * 20


def test_a_short_track_leads_on_to_a_longer_one() -> None:
    seen = [
        Seen(1, 0, 40, (200, 200)),
        Seen(2, 42, 50, (200, 200), (20, 0)),
        Seen(3, 52, 82, (350, 200)),
    ]
    assert chosen(seen, 82) == [1] * 40 + [0] * 2 + [2] * 8 + [0] * 2 + [3] * 30


def test_nobody_stands_in_for_a_while_elsewhere() -> None:
    """A face between two sightings of the speaker, in place near the later one only."""
    seen = [Seen(1, 0, 40, (200, 200)), Seen(2, 50, 54, (360, 200)), Seen(3, 55, 80, (280, 200))]
    assert chosen(seen, 80) == [1] * 40 + [0] * 15 + [3] * 25


def test_the_part_is_not_given_to_another_person() -> None:
    speaker, other = Seen(1, 0, 30, (200, 200)), Seen(2, 32, 50, (700, 200))
    assert chosen([speaker, other], 50) == [1] * 30 + [0] * 20


def test_the_part_is_not_given_to_one_who_was_there_all_along() -> None:
    speaker, other = Seen(1, 0, 30, (200, 200), size=150), Seen(2, 0, 50, (280, 200), size=100)
    assert chosen([speaker, other], 50) == [1] * 30 + [0] * 20


def test_the_part_is_not_given_to_a_face_of_another_size_behind() -> None:
    speaker, behind = Seen(1, 0, 30, (200, 200), size=200), Seen(2, 30, 60, (200, 200), size=60)
    assert chosen([speaker, behind], 60) == [1] * 30 + [0] * 30


def test_a_track_with_holes_keeps_its_part() -> None:
    holes = tuple(range(8, 14))
    assert chosen([Seen(1, 0, 20, (200, 200), holes=holes)], 20) == [1] * 8 + [0] * 6 + [1] * 6


tracks = st.builds(
    lambda track, first, length, x, y, size: Seen(track, first, first + length, (x, y), size=size),
    st.integers(1, 99),
    st.integers(0, 30),
    st.integers(1, 12),
    st.floats(100, 500),
    st.floats(100, 200),
    st.floats(80, 120),
)


@settings(max_examples=150, deadline=None)
@given(
    seen=st.lists(tracks, max_size=5, unique_by=lambda track: track.track),
    cuts=st.lists(st.integers(0, 39), max_size=3, unique=True),
)
def test_the_speaker_never_jumps_within_a_shot(seen: list[Seen], cuts: list[int]) -> None:
    faces, _ = detect(seen, 40, cuts)
    rows = choose_largest(faces, find_persons(faces, {}))
    held = [row for row in rows if row >= 0]
    for before, after in pairwise(held):
        if faces.track[before] == faces.track[after]:
            continue
        if faces.cuts[faces.frame[before] + 1 : faces.frame[after] + 1].any():
            continue
        jump = np.linalg.norm(faces.centre[before] - faces.centre[after])
        width = np.sqrt(max(faces.area[before], faces.area[after]))
        assert jump <= width, (faces.frame[before], faces.frame[after])


def speaker_of(seen: Sequence[Seen], frames: int, cuts: Sequence[int] = ()) -> tuple[SpeakerTrack, np.ndarray]:
    """The track, and the meshes of the detector by frame (one face a frame)."""
    faces, meshes = detect(seen, frames, cuts)
    by_frame = np.full((frames, 468, 3), np.nan, np.float32)
    by_frame[faces.frame] = meshes
    return SpeakerTrack(faces, meshes, choose_largest(faces, find_persons(faces, {}))), by_frame


MOVES = {
    "still": [Seen(1, 0, 40, (400, 300))],
    "walks": [Seen(1, 0, 40, (200, 300), (11, -3))],
    "comes near": [Seen(1, 0, 40, (400, 300), size=60, growth=1.03)],
    "at the edge": [Seen(1, 0, 40, (10, 5))],
    "lost and found": [Seen(1, 0, 15, (400, 300)), Seen(2, 20, 40, (440, 310))],
    "fills 4K": [Seen(1, 0, 40, (1900, 1000), (2, 1), size=900)],
    "one frame": [Seen(1, 7, 8, (400, 300))],
}


@pytest.mark.parametrize("seen", MOVES.values(), ids=MOVES)
def test_windows_hold_the_lower_face_and_are_of_one_size(seen: list[Seen]) -> None:
    track, meshes = speaker_of(seen, 40)
    windows = [window for window in track.windows if window is not None]
    assert [frame for frame, window in enumerate(track.windows) if window is not None] == list(track.seen_frames)
    assert len({(window.side, window.pixels) for window in windows}) == 1
    for frame in track.seen_frames:
        window = track.windows[frame]
        assert window is not None
        assert window.x % 2 == window.y % 2 == window.side % 2 == 0
        assert 32 <= window.pixels <= min(window.side, MAX_CROP)
        low, high = meshes[frame, LOWER_FACE, :2].min(axis=0), meshes[frame, LOWER_FACE, :2].max(axis=0)
        assert (low > (window.x, window.y)).all()
        assert (high < (window.x + window.side, window.y + window.side)).all()


@pytest.mark.parametrize("mesh_of", [SpeakerTrack.crop_mesh, SpeakerTrack.steady_mesh])
@pytest.mark.parametrize("seen", MOVES.values(), ids=MOVES)
def test_crop_meshes_are_the_frames_own_in_crop_pixels(
    seen: list[Seen], mesh_of: Callable[[SpeakerTrack, int], np.ndarray | None]
) -> None:
    track, meshes = speaker_of(seen, 40)
    for frame in range(40):
        crop_mesh, window = mesh_of(track, frame), track.windows[frame]
        if frame not in track.seen_frames:
            assert crop_mesh is None
            continue
        assert crop_mesh is not None
        assert window is not None
        assert (crop_mesh.dtype, crop_mesh.shape) == (np.float32, (468, 3))
        assert track.crop_scale == window.crop_scale
        back = crop_mesh / track.crop_scale + np.array([window.x, window.y, 0])
        # Evenly moving meshes stay as they are when smoothed; one that grows bends by next to nothing.
        assert np.abs(back - meshes[frame]).max() < 0.1 + 0.001 * window.side
        assert crop_mesh[LOWER_FACE, :2].min() > 0
        assert crop_mesh[LOWER_FACE, :2].max() < window.pixels


def test_lips_that_meet_for_one_frame_still_do_in_crops_though_trembling_is_less() -> None:
    faces, meshes = detect([Seen(1, 0, 40, (400, 300))], 40)
    lower_lip = meshes[:, 14, 1].copy()
    meshes[20, 14, 1] -= 5
    meshes[::2, 33, 0] += 1  # an eye's corner that trembles
    track = SpeakerTrack(faces, meshes, choose_largest(faces, find_persons(faces, {})))
    crops = np.array([track.crop_mesh(frame) for frame in range(40)]) / track.crop_scale
    window = track.windows[20]
    assert window is not None
    assert lower_lip[20] - (crops[20, 14, 1] + window.y) == pytest.approx(4, abs=0.1)
    tremble = np.abs(np.diff(crops[5:35, 33, 0])).mean()
    assert tremble == pytest.approx(0.6, abs=0.1)


def test_windows_do_not_shake_with_the_detector() -> None:
    faces, meshes = detect([Seen(1, 0, 60, (400, 300))], 60)
    shaking = meshes + np.random.default_rng(0).normal(0, 1.5, (60, 1, 3)).astype(np.float32)
    track = SpeakerTrack(faces, shaking, choose_largest(faces, find_persons(faces, {})))
    steps = [
        abs(after.x - before.x) + abs(after.y - before.y)
        for before, after in pairwise(track.windows)
        if before is not None and after is not None
    ]
    assert max(steps) <= 2
    for mesh_of, left in ((track.crop_mesh, 0.85), (track.steady_mesh, 0.5)):  # of the detector's tremble
        trembling = np.array([mesh_of(frame) for frame in range(60)]) + np.array(
            [[[window.x, window.y, 0]] for window in track.windows if window is not None]
        )
        assert trembling.std(axis=0).mean() < left * shaking.std(axis=0).mean()


def test_nothing_glides_across_a_cut() -> None:
    seen = [Seen(1, 0, 20, (200, 300)), Seen(2, 20, 40, (900, 500))]
    track, meshes = speaker_of(seen, 40, cuts=[20])
    before, after = (track.windows[frame] for frame in (19, 20))
    assert before is not None
    assert after is not None
    assert before == track.windows[0]
    assert after == track.windows[39]
    assert after.x - before.x == pytest.approx(700, abs=2)
    for frame, mesh_of in itertools.product((17, 19, 20), (track.crop_mesh, track.steady_mesh)):
        window, crop_mesh = track.windows[frame], mesh_of(frame)
        assert window is not None
        assert crop_mesh is not None
        assert np.abs(crop_mesh + np.array([window.x, window.y, 0]) - meshes[frame]).max() < 0.01


def test_a_source_without_faces_has_no_windows() -> None:
    track, _ = speaker_of([], 5)
    assert track.windows == [None] * 5
    assert len(track.seen_frames) == 0
    assert track.crop_mesh(3) is None
    assert track.steady_mesh(3) is None
