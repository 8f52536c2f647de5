"""Analyse: every face in every frame of a source, kept by content so that the next job on the source pays nothing."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.detection import FaceFinder, SeenFrame
from services.orchestrator.faces import DetectedFaces
from services.orchestrator.likeness import ARCFACE, LANDMARKS, MEASURES, Measure, describe_face, join_descriptions
from services.orchestrator.report import describe_engine
from services.orchestrator.stages import Metadata, Stages
from services.runtime.blobs import Rows, StoredArray
from services.runtime.faces import LANDMARK_COUNT
from services.runtime.frames import Color, FrameFormat, PixelFormat, copy_frame
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.errors import InternalError
from syncline.v1 import media_pb2

VERSION = "4"  # changes when the same frames and engines may give another analysis
_VIEW_SIDE = 640  # pixels, the longer side of what the detector looks at
_LARGE_VIEW_SIDE = 2560  # pixels, where that shows no face or only small ones
_LARGER = 1.5  # a larger view must be by so much
_SMALL_FACE = 32  # pixels of the view, its longer side
_WORTH_A_LOOK = 0.5  # seconds without a face, or only with small ones
_LOOK_STEP = 5  # frames between the first looks at a track's face
_MESH_BYTES = LANDMARK_COUNT * 3 * 4
_COPY_BYTES = 1024 * 1024

Report = Callable[[int], None]


@dataclass(frozen=True)
class Analysis:
    """pts (frames,) int64 in time_base; faces: see DetectedFaces; meshes (faces, 468, 3) float32, frame pixels.

    descriptions: what the face of each track looks like, by its number, as `measure` compares it; see likeness.py.

    The meshes are left in their file: a long source does not fill the memory.
    """

    format: FrameFormat
    time_base: Fraction  # seconds
    pts: np.ndarray
    faces: DetectedFaces
    meshes: Rows
    descriptions: dict[int, np.ndarray]
    engines: dict[str, Any]
    measure: Measure = LANDMARKS

    @property
    def seconds(self) -> np.ndarray:
        """When each frame is shown, from the first one's time on. (frames,) float64."""
        return (self.pts - self.pts[:1]) * float(self.time_base)


def analysis_key(
    source: str,
    decoder: media_pb2.EngineInfo,
    detector: media_pb2.EngineInfo,
    part: tuple[Fraction, Fraction] | None = None,
) -> str:
    """What an analysis was made from."""
    models = [model.sha256 for model in detector.models]
    facts = [VERSION, source, decoder.name, decoder.version, detector.name, detector.version, models]
    return json.dumps(facts + ([] if part is None else [str(time) for time in part]))


def load_analysis(artifacts: ArtifactStore, key: str) -> Analysis | None:
    """The analysis of that key; None when it was never finished."""
    facts = artifacts.get_artifact("analysis", key)
    if facts is None:
        return None
    with np.load(io.BytesIO(facts), allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        faces = DetectedFaces(arrays["frame"], arrays["track"], arrays["area"], arrays["centre"], arrays["cuts"])
        pts = arrays["pts"]
        descriptions = dict(zip(arrays["tracks"].tolist(), arrays["descriptions"], strict=True))
    try:
        meshes = StoredArray.open(artifacts.artifact_path("meshes", key), np.float32, LANDMARK_COUNT, 3)
    except FileNotFoundError:  # cleaned up before its other half
        return None
    width, height, pixel_format, color = about["format"]
    frame_format = FrameFormat(width, height, PixelFormat(pixel_format), Color(*color))
    time_base, engines, measure = Fraction(about["time_base"]), about["engines"], MEASURES[about["measure"]]
    return Analysis(frame_format, time_base, pts, faces, meshes, descriptions, engines, measure)


async def analyse(
    stages: Stages,
    artifacts: ArtifactStore,
    source: str,
    key: str,
    metadata: Metadata,
    report: Report,
    part: tuple[Fraction, Fraction] | None = None,
) -> Analysis:
    """Decodes the whole source, or what lies between two presentation times; finds its faces, keeps them under `key`.

    Stretches in which the small view shows no face, or only small ones, are looked at again in a larger one.
    """
    with artifacts.scratch() as first_path, artifacts.scratch() as second_path, artifacts.scratch() as mesh_path:
        with first_path.open("wb") as first_meshes, second_path.open("wb") as second_meshes:
            begin, end = part or (None, None)
            async with stages.decode_frames(source, metadata, copy_frame, begin, end) as reader:
                size = (reader.format.width, reader.format.height)
                if min(size) < 32:
                    message = f"the picture has {size[0]} x {size[1]} pixels; no face fits into it"
                    raise Refusal("PICTURE_TOO_SMALL", message)
                async with FaceFinder(stages, reader, _VIEW_SIDE, metadata) as finder:
                    whole = _Collected(first_meshes)
                    async for seen in finder:
                        await in_thread(whole.add, seen)
                        report(len(whole.pts))
                about = {
                    "format": [*size, int(reader.format.pixel_format), _plain_color(reader.format.color)],
                    "time_base": str(reader.time_base),
                    "engines": {
                        "decoder": describe_engine(reader.terms.engine),
                        "detector": describe_engine(finder.engine),
                    },
                }
            second = _Collected(second_meshes)
            stretches = _find_stretches(whole, max(size), reader.time_base)
            for first, last in stretches:
                await _look_again(stages, source, metadata, whole, second, (first, last), reader.time_base, end)
        rows = await in_thread(_merge, whole, second, stretches, (first_path, second_path), mesh_path)
        await in_thread(artifacts.adopt_artifact, "meshes", key, mesh_path)
    await in_thread(_store, artifacts, key, about, whole, rows, {**whole.looks, **second.looks})
    analysis = await in_thread(load_analysis, artifacts, key)
    assert analysis is not None
    return analysis


async def _look_again(
    stages: Stages,
    source: str,
    metadata: Metadata,
    whole: "_Collected",
    second: "_Collected",
    stretch: tuple[int, int],
    time_base: Fraction,
    last: Fraction | None,
) -> None:
    first, end = stretch
    second.begin(first, whole.last_track)
    until = whole.pts[end] * time_base if end < len(whole.pts) else last
    async with (
        stages.decode_frames(source, metadata, copy_frame, whole.pts[first] * time_base, until) as reader,
        FaceFinder(stages, reader, _LARGE_VIEW_SIDE, metadata) as finder,
    ):
        async for seen in finder:
            await in_thread(second.add, seen)
    if second.pts != whole.pts[first:end]:
        raise InternalError(f"the decoder gave other frames from frame {first} on than it gave before")


class _Collected:
    """What grows with the source's length, a few numbers per face; the meshes go to their file."""

    def __init__(self, mesh_file: BinaryIO) -> None:
        self._mesh_file = mesh_file
        self._first_frame = self._first_track = 0
        self.pts: list[int] = []  # since begin
        self.cuts: list[bool] = []
        self.rows: list[tuple[int, int, float, float, float]] = []  # frame, track, area, centre's x and y
        self.largest: list[float] = []  # the longer side of each frame's largest face, pixels of the view; 0: none
        self.looks: dict[int, _Looks] = {}  # by track
        self.last_track = 0

    def begin(self, frame: int, track: int) -> None:
        """The next frame is number `frame` of the source; its tracks are counted on from `track` or what came here."""
        self._first_frame, self._first_track, self.pts = frame, max(track, self.last_track), []

    def add(self, frames: list[SeenFrame]) -> None:
        for seen in frames:
            sides = [0.0]
            for face in seen.faces:
                x, y, width, height = face.box
                track = self._first_track + face.track
                frame = self._first_frame + len(self.pts)
                self.rows.append((frame, track, width * height, x + width / 2, y + height / 2))
                self._mesh_file.write(face.mesh.tobytes())
                self.looks.setdefault(track, _Looks()).add(
                    seen.view, face.mesh * np.float32(seen.scale), face.embedding
                )
                self.last_track = max(self.last_track, track)
                sides.append(max(width, height) * seen.scale)
            self.largest.append(max(sides))
            self.pts.append(seen.pts)
            self.cuts.append(seen.cut)


@dataclass
class _Looks:
    """What a track's face looks like: looked at ever more seldom, so that long tracks cost little.

    `embeddings`: those that the detector has taken; none where it has no recognition network.
    """

    descriptions: list[np.ndarray] = field(default_factory=list)
    embeddings: list[np.ndarray] = field(default_factory=list)
    _seen: int = 0
    _due: int = 0

    def add(self, view: np.ndarray, mesh: np.ndarray, embedding: np.ndarray | None) -> None:
        if embedding is not None:
            self.embeddings.append(embedding)
        if self._seen == self._due:
            self.descriptions.append(describe_face(view, mesh))
            self._due += max(_LOOK_STEP, self._due // 2)
        self._seen += 1


def _find_stretches(whole: _Collected, longer_side: int, time_base: Fraction) -> list[tuple[int, int]]:
    """(first frame, frame after the last) of what a larger view may show more of: within one shot each."""
    if longer_side < _LARGER * _VIEW_SIDE:
        return []
    small = np.array(whole.largest) < _SMALL_FACE
    edges = np.flatnonzero(np.diff(small)) + 1
    bounds = np.unique(np.concatenate([[0], edges, np.flatnonzero(whole.cuts), [len(small)]])).tolist()
    ends = [*whole.pts, 2 * whole.pts[-1] - whole.pts[max(len(whole.pts) - 2, 0)]]
    return [
        (first, end)
        for first, end in pairwise(bounds)
        # A photo is one frame that lasts no time.
        if small[first] and (end - first == len(small) or (ends[end] - ends[first]) * time_base >= _WORTH_A_LOOK)
    ]


def _merge(
    whole: _Collected, second: _Collected, stretches: list[tuple[int, int]], paths: tuple[Path, Path], mesh_path: Path
) -> np.ndarray:
    """The faces of both looks in order of frames, rows as _Collected has them: (n, 5) float64; writes their meshes.

    A stretch's faces are those of the second look unless that saw faces in fewer of its frames.
    """
    looks = [np.array(look.rows, np.float64).reshape(-1, 5) for look in (whole, second)]
    pieces: list[tuple[int, slice]] = []  # which look, and which of its rows
    done = 0
    for first, end in stretches:
        found = [slice(*np.searchsorted(rows[:, 0], [first, end])) for rows in looks]
        frames = [len(np.unique(rows[part, 0])) for rows, part in zip(looks, found, strict=True)]
        if frames[1] >= frames[0]:
            pieces += [(0, slice(done, found[0].start)), (1, found[1])]
            done = found[0].stop
    pieces.append((0, slice(done, len(looks[0]))))
    with mesh_path.open("wb") as target:
        for look, part in pieces:
            with paths[look].open("rb") as meshes:
                meshes.seek(part.start * _MESH_BYTES)
                left = (part.stop - part.start) * _MESH_BYTES
                while left:
                    left -= target.write(meshes.read(min(left, _COPY_BYTES)))
    return np.concatenate([looks[look][part] for look, part in pieces])


def _store(
    artifacts: ArtifactStore,
    key: str,
    about: dict[str, Any],
    whole: _Collected,
    rows: np.ndarray,
    looks: Mapping[int, _Looks],
) -> None:
    tracks = np.unique(rows[:, 1]).astype(np.int64)
    known = [looks[track] for track in tracks.tolist()]
    measure = ARCFACE if known and all(look.embeddings for look in known) else LANDMARKS
    described = [look.embeddings if measure is ARCFACE else look.descriptions for look in known]
    file = io.BytesIO()
    np.savez_compressed(
        file,
        about=np.array(json.dumps({**about, "measure": measure.name})),
        pts=np.array(whole.pts, np.int64),
        cuts=np.array(whole.cuts, bool),
        frame=rows[:, 0].astype(np.int64),
        track=rows[:, 1].astype(np.int64),
        area=rows[:, 2],
        centre=rows[:, 3:5],
        tracks=tracks,
        descriptions=np.array([join_descriptions(seen) for seen in described], np.float32),
    )
    artifacts.put_artifact("analysis", key, [file.getvalue()])


def _plain_color(color: Color) -> list[Any]:
    return [color.matrix, color.primaries, color.transfer, color.full_range]
