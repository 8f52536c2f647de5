"""The detector on the wire, with its real engine, on a portrait that moves by known steps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from services.detector.engines import Tracker, TrackSettings
from services.detector.engines.blazeface import BlazeFace
from services.detector.servicer import DetectorServicer
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, from_frames, to_mesh
from services.runtime.faces import Crop
from services.runtime.frames import Frame, FrameFormat, PixelFormat
from services.runtime.streams import MAX_BATCH_ITEMS
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import detector_pb2 as pb
from syncline.v1 import detector_pb2_grpc
from tests.detector.conftest import Portrait
from tests.stages import (
    STALL,
    as_stream,
    converse,
    is_packet,
    is_refused,
    pour,
    run,
    serving,
    sway,
    wait_until_ended,
    wait_until_still,
)

SIZE = (256, 240)  # of the views; the source has twice as many pixels a side
VIEW = FrameFormat(*SIZE, PixelFormat.RGB24)
DETECT: dict[str, Any] = {"view_width": 256, "view_height": 240, "source_width": 512, "source_height": 480}


def detect_open(**fields: Any) -> Packet:
    return Packet(pb.DetectRequest(open=pb.DetectOpen(**DETECT | fields)))


def landmark_open(**fields: Any) -> Packet:
    return Packet(pb.LandmarkRequest(open=pb.LandmarkOpen(**fields)))


def view_of(picture: np.ndarray, pts: int) -> Frame:
    return Frame(pts, VIEW, (cv2.resize(picture[:480], SIZE, interpolation=cv2.INTER_AREA),))


def views_packet(sequence: int, views: Sequence[Frame]) -> Packet:
    batch, payload = from_frames(sequence, views)
    return Packet(pb.DetectRequest(views=batch), payload)


def crops_packet(sequence: int, crops: Sequence[Crop]) -> Packet:
    batch, payload = from_crops(sequence, crops)
    return Packet(pb.LandmarkRequest(crops=batch), payload)


def use(engine: Any, work: Any) -> Any:
    """What `work`, given the stub and the server, returns."""

    async def call() -> Any:
        async with serving(DetectorServicer(engine)) as served:
            return await work(detector_pb2_grpc.DetectorServiceStub(served.channel), served)

    return run(call())


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found[:, :2] - truth[:, :2], axis=1).mean())


BLANK = Frame(0, VIEW, (np.full((240, 256, 3), 90, np.uint8),))


def test_a_face_keeps_its_track_and_its_place(blazeface: BlazeFace) -> None:
    views = [view_of(sway(frame)[0], 100 + frame) for frame in range(10)]
    packets = [views_packet(0, views[:1]), views_packet(1, views[1:7]), views_packet(2, views[7:])]
    answers = use(blazeface, lambda stub, _: converse(stub.Detect, detect_open(), packets))
    assert [answer.faces.sequence for answer in (answer.message for answer in answers)] == [0, 1, 2]
    frames = [frame for answer in answers for frame in answer.message.faces.frames]
    assert [frame.pts for frame in frames] == list(range(100, 110))
    assert not any(frame.cut for frame in frames)
    for number, frame in enumerate(frames):
        (face,) = frame.faces
        mesh, truth = to_mesh(face.landmarks), sway(number)[1]
        assert face.track == frames[0].faces[0].track >= 1
        assert 0.5 <= face.score <= 1
        assert distance(mesh, truth) < 4  # source pixels; the face is 90 wide
        low, high = truth[:, :2].min(axis=0), truth[:, :2].max(axis=0)
        assert (face.box.x, face.box.y) == pytest.approx(tuple(low), abs=8)
        assert (face.box.width, face.box.height) == pytest.approx(tuple(high - low), abs=12)


def test_a_cut_ends_all_tracks(blazeface: BlazeFace) -> None:
    dark = Frame(1, VIEW, (np.random.default_rng(0).integers(0, 40, (240, 256, 3), np.uint8),))
    views = [view_of(sway(0)[0], 0), dark, view_of(sway(0)[0], 2)]
    answers = use(blazeface, lambda stub, _: converse(stub.Detect, detect_open(), [views_packet(0, views)]))
    first, second, third = answers[0].message.faces.frames
    assert (first.cut, second.cut, third.cut) == (False, True, True)
    assert not second.faces
    assert third.faces[0].track != first.faces[0].track


def test_a_picture_without_a_face_has_none(blazeface: BlazeFace) -> None:
    answers = use(blazeface, lambda stub, _: converse(stub.Detect, detect_open(), [views_packet(0, [BLANK] * 3)]))
    assert [len(frame.faces) for frame in answers[0].message.faces.frames] == [0, 0, 0]


def test_the_effective_settings_are_told(blazeface: BlazeFace) -> None:
    async def call(stub: Any, _: Any) -> Any:
        async with ClientStream(stub.Detect, detect_open(max_faces=3), (), STALL) as stream:
            return stream.opened

    opened = use(blazeface, call)
    settings = opened.settings
    assert (settings.engine, settings.redetect_interval, settings.max_faces) == ("blazeface", 25, 3)
    assert settings.min_score == pytest.approx(0.5)
    assert (settings.view_width, settings.source_height) == (256, 480)
    assert {model.license for model in opened.terms.engine.models} == {"Apache-2.0"}


def test_crops_get_their_meshes_and_faceless_ones_an_error(blazeface: BlazeFace, portrait: Portrait) -> None:
    corners = [(100, 0), (130, 20), (110, 10)]
    crops = [
        Crop(7 + number, 0, portrait.photo[top : top + 260, left : left + 220], None)
        for number, (left, top) in enumerate(corners)
    ]
    rough = portrait.mesh - np.array([130, 20, 0], np.float32) + np.array([5, -4, 0], np.float32)
    crops[1] = replace(crops[1], landmarks=rough)
    faceless = Crop(99, 0, np.full((260, 220, 3), 90, np.uint8), None)
    packet = crops_packet(0, [crops[0], faceless, *crops[1:]])
    told = use(blazeface, lambda stub, _: pour(stub.Landmark, landmark_open(), [packet]))
    error, answer, completed = (answer.message for answer in told)
    assert (error.error.sequence, error.error.item) == (0, 1)
    assert type(errors.from_status(error.error.status)) is errors.NoFace
    assert [crop.frame for crop in answer.landmarks.crops] == [7, 8, 9]
    for found, (left, top) in zip(answer.landmarks.crops, corners, strict=True):
        assert found.score > 0.9
        assert distance(to_mesh(found.landmarks) + np.array([left, top, 0]), portrait.mesh) < 1
    assert (completed.completed.items, completed.completed.failed_items) == (4, 1)


def reformat(views: Sequence[Frame], **fields: Any) -> Packet:
    packet = views_packet(0, views)
    for name, value in fields.items():
        setattr(packet.message.views.format, name, value)
    return packet


SMALL = Frame(0, FrameFormat(128, 120, PixelFormat.RGB24), (np.zeros((120, 128, 3), np.uint8),))
PLANAR = Frame(
    0,
    FrameFormat(*SIZE, PixelFormat.YUV444P),
    tuple(np.zeros((240, 256), np.uint8) for _ in range(3)),  # as many bytes as RGB24
)


@pytest.mark.parametrize(
    ("packets", "error"),
    [
        ([views_packet(0, [SMALL])], errors.InvalidBatch),
        ([views_packet(0, [PLANAR])], errors.InvalidBatch),
        ([reformat([BLANK], pixel_format=0)], errors.InvalidBatch),
        ([reformat([BLANK], pixel_format=99)], errors.InvalidBatch),
        ([reformat([BLANK], width=240, height=256)], errors.InvalidBatch),
        ([reformat([BLANK], width=0)], errors.InvalidBatch),
        ([reformat([BLANK], width=2**32 - 1)], errors.InvalidBatch),
        ([Packet(views_packet(0, [BLANK]).message, [b"too few"])], errors.InvalidBatch),
        ([Packet(views_packet(0, [BLANK]).message)], errors.InvalidBatch),
        (
            [Packet(pb.DetectRequest(views={"format": views_packet(0, [BLANK]).message.views.format}))],
            errors.InvalidBatch,
        ),
        ([views_packet(0, [BLANK] * (MAX_BATCH_ITEMS + 1))], errors.BatchTooLarge),
        ([views_packet(1, [BLANK])], errors.OutOfOrder),
        ([views_packet(0, [BLANK]), views_packet(2, [BLANK])], errors.OutOfOrder),
        ([views_packet(0, [BLANK]), views_packet(0, [BLANK])], errors.OutOfOrder),
        ([detect_open()], errors.OutOfOrder),
        ([Packet(pb.DetectRequest())], errors.OutOfOrder),
    ],
)
def test_bad_views_are_refused(blazeface: BlazeFace, packets: list[Packet], error: type[errors.SynclineError]) -> None:
    async def call(stub: Any, _: Any) -> None:
        await is_refused(error, converse(stub.Detect, detect_open(), packets))
        assert len(await converse(stub.Detect, detect_open(), [views_packet(0, [BLANK])])) == 1

    use(blazeface, call)


@pytest.mark.parametrize(
    ("opening", "error"),
    [
        (views_packet(0, [BLANK]), errors.OutOfOrder),
        (Packet(pb.DetectRequest()), errors.OutOfOrder),
        (detect_open(engine="retinaface"), errors.UnknownEngine),
        (detect_open(transports=[0]), errors.InvalidOption),
        (detect_open(view_width=15), errors.InvalidOption),
        (detect_open(view_height=4097), errors.InvalidOption),
        (detect_open(source_width=0), errors.InvalidOption),
        (detect_open(source_height=16385), errors.InvalidOption),
        (detect_open(redetect_interval=0), errors.InvalidOption),
        (detect_open(min_score=float("nan")), errors.InvalidOption),
        (detect_open(min_score=-0.1), errors.InvalidOption),
        (detect_open(max_faces=33), errors.InvalidOption),
        (detect_open(tile_overlap=361), errors.InvalidOption),
    ],
)
def test_bad_detect_openings_are_refused(
    blazeface: BlazeFace, opening: Packet, error: type[errors.SynclineError]
) -> None:
    use(blazeface, lambda stub, _: is_refused(error, converse(stub.Detect, opening)))


CROP = Crop(0, 0, np.zeros((64, 48, 3), np.uint8), None)


def with_landmarks(numbers: Sequence[float]) -> Packet:
    packet = crops_packet(0, [CROP])
    packet.message.crops.crops[0].landmarks.xyz[:] = numbers
    return packet


@pytest.mark.parametrize(
    ("packets", "error"),
    [
        ([with_landmarks([float("nan")] * 1404)], errors.InvalidBatch),
        ([with_landmarks([float("inf")] * 1404)], errors.InvalidBatch),
        ([with_landmarks([1.0] * 1403)], errors.InvalidBatch),
        ([crops_packet(0, [])], errors.InvalidBatch),
        ([crops_packet(0, [replace(CROP, pixels=np.zeros((64, 48, 4), np.uint8))])], errors.InvalidBatch),
        ([crops_packet(0, [replace(CROP, pixels=np.zeros((15, 48, 3), np.uint8))])], errors.InvalidBatch),
        ([crops_packet(0, [replace(CROP, pixels=np.zeros((64, 513, 3), np.uint8))])], errors.InvalidBatch),
        ([crops_packet(0, [CROP] * (MAX_BATCH_ITEMS + 1))], errors.BatchTooLarge),
        ([crops_packet(1, [CROP])], errors.OutOfOrder),
        ([landmark_open()], errors.OutOfOrder),
    ],
)
def test_bad_crops_are_refused(blazeface: BlazeFace, packets: list[Packet], error: type[errors.SynclineError]) -> None:
    use(blazeface, lambda stub, _: is_refused(error, converse(stub.Landmark, landmark_open(), packets)))


@pytest.mark.parametrize(
    ("opening", "error"),
    [(crops_packet(0, [CROP]), errors.OutOfOrder), (landmark_open(engine="scrfd"), errors.UnknownEngine)],
)
def test_bad_landmark_openings_are_refused(
    blazeface: BlazeFace, opening: Packet, error: type[errors.SynclineError]
) -> None:
    use(blazeface, lambda stub, _: is_refused(error, converse(stub.Landmark, opening)))


@pytest.mark.parametrize("number", [0.0, -5.0, 1e9, 3e38])
def test_useless_rough_landmarks_are_one_crops_matter(blazeface: BlazeFace, number: float) -> None:
    answers = use(
        blazeface, lambda stub, _: converse(stub.Landmark, landmark_open(), [with_landmarks([number] * 1404)])
    )
    assert is_packet(answers[-1], "landmarks")


@pytest.mark.parametrize("stretch", [1e9, 1e30, 3e38])
def test_rough_landmarks_of_a_giant_are_one_crops_matter(blazeface: BlazeFace, stretch: float) -> None:
    numbers = np.linspace(-stretch, stretch, 1404).tolist()
    answers = use(blazeface, lambda stub, _: converse(stub.Landmark, landmark_open(), [with_landmarks(numbers)]))
    assert is_packet(answers[-1], "landmarks")


class Counting:
    """The real engine, and how many views it has looked at."""

    def __init__(self, engine: BlazeFace) -> None:
        self.info, self._engine, self.views = engine.info, engine, 0

    def open_tracker(self, settings: TrackSettings) -> Tracker:
        self._tracker = self._engine.open_tracker(settings)
        return self

    def track(self, view: np.ndarray) -> Any:
        self.views += 1
        return self._tracker.track(view)


def test_a_client_that_goes_away_stops_its_work_and_nobody_else(blazeface: BlazeFace) -> None:
    counting = Counting(blazeface)

    def endless() -> Iterator[Packet]:
        sequence = 0
        while True:
            yield views_packet(sequence, [BLANK] * 2)
            sequence += 1

    async def call(stub: Any, served: Any) -> None:
        async with ClientStream(stub.Detect, detect_open(), (), STALL) as stream:
            async for _ in stream.exchange(as_stream(endless())):
                break
        assert await wait_until_ended(served, "Detect") == "CANCELLED"
        assert len(await converse(stub.Detect, detect_open(), [views_packet(0, [BLANK])])) == 1
        await wait_until_still(lambda: counting.views)

    use(counting, call)
