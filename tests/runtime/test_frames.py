"""Frames in memory and on the wire."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.convert import from_frames, from_mesh, to_crops, to_frames, to_mesh, to_samples
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal
from syncline.v1 import media_pb2


@st.composite
def frame_runs(draw: st.DrawFn) -> list[Frame]:
    color = Color(*(draw(st.integers(0, 255)) for _ in range(3)), draw(st.booleans()))
    size = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    frame_format = FrameFormat(*size, draw(st.sampled_from(PixelFormat)), color)
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    return [
        Frame(
            pts,
            frame_format,
            tuple(
                generator.integers(0, 2**frame_format.bit_depth, shape).astype(frame_format.dtype)
                for shape in frame_format.plane_shapes
            ),
        )
        for pts in draw(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=3))
    ]


@given(frame_runs())
def test_frames_survive_the_wire(frames: list[Frame]) -> None:
    batch, payload = from_frames(5, frames)
    returned = to_frames(media_pb2.FrameBatch.FromString(batch.SerializeToString()), b"".join(payload))
    for before, after in zip(frames, returned, strict=True):
        assert (before.pts, before.format) == (after.pts, after.format)
        assert all(np.array_equal(*planes) for planes in zip(before.planes, after.planes, strict=True))


def test_sizes_of_odd_frames_round_chroma_up() -> None:
    odd = FrameFormat(5, 3, PixelFormat.YUV420P10)
    assert odd.plane_shapes == [(3, 5), (2, 3), (2, 3)]
    assert odd.frame_bytes == 2 * (15 + 6 + 6)


def make_batch(**changes: object) -> media_pb2.FrameBatch:
    frame_format = media_pb2.FrameFormat(width=4, height=4, pixel_format=media_pb2.PIXEL_FORMAT_YUV420P)
    for name, value in changes.items():
        setattr(frame_format, name, value)
    return media_pb2.FrameBatch(format=frame_format, frames=[media_pb2.FrameInfo(pts=0)])


@pytest.mark.parametrize(
    ("batch", "data"),
    [
        (make_batch(), bytes(23)),
        (make_batch(), bytes(25)),
        (make_batch(width=0), bytes(24)),
        (make_batch(height=20000), bytes(24)),
        (make_batch(pixel_format=0), bytes(24)),
        (make_batch(pixel_format=77), bytes(24)),
    ],
)
def test_bytes_that_are_not_the_frames_announced_are_refused(batch: media_pb2.FrameBatch, data: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        to_frames(batch, data)
    assert raised.value.reason == "INVALID_BATCH"


@pytest.mark.parametrize("lay_out", [np.float32, np.float64, np.asfortranarray, np.flipud])
def test_a_mesh_is_the_message_that_protobuf_makes_of_its_numbers(lay_out: Callable[[np.ndarray], np.ndarray]) -> None:
    mesh = lay_out(np.random.default_rng(0).normal(0, 999, (468, 3)).astype(np.float32))
    message = from_mesh(mesh)
    assert message == media_pb2.Landmarks(xyz=mesh.ravel().tolist())
    assert np.array_equal(to_mesh(message), mesh)


@pytest.mark.parametrize("numbers", [[], [0.0] * 1403, [float("nan")] * 1404, [float("inf")] * 1404])
def test_meshes_must_be_whole_and_finite(numbers: list[float]) -> None:
    with pytest.raises(Refusal, match="1404"):
        to_mesh(media_pb2.Landmarks(xyz=numbers))


@pytest.mark.parametrize(("channels", "data"), [(0, b""), (9, b""), (2, bytes(12)), (1, np.float32(np.nan).tobytes())])
def test_sound_must_be_whole_and_finite(channels: int, data: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        to_samples(media_pb2.AudioChunk(channels=channels), data)
    assert raised.value.reason == "INVALID_BATCH"


def test_an_empty_crop_batch_is_refused() -> None:
    batch = media_pb2.CropBatch(width=16, height=16, pixel_format=media_pb2.PIXEL_FORMAT_RGB24)
    with pytest.raises(Refusal, match="0 crops"):
        to_crops(batch, b"", PixelFormat.RGB24)
