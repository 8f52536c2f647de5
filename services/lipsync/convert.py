"""Wire <-> plain values, for the lipsync stage."""

from dataclasses import asdict

import numpy as np

from services.lipsync.engines import SPEECH_RATE, Expression, TrackPoint
from services.runtime.convert import check_frame, to_mesh, to_samples
from services.runtime.refusal import Refusal
from services.runtime.wire import Packet
from syncline.v1 import lipsync_pb2 as pb


def to_expression(message: pb.Expression) -> Expression:
    """Fields that are not set have their defaults. Raises Refusal INVALID_OPTION."""
    return Expression(**{field.name: value for field, value in message.ListFields()})


def from_expression(expression: Expression) -> pb.Expression:
    return pb.Expression(**asdict(expression))


def to_speech(packet: Packet, due: int) -> np.ndarray:
    """(n,) float32 at SPEECH_RATE. `due`: the number its first sample must have.

    Raises Refusal INVALID_BATCH for another rate or more channels, OUT_OF_ORDER when samples are missing or repeated.
    """
    chunk = packet.message.speech
    if chunk.sample_rate != SPEECH_RATE or chunk.channels != 1:
        raise Refusal("INVALID_BATCH", f"speech must be mono at {SPEECH_RATE} Hz", sequence=chunk.sequence)
    if chunk.first_sample != due:
        raise Refusal("OUT_OF_ORDER", f"speech from sample {chunk.first_sample} came where {due} was due", due=due)
    return to_samples(chunk, packet.data)[:, 0]


def to_track(batch: pb.TrackBatch, due: int) -> list[TrackPoint]:
    """Raises Refusal INVALID_BATCH for no frames, OUT_OF_ORDER when frames are missing or repeated.

    `due`: the number the first must have.
    """
    if not batch.points:
        raise Refusal("INVALID_BATCH", "a batch must hold a frame at least", sequence=batch.sequence)
    for number, point in enumerate(batch.points, due):
        if point.frame != number:
            raise Refusal("OUT_OF_ORDER", f"track frame {point.frame} came where {number} was due")
    return [
        TrackPoint(
            point.frame,
            point.pts,
            check_frame(point.source_frame),
            to_mesh(point.landmarks) if point.HasField("landmarks") else None,
        )
        for point in batch.points
    ]
