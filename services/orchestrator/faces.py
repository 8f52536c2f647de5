"""Which faces belong together within a shot, and where to cut one out: one mesh and one window per frame."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.orchestrator.compositing import CropWindow
from services.runtime.blobs import Rows

_VERSION = "1"  # changes when the same analysis may be cut out otherwise, or give other meshes of crops
# Points of the FaceMesh: outer ends of the face at the ears, bridge of the nose between the eyes, chin, under the nose.
_KEY_POINTS = (234, 454, 168, 152, 2)
_ROOM = 1.3  # window side over face size: the jaw opens, the neck below it gives way
_WHOLE_ROOM = 2.0  # the same for a window on the whole face
_SHAKE = 4.0  # frames; the window's centre is smoothed over about so many
_STEADY = 3  # frames to either side over which a steady mesh is smoothed


@dataclass(frozen=True, slots=True)
class DetectedFaces:
    """Faces of a whole source, one row each, in order of frames.

    frame (n,) int64; track (n,) int64; area (n,) float64, square pixels; centre (n, 2) float64, pixels;
    cuts (frames,) bool: a cut lies before the frame.
    """

    frame: np.ndarray
    track: np.ndarray
    area: np.ndarray
    centre: np.ndarray
    cuts: np.ndarray


class SpeakerTrack:
    """A face that is to speak, in every frame of a source.

    meshes (faces, 468, 3) float32: one for each row of `faces`; rows (frames,) int64: the face's row in each frame, -1
    where it is not seen. `whole_face`: its crops show all of it, not the lower half alone.
    """

    def __init__(self, faces: DetectedFaces, meshes: Rows, rows: np.ndarray, whole_face: bool = False) -> None:
        self._meshes = meshes
        self._cuts = faces.cuts
        self._rows = rows
        seen = np.flatnonzero(self._rows >= 0)
        key_points = np.zeros((len(self._rows), len(_KEY_POINTS), 2))
        for frame in seen:  # one by one: all together they may be larger than the memory
            key_points[frame] = meshes[self._rows[frame]][list(_KEY_POINTS), :2]
        self._whole_face = whole_face
        self.windows = place_windows(key_points, self._rows >= 0, faces.cuts, whole_face)

    @property
    def digest(self) -> str:
        """Of which face this is, within its analysis, and of how it is cut out."""
        cutting = _VERSION.encode() + (b"whole" if self._whole_face else b"")
        return hashlib.sha256(self._rows.tobytes() + cutting).hexdigest()

    @property
    def seen_frames(self) -> np.ndarray:
        """Frames in which the face is seen, in order. (n,) int64."""
        return np.flatnonzero(self._rows >= 0)

    @property
    def crop_scale(self) -> float:
        """Crop pixels per frame pixel, the same for all crops. Raises StopIteration where no face is ever seen."""
        return next(window.crop_scale for window in self.windows if window is not None)

    def crop_mesh(self, frame: int) -> np.ndarray | None:
        """(468, 3) float32 in pixels of the frame's crop; None where the face is not seen.

        The detector's tremble is taken out without delay: each mesh goes a little towards its neighbours'. No more, or
        lips that meet for one frame would be measured as apart.
        """
        window = self.windows[frame]
        if window is None:
            return None
        mesh = np.array(self._meshes[self._rows[frame]])
        before, after = self._neighbour(frame, -1), self._neighbour(frame, 1)
        if before is not None and after is not None:
            mesh = 0.1 * before + 0.8 * mesh + 0.1 * after
        return _to_window(mesh, window)

    def steady_mesh(self, frame: int) -> np.ndarray | None:
        """As crop_mesh, calmer and less exact: for what is laid onto the face as a whole and must not tremble.

        As many frames are taken on either side, so that a face that moves is not held back.
        """
        window = self.windows[frame]
        if window is None:
            return None
        meshes = [self._meshes[self._rows[frame]]]
        for step in range(_STEADY):
            before, after = self._neighbour(frame - step, -1), self._neighbour(frame + step, 1)
            if before is None or after is None:
                break
            meshes = [before, *meshes, after]
        weights = np.bartlett(len(meshes) + 2)[1:-1]
        return _to_window(np.tensordot(weights / weights.sum(), np.array(meshes), 1), window)

    def _neighbour(self, frame: int, step: int) -> np.ndarray | None:
        """The same face's mesh one frame on; None across a cut or where it is not seen."""
        other = frame + step
        if not 0 <= other < len(self._rows) or self._rows[other] < 0 or self._cuts[max(frame, other)]:
            return None
        mesh: np.ndarray = self._meshes[self._rows[other]]
        return mesh


def _to_window(mesh: np.ndarray, window: CropWindow) -> np.ndarray:
    """(468, 3) float32: from pixels of the frame to those of the crop."""
    moved: np.ndarray = (mesh - np.array([window.x, window.y, 0], np.float32)) * np.float32(window.crop_scale)
    return moved.astype(np.float32)


def find_shots(faces: DetectedFaces) -> list[tuple[int, int]]:
    """(first frame, frame after the last) of each shot."""
    bounds = np.unique(np.concatenate([[0], np.flatnonzero(faces.cuts), [len(faces.cuts)]]))
    return [(int(first), int(end)) for first, end in pairwise(bounds)]


def find_appearances(faces: DetectedFaces, differ: Callable[[int, int], bool]) -> list[np.ndarray]:
    """Everybody's rows in every shot, in order of frames, at most one a frame; the largest of each shot first.

    A face the detector lost is the same when it comes back near where it was: a track that never shares a frame with it
    and begins and ends within a face's width, unless the two tracks are known to `differ`.
    """
    appearances: list[np.ndarray] = []
    for first, end in find_shots(faces):
        shot = np.arange(*np.searchsorted(faces.frame, [first, end]))
        tracks = [shot[faces.track[shot] == track] for track in np.unique(faces.track[shot])]
        waiting = sorted(tracks, key=lambda own: -faces.area[own].sum())
        while waiting:
            appearance, waiting = _follow(faces, waiting, differ)
            appearances.append(appearance)
    return appearances


def _follow(
    faces: DetectedFaces, waiting: list[np.ndarray], differ: Callable[[int, int], bool]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The first track with all that go on from it or lead up to it, and the tracks that are left."""
    chosen, rest = waiting[0], waiting[1:]
    first, left = int(faces.track[chosen[0]]), -1
    while len(rest) != left:  # a track that joins may be the one that the next goes on from
        left, waiting, rest = len(rest), rest, []
        for own in waiting:
            apart = np.isin(faces.frame[own], faces.frame[chosen]).any() or differ(int(faces.track[own[0]]), first)
            if not apart and _continues(faces, own, chosen):
                chosen = np.sort(np.concatenate([chosen, own]))
            else:
                rest.append(own)
    return chosen, rest


def _continues(faces: DetectedFaces, own: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether a track's rows lie, in size and place, where the chosen ones before and after them in time do."""
    rows = np.concatenate([own, chosen])
    is_own = np.arange(len(rows)) < len(own)
    order = np.argsort(faces.frame[rows])
    rows, is_own = rows[order], is_own[order]
    seams = np.flatnonzero(is_own[1:] != is_own[:-1])
    before, after = rows[seams], rows[seams + 1]
    larger = np.maximum(faces.area[before], faces.area[after])
    smaller = np.minimum(faces.area[before], faces.area[after])
    distance = np.linalg.norm(faces.centre[before] - faces.centre[after], axis=1)
    return bool(((distance < np.sqrt(larger)) & (smaller > 0.4 * larger)).all())


def place_windows(
    key_points: np.ndarray, seen: np.ndarray, cuts: np.ndarray, whole_face: bool = False
) -> list[CropWindow | None]:
    """A window on the lower face for each frame: one size for the whole source, its centre moving smoothly.

    `whole_face`: on all of it, with the room around it that FFHQ's pictures have.
    key_points (frames, 5, 2): the points _KEY_POINTS in frame pixels; seen, cuts (frames,) bool. None where not seen.
    """
    windows: list[CropWindow | None] = [None] * len(seen)
    if not seen.any():
        return windows
    left, right, bridge, chin, nose_base = (key_points[:, point] for point in range(5))
    sizes = np.maximum(np.linalg.norm(left - right, axis=1), np.linalg.norm(bridge - chin, axis=1))
    room, low, high = (_WHOLE_ROOM, bridge, nose_base) if whole_face else (_ROOM, nose_base, chin)
    side = max(int(np.ceil(room * sizes[seen].max() / 16)) * 16, 32)
    centres = (low + high) / 2
    for first, end in _runs(seen, cuts):
        x, y = (_glide(centres[first:end, axis]) for axis in (0, 1))
        for frame in range(first, end):
            left, top = (2 * round((value[frame - first] - side / 2) / 2) for value in (x, y))
            windows[frame] = CropWindow.of(left, top, side)
    return windows


def _runs(seen: np.ndarray, cuts: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of each run of frames with the face and without a cut inside."""
    runs: list[tuple[int, int]] = []
    first = None
    for frame, here in enumerate(seen):
        if first is not None and (not here or cuts[frame]):
            runs.append((first, frame))
            first = None
        if here and first is None:
            first = frame
    if first is not None:
        runs.append((first, len(seen)))
    return runs


def _glide(values: np.ndarray) -> np.ndarray:
    """The values smoothed by a Gaussian, ends held."""
    reach = int(3 * _SHAKE)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SHAKE) ** 2)
    padded = np.pad(values.astype(np.float64), reach, mode="edge")
    return np.convolve(padded, weights / weights.sum(), mode="valid")
