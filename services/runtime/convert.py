"""Wire <-> plain values, for the nouns of media.proto."""

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from services.runtime.engine import EngineInfo
from services.runtime.faces import LANDMARK_COUNT, Crop, CropOutcome
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat, pack_frames, unpack_frames, view_bytes
from services.runtime.refusal import Refusal
from services.runtime.wire import Buffer
from syncline.v1 import media_pb2

MAX_PRIORITY = 100
_MAX_SIDE = 16384
_CROP_SIDES = range(16, 513)
_MAX_FRAME = 2**63 - 1  # engines keep frame numbers in int64
_MESH_BYTES = 4 * 3 * LANDMARK_COUNT
_MESH_HEADER = media_pb2.Landmarks(xyz=[0] * (3 * LANDMARK_COUNT)).SerializeToString()[:-_MESH_BYTES]


def _enum(number: int) -> Any:
    """The stubs ask for their own enum classes, which take plain numbers when they run."""
    return int(number)


def to_fraction(value: media_pb2.Rational) -> Fraction | None:
    """None when not set. Raises Refusal INVALID_OPTION for a negative denominator."""
    if value.denominator == 0:
        return None
    if value.denominator < 0:
        raise Refusal("INVALID_OPTION", f"a Rational's denominator is {value.denominator}; it must be 1 or more")
    return Fraction(value.numerator, value.denominator)


def from_fraction(value: Fraction | None) -> media_pb2.Rational | None:
    return None if value is None else media_pb2.Rational(numerator=value.numerator, denominator=value.denominator)


def to_frame_format(message: media_pb2.FrameFormat) -> FrameFormat:
    """Raises Refusal INVALID_BATCH for sizes or formats out of range."""
    if not (2 <= message.width <= _MAX_SIDE and 2 <= message.height <= _MAX_SIDE):
        raise Refusal("INVALID_BATCH", f"frames of {message.width} x {message.height} pixels; 2 to {_MAX_SIDE} a side")
    try:
        pixel_format = PixelFormat(message.pixel_format)
    except ValueError as error:
        raise Refusal("INVALID_BATCH", f"pixel format {message.pixel_format} is not known") from error
    color = message.color
    return FrameFormat(
        message.width,
        message.height,
        pixel_format,
        Color(color.matrix_coefficients, color.color_primaries, color.transfer_characteristics, color.full_range),
    )


def from_frame_format(frame_format: FrameFormat) -> media_pb2.FrameFormat:
    color = frame_format.color
    return media_pb2.FrameFormat(
        width=frame_format.width,
        height=frame_format.height,
        pixel_format=_enum(frame_format.pixel_format),
        color=media_pb2.Color(
            matrix_coefficients=color.matrix,
            color_primaries=color.primaries,
            transfer_characteristics=color.transfer,
            full_range=color.full_range,
        ),
    )


def to_frames(batch: media_pb2.FrameBatch, data: Buffer) -> list[Frame]:
    """Raises Refusal INVALID_BATCH when the bytes are not the frames announced, or no frame is."""
    if not batch.frames:
        raise Refusal("INVALID_BATCH", "a batch must hold a frame at least", sequence=batch.sequence)
    try:
        return unpack_frames(data, to_frame_format(batch.format), [frame.pts for frame in batch.frames])
    except ValueError as error:
        raise Refusal("INVALID_BATCH", str(error), sequence=batch.sequence) from error


def from_frames(sequence: int, frames: Sequence[Frame]) -> tuple[media_pb2.FrameBatch, list[memoryview]]:
    """The batch without its data, and the data's buffers."""
    batch = media_pb2.FrameBatch(
        sequence=sequence,
        format=from_frame_format(frames[0].format),
        frames=[media_pb2.FrameInfo(pts=frame.pts) for frame in frames],
    )
    return batch, pack_frames(frames)


def to_mesh(message: media_pb2.Landmarks) -> np.ndarray:
    """(468, 3) float32. Raises Refusal INVALID_BATCH for another number of points or numbers that are not finite."""
    mesh = np.array(message.xyz, np.float32)
    if mesh.size != 3 * LANDMARK_COUNT or not np.isfinite(mesh).all():
        raise Refusal("INVALID_BATCH", f"landmarks are {3 * LANDMARK_COUNT} finite numbers; got {mesh.size}")
    return mesh.reshape(LANDMARK_COUNT, 3)


def from_mesh(mesh: np.ndarray) -> media_pb2.Landmarks:
    """`mesh`: (468, 3), pixels."""
    # Packed floats lie on the wire as they lie in memory; to hand them over one by one takes fifty times as long.
    return media_pb2.Landmarks.FromString(_MESH_HEADER + np.asarray(mesh, "<f4").tobytes())


def check_frame(number: int) -> int:
    """The number of a frame. Raises Refusal INVALID_BATCH for one that no video reaches."""
    if number > _MAX_FRAME:
        raise Refusal("INVALID_BATCH", f"frame {number} is above {_MAX_FRAME}", frame=number)
    return number


def to_crops(batch: media_pb2.CropBatch, data: Buffer, pixel_format: PixelFormat) -> list[Crop]:
    """Crops that view `data`. Raises Refusal INVALID_BATCH when it is not what the batch says, or another format."""
    if int(batch.pixel_format) != int(pixel_format):
        raise Refusal("INVALID_BATCH", f"crops must be {pixel_format.name}", sequence=batch.sequence)
    if batch.width not in _CROP_SIDES or batch.height not in _CROP_SIDES:
        size = f"{batch.width} x {batch.height}"
        raise Refusal("INVALID_BATCH", f"crops of {size} pixels; 16 to 512 a side", sequence=batch.sequence)
    channels = 3 if pixel_format == PixelFormat.RGB24 else 4
    shape = (len(batch.crops), batch.height, batch.width, channels)
    if not batch.crops or len(data) != prod(shape):
        told = f"{len(batch.crops)} crops of {shape[1:]}"
        raise Refusal("INVALID_BATCH", f"{len(data)} bytes are not {told}", sequence=batch.sequence)
    pixels = np.frombuffer(data, np.uint8).reshape(shape)
    return [
        Crop(
            check_frame(crop.frame),
            crop.pts,
            pixels[item],
            to_mesh(crop.landmarks) if crop.HasField("landmarks") else None,
            _to_outcome(crop.outcome, batch.sequence),
            crop.trust if crop.HasField("trust") else None,
        )
        for item, crop in enumerate(batch.crops)
    ]


def _to_outcome(number: int, sequence: int) -> CropOutcome | None:
    try:
        return CropOutcome(number) if number else None
    except ValueError as error:
        raise Refusal("INVALID_BATCH", f"crop outcome {number} is not known", sequence=sequence) from error


def from_crops(sequence: int, crops: Sequence[Crop]) -> tuple[media_pb2.CropBatch, list[memoryview]]:
    """The batch without its data, and the data's buffers. No crops: an empty batch that still answers."""
    batch = media_pb2.CropBatch(sequence=sequence)
    if crops:
        batch.height, batch.width, channels = crops[0].pixels.shape
        batch.pixel_format = media_pb2.PIXEL_FORMAT_RGB24 if channels == 3 else media_pb2.PIXEL_FORMAT_RGBA32
    for crop in crops:
        batch.crops.add(
            frame=crop.frame,
            pts=crop.pts,
            landmarks=None if crop.landmarks is None else from_mesh(crop.landmarks),
            outcome=_enum(crop.outcome or 0),
            trust=crop.trust,
        )
    return batch, [view_bytes(crop.pixels) for crop in crops]


def to_samples(chunk: media_pb2.AudioChunk, data: Buffer) -> np.ndarray:
    """(n, channels) float32. Raises Refusal INVALID_BATCH for a broken chunk."""
    if not 1 <= chunk.channels <= 8 or len(data) % (4 * chunk.channels):
        raise Refusal("INVALID_BATCH", f"{len(data)} bytes are not whole samples of {chunk.channels} channels")
    samples = np.frombuffer(data, "<f4").reshape(-1, chunk.channels)
    if not np.isfinite(samples).all():
        raise Refusal("INVALID_BATCH", "audio holds numbers that are not finite", sequence=chunk.sequence)
    return samples


def from_samples(
    sequence: int, samples: np.ndarray, sample_rate: int, first_sample: int
) -> tuple[media_pb2.AudioChunk, list[memoryview]]:
    """The chunk without its data, and the data's buffers. `samples`: (n, channels) or (n,) float32."""
    samples = np.ascontiguousarray(samples, "<f4")
    chunk = media_pb2.AudioChunk(
        sequence=sequence,
        sample_rate=sample_rate,
        channels=1 if samples.ndim == 1 else samples.shape[1],
        first_sample=first_sample,
    )
    return chunk, [view_bytes(samples)] if samples.size else []


def from_engine_info(info: EngineInfo) -> media_pb2.EngineInfo:
    return media_pb2.EngineInfo(
        name=info.name,
        version=info.version,
        models=[
            media_pb2.ModelInfo(name=model.name, sha256=model.sha256, license=model.license) for model in info.models
        ],
        whole_face=info.whole_face,
    )


def to_priority(priority: int) -> int:
    """Raises Refusal INVALID_OPTION out of range."""
    if abs(priority) > MAX_PRIORITY:
        message = f"priority is {priority}; the range is -{MAX_PRIORITY} to {MAX_PRIORITY}"
        raise Refusal("INVALID_OPTION", message, field="priority")
    return priority
