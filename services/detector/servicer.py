"""The detector on the wire."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from services.detector.engines import Engine, Tracker, TrackSettings
from services.runtime.convert import from_engine_info, from_mesh, to_crops, to_frames
from services.runtime.engine import choose_engine
from services.runtime.faces import Crop, Face
from services.runtime.frames import Frame, PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.server import Plain
from services.runtime.streams import ServerStream, each_item, grant_terms, in_thread
from syncline.v1 import detector_pb2 as pb
from syncline.v1 import detector_pb2_grpc


class DetectorServicer(Plain, detector_pb2_grpc.DetectorServiceServicer):
    service_name = "syncline.v1.DetectorService"

    def __init__(self, *engines: Engine) -> None:
        self._engines = engines  # the first is the default

    def register(self, server: grpc.aio.Server) -> None:
        detector_pb2_grpc.add_DetectorServiceServicer_to_server(self, server)

    async def GetCapabilities(
        self, request: pb.DetectorServiceGetCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> pb.DetectorServiceGetCapabilitiesResponse:
        return pb.DetectorServiceGetCapabilitiesResponse(
            engines=[from_engine_info(engine.info) for engine in self._engines]
        )

    async def Detect(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        with ServerStream(requests) as stream:
            wanted = await stream.read_open()
            engine = choose_engine(wanted.engine, self._engines)
            settings = _to_settings(wanted)
            tracker = engine.open_tracker(settings)
            terms = stream.share(grant_terms(engine.info, wanted.transports), wanted)
            yield pb.DetectResponse(opened=pb.DetectOpened(terms=terms, settings=_from_settings(settings, engine)))
            async for _, packet in stream.packets("views"):
                views = to_frames(packet.message.views, packet.data)
                for view in views:
                    _check_view(view, settings)
                frames = await in_thread(_track, tracker, views)
                stream.answered(len(frames))
                yield pb.DetectResponse(faces=pb.FaceBatch(sequence=packet.message.views.sequence, frames=frames))
            yield pb.DetectResponse(completed=stream.completed())

    async def Landmark(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        with ServerStream(requests) as stream:
            wanted = await stream.read_open()
            engine = choose_engine(wanted.engine, self._engines)
            yield pb.LandmarkResponse(
                opened=pb.LandmarkOpened(terms=stream.share(grant_terms(engine.info, wanted.transports), wanted))
            )
            async for _, packet in stream.packets("crops"):
                sequence = packet.message.crops.sequence
                crops = to_crops(packet.message.crops, packet.data, PixelFormat.RGB24)
                faces, errors = await each_item(partial(_landmark, engine), crops, sequence)
                for error in errors:
                    yield pb.LandmarkResponse(error=error)
                stream.answered(len(crops), len(errors))
                yield pb.LandmarkResponse(landmarks=pb.LandmarkBatch(sequence=sequence, crops=faces))
            yield pb.LandmarkResponse(completed=stream.completed())


def _landmark(engine: Engine, crop: Crop) -> pb.CropFace:
    found = engine.landmark(crop.pixels, crop.landmarks)
    if found is None:
        raise Refusal("NO_FACE", f"no face in the crop of frame {crop.frame}", frame=crop.frame)
    score, mesh = found
    return pb.CropFace(frame=crop.frame, score=score, landmarks=from_mesh(mesh))


def _track(tracker: Tracker, views: list[Frame]) -> list[pb.FrameFaces]:
    answers = []
    for view in views:
        tracked = tracker.track(view.planes[0])
        faces = [_from_face(face) for face in tracked.faces]
        answers.append(pb.FrameFaces(pts=view.pts, cut=tracked.cut, faces=faces))
    return answers


def _from_face(face: Face) -> pb.Face:
    box = pb.Box(x=face.box.x, y=face.box.y, width=face.box.width, height=face.box.height)
    embedding = () if face.embedding is None else face.embedding.tolist()
    landmarks = from_mesh(face.landmarks)
    return pb.Face(track=face.track, box=box, score=face.score, landmarks=landmarks, embedding=embedding)


def _to_settings(wanted: pb.DetectOpen) -> TrackSettings:
    def in_range(name: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            raise Refusal("INVALID_OPTION", f"{name} is {value:g}; the range is {least:g} to {most:g}", field=name)

    for name in ("view_width", "view_height"):
        in_range(name, getattr(wanted, name), 16, 4096)
    for name in ("source_width", "source_height"):
        in_range(name, getattr(wanted, name), 2, 16384)
    interval = wanted.redetect_interval if wanted.HasField("redetect_interval") else TrackSettings.redetect_interval
    min_score = wanted.min_score if wanted.HasField("min_score") else TrackSettings.min_score
    max_faces = wanted.max_faces if wanted.HasField("max_faces") else TrackSettings.max_faces
    in_range("redetect_interval", interval, 1, 1000)
    in_range("min_score", min_score, 0, 1)
    in_range("max_faces", max_faces, 1, 32)
    tile_overlap = wanted.tile_overlap if wanted.HasField("tile_overlap") else TrackSettings.tile_overlap
    in_range("tile_overlap", tile_overlap, 0, 360)
    view, source = (wanted.view_width, wanted.view_height), (wanted.source_width, wanted.source_height)
    return TrackSettings(view, source, interval, min_score, max_faces, tile_overlap)


def _from_settings(settings: TrackSettings, engine: Engine) -> pb.DetectOpen:
    return pb.DetectOpen(
        engine=engine.info.name,
        view_width=settings.view_size[0],
        view_height=settings.view_size[1],
        source_width=settings.source_size[0],
        source_height=settings.source_size[1],
        redetect_interval=settings.redetect_interval,
        min_score=settings.min_score,
        max_faces=settings.max_faces,
        tile_overlap=settings.tile_overlap,
    )


def _check_view(view: Frame, settings: TrackSettings) -> None:
    size = (view.format.width, view.format.height)
    if view.format.pixel_format != PixelFormat.RGB24 or size != settings.view_size:
        raise Refusal("INVALID_BATCH", f"views must be RGB24 of {settings.view_size}, as open said; got {view.format}")
