"""A clip and all that is known of it: its faces as the orchestrator sees them, and what its mouth truly did."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.quality.pictures import measure_sharpness
from services.decoder.engines.pyav import PyAVDecoder
from services.detector.engines import TrackSettings
from services.detector.engines.blazeface import BlazeFace
from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import RewriteEngine
from services.orchestrator.compositing import CropWindow, cut_crop, make_view
from services.orchestrator.faces import DetectedFaces, SpeakerTrack
from services.orchestrator.persons import choose_largest, find_persons
from services.restorer.config import RestorerConfig
from services.restorer.engines import Engine as Restorer
from services.restorer.engines import load_engine as load_restorer
from services.runtime.config import read_env
from services.runtime.faces import LANDMARK_COUNT
from services.runtime.frames import Frame
from services.runtime.refusal import Refusal

_CACHE_VERSION = "3"  # changes when the same file and engines may give other meshes, or crops to see the truth in
_ROUGHLY_ALL = 1.6  # side of the picture that is measured over that of the crop: the forehead is needed too


@dataclass(frozen=True, slots=True)
class Engines:
    decoder: PyAVDecoder
    detector: BlazeFace
    lipsync: RewriteEngine
    restorer: Restorer


@dataclass(frozen=True, slots=True)
class Clip:
    """`pts` (frames,) in `time_base`; `truth` (frames, 468, 3), frame pixels, NaN where the speaker is not seen.

    `sharpness` (frames,) of the mouth in crops; `speech`: (n,) float32 at 16 kHz from time 0; None for a silent clip.
    """

    path: Path
    time_base: Fraction  # seconds
    pts: np.ndarray
    track: SpeakerTrack
    truth: np.ndarray
    sharpness: np.ndarray
    speech: np.ndarray | None

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def times(self) -> np.ndarray:
        """Seconds."""
        return self.pts * float(self.time_base)


def load_engines(restorer: str = "classic") -> Engines:
    """`restorer`: an engine's name; models and backends come from the usual RESTORER_... variables."""
    config = read_env(RestorerConfig, "RESTORER_")
    return Engines(PyAVDecoder(), BlazeFace(), RewriteEngine(), load_restorer(restorer, config))


def load_clip(path: Path, engines: Engines, cache: Path) -> Clip:
    """Its faces are looked for once and kept in the folder `cache`. Raises Refusal for a file without pictures."""
    whole = engines.restorer.info.whole_face
    made_by = [str(engines.decoder.info), str(engines.detector.info), *(["whole faces"] if whole else [])]
    key = json.dumps([_CACHE_VERSION, *made_by]).encode()
    digest = hashlib.sha256(path.read_bytes() + key).hexdigest()
    kept = cache / f"{path.stem}-{digest[:24]}.npz"
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        _keep(kept, _analyse(path, engines))
    with np.load(kept, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    track = _largest(arrays, whole)
    time_base = Fraction(str(arrays["time_base"]))
    return Clip(path, time_base, arrays["pts"], track, arrays["truth"], arrays["sharpness"], read_speech(path, engines))


def read_speech(path: Path, engines: Engines) -> np.ndarray | None:
    try:
        blocks = [block.samples[:, 0] for block in engines.decoder.decode_audio(path, SPEECH_RATE, 1)]
    except Refusal:
        return None
    return np.concatenate(blocks) if blocks else None


def read_frames(clip: Clip, engines: Engines, first: int) -> Iterator[tuple[int, Frame]]:
    """Number and picture of each frame from `first` on."""
    number_of = {int(pts): number for number, pts in enumerate(clip.pts)}
    for frame in engines.decoder.decode_frames(clip.path, int(clip.pts[first]) * clip.time_base, None).frames:
        if frame.pts in number_of:
            yield number_of[frame.pts], frame


def measure_mesh(frame: Frame, window: CropWindow, mesh: np.ndarray, detector: BlazeFace) -> np.ndarray:
    """The mesh (468, 3) that the detector sees in a frame, frame pixels; NaN when it sees none.

    `mesh`: the known one, in pixels of the crop at `window`. Truth and result are both seen this way.
    """
    grown = 2 * round(window.side * _ROUGHLY_ALL / 2)
    around = 2 * round((grown - window.side) / 4)
    view = CropWindow.of(window.x - around, window.y - 2 * around, grown + 2 * (grown % 2))
    rough = mesh / np.float32(window.crop_scale) + np.array([window.x - view.x, window.y - view.y, 0], np.float32)
    found = detector.landmark(cut_crop(frame, view), rough * np.float32(view.crop_scale))
    if found is None:
        return np.full((LANDMARK_COUNT, 3), np.nan, np.float32)
    return np.asarray(found[1] / np.float32(view.crop_scale) + np.array([view.x, view.y, 0], np.float32))


def to_crop(mesh: np.ndarray, window: CropWindow) -> np.ndarray:
    """A mesh in frame pixels -> in pixels of the crop."""
    return np.asarray((mesh - np.array([window.x, window.y, 0], np.float32)) * np.float32(window.crop_scale))


def _analyse(path: Path, engines: Engines) -> dict[str, np.ndarray]:
    """As the orchestrator's analysis, in one process; then the true meshes."""
    stream = engines.decoder.decode_frames(path, None, None)
    size = (stream.format.width, stream.format.height)
    tracker = None
    pts, cuts, rows, meshes = [], [], [], []
    for number, frame in enumerate(stream.frames):
        view = make_view(frame)
        if tracker is None:
            tracker = engines.detector.open_tracker(TrackSettings((view.shape[1], view.shape[0]), size))
        found = tracker.track(view)
        for face in found.faces:
            box = face.box
            rows.append((number, face.track, box.width * box.height, box.x + box.width / 2, box.y + box.height / 2))
            meshes.append(face.landmarks)
        pts.append(frame.pts)
        cuts.append(found.cut)
    arrays = {
        "time_base": np.array(str(stream.time_base)),
        "pts": np.array(pts, np.int64),
        "cuts": np.array(cuts, bool),
        "rows": np.array(rows, np.float64).reshape(-1, 5),
        "meshes": np.array(meshes, np.float32).reshape(-1, LANDMARK_COUNT, 3),
    }
    track = _largest(arrays, engines.restorer.info.whole_face)
    nothing = np.full((len(pts), LANDMARK_COUNT, 3), np.nan, np.float32)
    clip = Clip(path, stream.time_base, arrays["pts"], track, nothing, nothing[:, 0, 0].copy(), None)
    for number, frame in read_frames(clip, engines, 0):
        window, mesh = track.windows[number], track.crop_mesh(number)
        if window is not None and mesh is not None:
            clip.truth[number] = measure_mesh(frame, window, mesh, engines.detector)
            clip.sharpness[number] = measure_sharpness(cut_crop(frame, window), to_crop(clip.truth[number], window))
    return arrays | {"truth": clip.truth, "sharpness": clip.sharpness}


def _largest(arrays: dict[str, np.ndarray], whole_face: bool) -> SpeakerTrack:
    """The largest face of each shot."""
    faces = _faces(arrays)
    return SpeakerTrack(faces, arrays["meshes"], choose_largest(faces, find_persons(faces, {})), whole_face)


def _faces(arrays: dict[str, np.ndarray]) -> DetectedFaces:
    rows = arrays["rows"]
    return DetectedFaces(
        rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2], rows[:, 3:5], arrays["cuts"]
    )


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, allow_pickle=False, **arrays)
    part.replace(path)
