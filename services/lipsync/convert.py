"""Wire <-> plain values, for the lipsync stage."""

from collections.abc import Iterable
from dataclasses import asdict
from fractions import Fraction

import numpy as np

from services.lipsync.engines import SPEECH_RATE, Expression, Mouth, Prepared, TrackPoint, VoiceMatch
from services.runtime.convert import check_frame, to_fraction, to_mesh, to_samples
from services.runtime.refusal import Refusal
from services.runtime.wire import Packet
from syncline.v1 import lipsync_pb2 as pb
from syncline.v1 import media_pb2


def to_expression(message: pb.Expression) -> Expression:
    """Fields that are not set have their defaults. Raises Refusal INVALID_OPTION."""
    return Expression(**{field.name: value for field, value in message.ListFields()})


def from_expression(expression: Expression) -> pb.Expression:
    return pb.Expression(**asdict(expression))


def from_summary(prepared: Prepared) -> pb.PrepareSummary:
    return pb.PrepareSummary(
        candidates=prepared.candidates,
        fitted=prepared.fitted,
        fit_correlation=prepared.fit_correlation,
        notes=prepared.notes,
    )


class SpeechReader:
    """The speech of one stream, which must come without gaps."""

    def __init__(self) -> None:
        self._due = 0

    def read(self, packet: Packet) -> np.ndarray:
        """(n,) float32 at SPEECH_RATE.

        Raises Refusal INVALID_BATCH for another rate or more channels, OUT_OF_ORDER when samples are missing or
        repeated.
        """
        chunk = packet.message.speech
        if chunk.sample_rate != SPEECH_RATE or chunk.channels != 1:
            raise Refusal("INVALID_BATCH", f"speech must be mono at {SPEECH_RATE} Hz", sequence=chunk.sequence)
        if chunk.first_sample != self._due:
            message = f"speech from sample {chunk.first_sample} came where {self._due} was due"
            raise Refusal("OUT_OF_ORDER", message, due=self._due)
        samples = to_samples(chunk, packet.data)[:, 0]
        self._due += len(samples)
        return samples


def to_time_base(value: media_pb2.Rational) -> Fraction:
    """Seconds. Raises Refusal INVALID_OPTION for none."""
    time_base = to_fraction(value)
    if not time_base or time_base <= 0:
        raise Refusal("INVALID_OPTION", "time_base must be above 0", field="time_base")
    return time_base


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


def to_mouths(batch: pb.MouthBatch) -> list[Mouth]:
    """Raises Refusal INVALID_BATCH for none, or for landmarks that are no face's."""
    if not batch.mouths:
        raise Refusal("INVALID_BATCH", "a batch must hold a mouth at least", sequence=batch.sequence)
    return [Mouth(mouth.mouth, mouth.pts, to_mesh(mouth.landmarks)) for mouth in batch.mouths]


def from_matches(matches: Iterable[VoiceMatch]) -> pb.VoiceMatches:
    return pb.VoiceMatches(
        matches=[pb.VoiceMatch(mouth=match.mouth, seconds=match.seconds, score=match.score) for match in matches]
    )
