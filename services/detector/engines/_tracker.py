"""Faces followed through a video: each by its own mesh, with the detector for what is new or lost."""

import math
from dataclasses import dataclass, replace

import numpy as np

from services.detector.engines import TrackedFrame, TrackSettings
from services.detector.engines._cuts import CutFinder
from services.detector.engines._identity import Recognizer, is_another, measure_look
from services.detector.engines._networks import Detection, FaceNetworks, Mesh
from services.detector.engines._region import Region, distance, region_of_mesh, whole_picture, windows_of
from services.runtime.faces import Box, Face

_MEMORY = 12  # frames for which a lost face keeps its number
_SAME_FACE = 0.4  # of a region's side: two regions whose centres are nearer hold the same face
_REAPPEARS = 0.6  # of a region's side: so near to where it was lost, a face is the same
_SIZE_RATIO = 1.7  # one face's regions differ by less, from frame to frame or across a gap
_STILL = 0.02  # of a region's side: smaller steps are trembling, not motion
# Times a mesh is looked for until it is where it was looked for; a detection says only roughly where.
_LOOKS_AT_KNOWN, _LOOKS_AT_NEW = 2, 4
_TURNS = (math.pi / 2, -math.pi / 2, math.pi)  # of the view, tried when nothing is upright
_CLOSE_UP = 1.7  # room about the picture with which the detector is sure of a face that fills it
_SURE = 0.8  # score of detections that need no comparison with other turns of the view
_LARGE_VIEW = 1280  # pixels, longer side: beyond it faces are looked for part by part even where some are known
_JUMP = 0.25  # of a region's side: a face that moves so far in a frame may be another's
_BETTER = 1.5  # times as much of a face must be seen for its embedding to be taken again
_SMALLEST = 8.0  # side of the smallest region worth a look, pixels of the view


@dataclass(slots=True)
class _Track:
    """`region` is where the next frame's mesh is looked for; `lost` counts frames since the face was last seen.

    `embedding` was taken when `look` of the face was seen; `doubtful`: this may be somebody else by now.
    """

    number: int
    mesh: Mesh
    region: Region
    lost: int = 0
    embedding: np.ndarray | None = None
    look: float = 0.0
    doubtful: bool = True


class FaceTracker:
    """Tracker of services.detector.engines. Works in pixels of the view, answers in pixels of the source."""

    def __init__(self, networks: FaceNetworks, settings: TrackSettings, recognizer: Recognizer | None = None) -> None:
        self._networks = networks
        self._recognizer = recognizer
        self._settings = settings
        self._scale = np.array(
            [source / view for source, view in zip(settings.source_size, settings.view_size, strict=True)], np.float32
        )
        self._cuts = CutFinder()
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._last_number = 0
        self._frames_to_search = 0

    def track(self, view: np.ndarray) -> TrackedFrame:
        cut = self._cuts.is_cut(view)
        if cut:
            self._tracks, self._lost = [], []
            self._frames_to_search = 0
        self._follow(view)
        if self._frames_to_search <= 0:
            self._search(view, thorough=True)
            self._frames_to_search = self._settings.redetect_interval
        elif self._lost or not self._tracks:
            self._search(view, thorough=False)
        self._frames_to_search -= 1
        self._merge()
        self._tracks.sort(key=lambda track: -track.region.size)
        # Some more than asked for, lest a face come and go while two of a size take turns.
        del self._tracks[2 * self._settings.max_faces :]
        return TrackedFrame(cut, [self._to_face(view, track) for track in self._tracks[: self._settings.max_faces]])

    def _follow(self, view: np.ndarray) -> None:
        """Every track's mesh in this frame, looked for where the last one was."""
        for track in self._lost:
            track.lost += 1
        self._lost = [track for track in self._lost if track.lost <= _MEMORY]
        followed = []
        for track in self._tracks:
            mesh = self._find_mesh(view, track.region, _LOOKS_AT_KNOWN)
            if mesh is None or not _alike(region_of_mesh(mesh.points), track.region, _REAPPEARS):
                track.lost = 1
                self._lost.append(track)
            else:
                _move(track, mesh)
                followed.append(track)
        self._tracks = followed

    def _search(self, view: np.ndarray, thorough: bool) -> None:
        """New and lost faces by the detector; `thorough`: also turned and small ones, when nothing else is there."""
        found = self._networks.find_faces(view, whole_picture(view))
        if not self._tracks and _best_score(found) < _SURE:
            found = max(found, self._networks.find_faces(view, whole_picture(view, room=_CLOSE_UP)), key=_best_score)
        # A face upside down can be taken for an upright one, but never as surely as in its own turn.
        if not self._tracks and (found or thorough) and _best_score(found) < _SURE:
            found = max([found, *self._search_turned(view)], key=_best_score)
        self._take(view, found)
        if thorough and (not self._tracks or max(view.shape) > _LARGE_VIEW):
            self._take(view, self._search_windows(view))

    def _take(self, view: np.ndarray, found: list[Detection]) -> None:
        """Start tracks for those detections that no track follows yet."""
        for detection in found:
            if not any(_alike(detection.region, track.region, _SAME_FACE) for track in self._tracks):
                self._start(view, detection)

    def _search_turned(self, view: np.ndarray) -> list[list[Detection]]:
        return [self._networks.find_faces(view, whole_picture(view, turn)) for turn in _TURNS]

    def _search_windows(self, view: np.ndarray) -> list[Detection]:
        windows = windows_of(view, self._settings.tile_overlap)
        return [detection for window in windows for detection in self._networks.find_faces(view, window)]

    def _start(self, view: np.ndarray, detection: Detection) -> None:
        """A track for a detection, under its old number when the face was lost near here."""
        mesh = self._find_mesh(view, detection.region, _LOOKS_AT_NEW)
        if mesh is None:
            return
        region = region_of_mesh(mesh.points)
        near = [track for track in self._lost if _alike(region, track.region, _REAPPEARS)]
        if near:
            track = min(near, key=lambda track: distance(region, track.region))
            self._lost.remove(track)
            track.mesh, track.region, track.lost, track.doubtful = mesh, region, 0, True
        else:
            self._last_number += 1
            track = _Track(self._last_number, mesh, region)
        self._tracks.append(track)

    def _find_mesh(self, view: np.ndarray, region: Region, looks: int) -> Mesh | None:
        height, width = view.shape[:2]
        if region.size < _SMALLEST or not (0 <= region.x <= width and 0 <= region.y <= height):
            return None
        return self._networks.settle_mesh(view, region, self._settings.min_score, looks)

    def _merge(self) -> None:
        """One track per face: of two on the same face the older number stays."""
        kept: list[_Track] = []
        for track in sorted(self._tracks, key=lambda track: track.number):
            if not any(_alike(track.region, other.region, _SAME_FACE) for other in kept):
                kept.append(track)
        self._tracks = kept

    def _recognize(self, view: np.ndarray, track: _Track) -> np.ndarray | None:
        """The embedding where it is taken now; a face that turns out to be another's is a new track's."""
        look = measure_look(track.mesh.points)
        if self._recognizer is None or not (track.doubtful or look > _BETTER * track.look):
            return None
        embedding = self._recognizer.embed(view, track.mesh.points)
        if track.doubtful and track.embedding is not None and is_another(embedding, track.embedding):
            self._last_number += 1
            track.number = self._last_number
        track.embedding, track.look, track.doubtful = embedding, look, False
        return embedding

    def _to_face(self, view: np.ndarray, track: _Track) -> Face:
        embedding = self._recognize(view, track)
        landmarks = track.mesh.points.copy()
        landmarks[:, :2] *= self._scale
        landmarks[:, 2] *= self._scale[0]
        low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
        box = Box(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        return Face(track.number, box, track.mesh.score, landmarks, embedding)


def _move(track: _Track, mesh: Mesh) -> None:
    """The track onto its mesh in the next frame, the region a step ahead as the face has just moved."""
    before, now = region_of_mesh(track.mesh.points), region_of_mesh(mesh.points)
    track.mesh, track.region = mesh, now
    track.doubtful |= distance(before, now) > _JUMP * now.size
    if distance(before, now) > _STILL * now.size:
        track.region = replace(now, x=2 * now.x - before.x, y=2 * now.y - before.y)


def _best_score(found: list[Detection]) -> float:
    return max((detection.score for detection in found), default=0.0)


def _alike(region: Region, other: Region, reach: float) -> bool:
    """Whether two regions can hold the same face: alike in size, centres within `reach` of the smaller one's side."""
    small, large = sorted((region.size, other.size))
    return large <= _SIZE_RATIO * small and distance(region, other) <= reach * small
