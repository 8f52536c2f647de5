"""Analyse: every face in every frame of a source, kept by content so that the next job on the source pays nothing."""

import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.compositing import make_view
from services.orchestrator.faces import DetectedFaces
from services.orchestrator.likeness import describe_face, join_descriptions
from services.orchestrator.pipeline import pass_through
from services.orchestrator.report import describe_engine
from services.orchestrator.stages import Metadata, Stages
from services.runtime.convert import from_frames, to_mesh
from services.runtime.faces import LANDMARK_COUNT
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.wire import Packet
from syncline.v1 import detector_pb2, media_pb2

VERSION = "2"  # changes when the same frames and engines may give another analysis
_VIEW_SIDE = 640  # pixels, the longer side of what the detector looks at
_LOOK_STEP = 5  # frames between the first looks at a track's face

Report = Callable[[int], None]


@dataclass(frozen=True)
class Analysis:
    """pts (frames,) int64 in time_base; faces: see DetectedFaces; meshes (faces, 468, 3) float32, frame pixels.

    descriptions: what the face of each track looks like, by the track's number; see likeness.py.

    The meshes are mapped from their file: a long source does not fill the memory.
    """

    format: FrameFormat
    time_base: Fraction  # seconds
    pts: np.ndarray
    faces: DetectedFaces
    meshes: np.ndarray
    descriptions: dict[int, np.ndarray]
    engines: dict[str, Any]

    @property
    def seconds(self) -> np.ndarray:
        """When each frame is shown, from the first one's time on. (frames,) float64."""
        return (self.pts - self.pts[:1]) * float(self.time_base)


def analysis_key(source: str, decoder: media_pb2.EngineInfo, detector: media_pb2.EngineInfo) -> str:
    """What an analysis was made from."""
    models = [model.sha256 for model in detector.models]
    return json.dumps([VERSION, source, decoder.name, decoder.version, detector.name, detector.version, models])


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
    shape = (len(faces.frame), LANDMARK_COUNT, 3)
    meshes: np.ndarray = np.zeros(shape, np.float32)
    if len(faces.frame):
        meshes = np.memmap(artifacts.artifact_path("meshes", key), np.float32, "r", shape=shape)
    width, height, pixel_format, color = about["format"]
    frame_format = FrameFormat(width, height, PixelFormat(pixel_format), Color(*color))
    return Analysis(frame_format, Fraction(about["time_base"]), pts, faces, meshes, descriptions, about["engines"])


async def analyse(
    stages: Stages, artifacts: ArtifactStore, source: str, key: str, metadata: Metadata, report: Report
) -> Analysis:
    """Decodes the whole source, finds its faces and keeps the result under `key`."""
    async with stages.decode_frames(source, metadata) as reader:
        size = (reader.format.width, reader.format.height)
        if min(size) < 32:
            raise Refusal("PICTURE_TOO_SMALL", f"the picture has {size[0]} x {size[1]} pixels; no face fits into it")
        view_format = _view_format(*size)
        wanted = detector_pb2.DetectOpen(
            view_width=view_format.width, view_height=view_format.height, source_width=size[0], source_height=size[1]
        )
        opening = Packet(detector_pb2.DetectRequest(open=wanted))
        async with stages.stream("detector", "Detect", opening, metadata) as stream:
            collected = _Collected(view_format.width / size[0])
            with artifacts.scratch() as mesh_path:
                with mesh_path.open("wb") as mesh_file:
                    async for views in pass_through(stream, _make_views(reader, view_format), _to_packet, _take_faces):
                        await in_thread(collected.add, views, mesh_file)
                        report(len(collected.pts))
                artifacts.adopt_artifact("meshes", key, mesh_path)
            about = {
                "format": [*size, int(reader.format.pixel_format), _plain_color(reader.format.color)],
                "time_base": str(reader.time_base),
                "engines": {
                    "decoder": describe_engine(reader.terms.engine),
                    "detector": describe_engine(stream.opened.terms.engine),
                },
            }
    await in_thread(_store, artifacts, key, about, collected)
    analysis = load_analysis(artifacts, key)
    assert analysis is not None
    return analysis


@dataclass
class _Views:
    """A few frames' views on their way through the detector."""

    frames: list[Frame]
    faces: list[detector_pb2.FrameFaces] = field(default_factory=list)


@dataclass
class _Collected:
    """What grows with the source's length, a few numbers per face; the meshes go to their file."""

    view_scale: float  # pixels of the view per pixel of the frame
    pts: list[int] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    rows: list[tuple[int, int, float, float, float]] = field(default_factory=list)
    looks: dict[int, "_Looks"] = field(default_factory=dict)  # by track

    def add(self, views: _Views, mesh_file: BinaryIO) -> None:
        for frame, found in zip(views.frames, views.faces, strict=True):
            for face in found.faces:
                box = face.box
                centre = (box.x + box.width / 2, box.y + box.height / 2)
                self.rows.append((len(self.pts), face.track, box.width * box.height, *centre))
                mesh = to_mesh(face.landmarks)
                mesh_file.write(mesh.tobytes())
                self.looks.setdefault(face.track, _Looks()).add(frame.planes[0], mesh * np.float32(self.view_scale))
            self.pts.append(frame.pts)
            self.cuts.append(found.cut)


@dataclass
class _Looks:
    """What a track's face looks like: looked at ever more seldom, so that long tracks cost little."""

    descriptions: list[np.ndarray] = field(default_factory=list)
    _seen: int = 0
    _due: int = 0

    def add(self, view: np.ndarray, mesh: np.ndarray) -> None:
        if self._seen == self._due:
            self.descriptions.append(describe_face(view, mesh))
            self._due += max(_LOOK_STEP, self._due // 2)
        self._seen += 1


async def _make_views(reader: AsyncIterator[list[Frame]] | Any, view_format: FrameFormat) -> AsyncIterator[_Views]:
    async for frames in reader:
        yield _Views(await in_thread(_shrink, frames, view_format))


def _shrink(frames: list[Frame], view_format: FrameFormat) -> list[Frame]:
    return [Frame(frame.pts, view_format, (make_view(frame, _VIEW_SIDE),)) for frame in frames]


def _view_format(width: int, height: int) -> FrameFormat:
    blank = np.zeros((height, width), np.uint8)
    probe = Frame(0, FrameFormat(width, height, PixelFormat.YUV444P), (blank, blank, blank))
    view_height, view_width = make_view(probe, _VIEW_SIDE).shape[:2]
    return FrameFormat(view_width, view_height, PixelFormat.RGB24)


def _to_packet(sequence: int, views: _Views) -> Packet:
    batch, payload = from_frames(sequence, views.frames)
    return Packet(detector_pb2.DetectRequest(views=batch), payload)


def _take_faces(views: _Views, answer: Packet) -> None:
    views.faces.extend(answer.message.faces.frames)


def _store(artifacts: ArtifactStore, key: str, about: dict[str, Any], collected: _Collected) -> None:
    rows = np.array(collected.rows, np.float64).reshape(-1, 5)
    file = io.BytesIO()
    np.savez_compressed(
        file,
        about=np.array(json.dumps(about)),
        pts=np.array(collected.pts, np.int64),
        cuts=np.array(collected.cuts, bool),
        frame=rows[:, 0].astype(np.int64),
        track=rows[:, 1].astype(np.int64),
        area=rows[:, 2],
        centre=rows[:, 3:5],
        tracks=np.array(list(collected.looks), np.int64),
        descriptions=np.array(
            [join_descriptions(looks.descriptions) for looks in collected.looks.values()], np.float32
        ),
    )
    artifacts.put_artifact("analysis", key, [file.getvalue()])


def _plain_color(color: Color) -> list[Any]:
    return [color.matrix, color.primaries, color.transfer, color.full_range]
