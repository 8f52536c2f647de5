"""Faces of a run of frames: found in small views, their meshes looked at again in crops of the full frames."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType

import cv2
import numpy as np

from services.orchestrator.compositing import CropWindow, cut_crop, make_view
from services.orchestrator.pipeline import pass_through
from services.orchestrator.stages import FrameReader, Metadata, Stages, transports
from services.runtime.convert import from_crops, from_frames, to_mesh
from services.runtime.faces import Crop
from services.runtime.frames import Frame, FrameFormat, PixelFormat
from services.runtime.streams import in_thread
from services.runtime.wire import Packet
from syncline.v1 import detector_pb2, media_pb2

# Frames that travel together: their faces' crops are one batch, and full frames do not pile up.
_BATCH = 8
# A mesh is looked for again where the view shows a face much smaller than the network sees it, and the frame larger.
_LOOKED_AT = 48  # pixels of the view, side of a face: a quarter of what the mesh network looks at
_SHRUNK = 0.8  # pixels of the view per pixel of the frame
_AIR = 1.8  # of a face's side: room for its turned square in the crop
_CROP = 256  # pixels: the square that the mesh network looks at then has more than its own 192


@dataclass(slots=True)
class FoundFace:
    """`mesh`: (468, 3) float32, frame pixels; its box follows from it. `embedding`: see services.runtime.faces.Face."""

    track: int
    mesh: np.ndarray
    embedding: np.ndarray | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height in frame pixels."""
        low, high = self.mesh[:, :2].min(axis=0), self.mesh[:, :2].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


@dataclass(slots=True)
class SeenFrame:
    """`view`: (height, width, 3) uint8 RGB, `scale` of its pixels to one of the frame; `cut`: a cut lies before it."""

    pts: int
    view: np.ndarray
    scale: float
    cut: bool = False
    faces: list[FoundFace] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """A few frames on their way; `full`: the frames themselves, until no crop is to be cut from them any more."""

    seen: list[SeenFrame]
    full: list[Frame]
    looked_at: list[tuple[FoundFace, CropWindow]] = field(default_factory=list)


class FaceFinder:
    """Looks at the frames of one reader. Use as `async with`, then iterate: lists of SeenFrame, in order."""

    def __init__(self, stages: Stages, reader: FrameReader[Frame], view_side: int, metadata: Metadata) -> None:
        """`view_side`: pixels, the longer side of what the detector looks at."""
        self._reader = reader
        size = reader.format.width, reader.format.height
        self._view_side = view_side
        self._view_format = _view_format(*size, view_side)
        self._scale = self._view_format.width / size[0]
        wanted = detector_pb2.DetectOpen(
            view_width=self._view_format.width,
            view_height=self._view_format.height,
            source_width=size[0],
            source_height=size[1],
            **transports(),
        )
        self._opening = Packet(detector_pb2.DetectRequest(open=wanted))
        self._stages, self._metadata = stages, metadata
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "FaceFinder":
        stream = self._stages.stream("detector", "Detect", self._opening, self._metadata)
        self._detect = await self._stack.enter_async_context(stream)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def engine(self) -> media_pb2.EngineInfo:
        info: media_pb2.EngineInfo = self._detect.opened.terms.engine
        return info

    async def __aiter__(self) -> AsyncIterator[list[SeenFrame]]:
        async for batch in pass_through(self._detect, self._batches(), self._to_views, _take_faces):
            crops = await in_thread(_cut_crops, batch)
            if crops:
                await self._look_closer(batch, crops)
            yield batch.seen

    async def _look_closer(self, batch: _Batch, crops: list[Crop]) -> None:
        """A stream for each batch that needs one: most need none, and one that is kept open and unused would stall.

        Without shared memory: for one batch it costs more to make than it saves.
        """
        opening = Packet(detector_pb2.LandmarkRequest(open=detector_pb2.LandmarkOpen()))
        async with self._stages.stream("detector", "Landmark", opening, self._metadata) as stream:
            async for answer in stream.exchange(_send_once(crops)):
                if answer.message.WhichOneof("message") == "landmarks":
                    _take_meshes(batch, answer)

    async def _batches(self) -> AsyncIterator[_Batch]:
        async for frames in self._reader:
            for first in range(0, len(frames), _BATCH):
                yield await in_thread(self._look, frames[first : first + _BATCH])

    def _look(self, frames: list[Frame]) -> _Batch:
        seen = [SeenFrame(frame.pts, make_view(frame, self._view_side), self._scale) for frame in frames]
        return _Batch(seen, frames if self._scale < _SHRUNK else [])

    def _to_views(self, sequence: int, batch: _Batch) -> Packet:
        frames = [Frame(seen.pts, self._view_format, (seen.view,)) for seen in batch.seen]
        message, payload = from_frames(sequence, frames)
        return Packet(detector_pb2.DetectRequest(views=message), payload)


def _cut_crops(batch: _Batch) -> list[Crop]:
    """Of those faces that are to be looked at closer, in the order of `looked_at`."""
    crops: list[Crop] = []
    for seen, frame in zip(batch.seen, batch.full, strict=False):
        for face in seen.faces:
            window = _window_of(face, seen.scale)
            if window is not None:
                pixels = cv2.resize(cut_crop(frame, window), (_CROP, _CROP), interpolation=cv2.INTER_AREA)
                crops.append(Crop(len(crops), 0, pixels, _to_crop(face.mesh, window)))
                batch.looked_at.append((face, window))
    batch.full = []
    return crops


def _window_of(face: FoundFace, scale: float) -> CropWindow | None:
    """Where to look at the face again; None where its view shows it as large as the mesh network sees it."""
    x, y, width, height = face.box
    side = max(width, height)
    if side * scale > _LOOKED_AT:
        return None
    even = max(2 * round(_AIR * side / 2), 16)
    left, top = (2 * round((centre - even / 2) / 2) for centre in (x + width / 2, y + height / 2))
    return CropWindow.of(left, top, even)


def _take_faces(batch: _Batch, answer: Packet) -> None:
    for seen, found in zip(batch.seen, answer.message.faces.frames, strict=True):
        seen.cut = found.cut
        seen.faces = [_to_found(face) for face in found.faces]


def _to_found(face: detector_pb2.Face) -> FoundFace:
    embedding = np.array(face.embedding, np.float32) if face.embedding else None
    return FoundFace(face.track, to_mesh(face.landmarks), embedding)


async def _send_once(crops: list[Crop]) -> AsyncIterator[Packet]:
    message, payload = from_crops(0, crops)
    yield Packet(detector_pb2.LandmarkRequest(crops=message), payload)


def _take_meshes(batch: _Batch, answer: Packet) -> None:
    """A face that is not found again keeps the mesh that the view gave."""
    for found in answer.message.landmarks.crops:
        face, window = batch.looked_at[found.frame]
        face.mesh = _from_crop(to_mesh(found.landmarks), window)


def _to_crop(mesh: np.ndarray, window: CropWindow) -> np.ndarray:
    corner = np.array([window.x, window.y, 0], np.float32)
    return (mesh - corner) * np.float32(_CROP / window.side)


def _from_crop(mesh: np.ndarray, window: CropWindow) -> np.ndarray:
    corner = np.array([window.x, window.y, 0], np.float32)
    return mesh * np.float32(window.side / _CROP) + corner


def _view_format(width: int, height: int, view_side: int) -> FrameFormat:
    blank = np.zeros((height, width), np.uint8)
    probe = Frame(0, FrameFormat(width, height, PixelFormat.YUV444P), (blank, blank, blank))
    view_height, view_width = make_view(probe, view_side).shape[:2]
    return FrameFormat(view_width, view_height, PixelFormat.RGB24)
