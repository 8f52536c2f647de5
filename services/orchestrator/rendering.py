"""Render: one segment's frames from decoder to encoder, their faces by way of lipsync and restorer."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from services.orchestrator.compositing import CropWindow, cut_crop, paste_crop
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.feed import FrameFeed
from services.orchestrator.pipeline import pass_through, work_ahead
from services.orchestrator.source import Prepared
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.timeline import SegmentSpan, Timeline
from services.runtime.convert import from_crops, to_crops
from services.runtime.faces import Crop, CropOutcome
from services.runtime.frames import Frame, PixelFormat
from services.runtime.streams import blob_chunks, in_thread
from services.runtime.wire import Packet
from syncline.errors import InternalError
from syncline.v1 import lipsync_pb2, restorer_pb2

# What is held of a stretch of video that plays backwards: it is decoded forwards. Unit: bytes.
_REVERSE_BYTES = 256 * 1024 * 1024
# How many frames' crops travel together: enough to be worth a message, few enough that frames do not pile up.
_BATCH_BYTES = 16 * 1024 * 1024  # of whole frames
_MAX_BATCH = 8  # frames
_MAX_AHEAD = 24  # batches at the restorers at once: more replicas than these keep busy serve several workers


@dataclass(frozen=True)
class RenderJob:
    """All that the segments of a job have in common. `pts` (source frames,) int64 in `time_base` seconds."""

    source: str
    pts: np.ndarray
    time_base: Fraction
    track: SpeakerTrack
    timeline: Timeline
    prepared: Prepared
    plan_digest: str
    plan: bytes
    encode: EncodeSettings
    restorer_strength: float


@dataclass
class SegmentReport:
    """What was done to the segment's frames, by runs: (outcome, first output frame, frames); seconds by step."""

    outcomes: list[tuple[str, int, int]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add_outcome(self, outcome: str, frame: int) -> None:
        if self.outcomes and self.outcomes[-1][0] == outcome and sum(self.outcomes[-1][1:]) == frame:
            _, first, count = self.outcomes[-1]
            self.outcomes[-1] = (outcome, first, count + 1)
        else:
            self.outcomes.append((outcome, frame, 1))

    def add_seconds(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds


@dataclass
class _Shown:
    """An output frame on its way: its picture, and the crop that replaces part of it."""

    number: int
    frame: Frame
    window: CropWindow | None
    cut: np.ndarray | None  # (pixels, pixels, 3) uint8 RGB, as it left the frame
    crop: Crop | None
    failure: str = ""


@dataclass
class _Batch:
    shown: list[_Shown]

    @property
    def crops(self) -> list[Crop]:
        return [item.crop for item in self.shown if item.crop is not None]


async def render_segment(
    stages: Stages, feed: FrameFeed, job: RenderJob, span: SegmentSpan, path: Path, metadata: Metadata
) -> AsyncIterator[SegmentReport]:
    """Encodes the segment into `path`; yields its report as it grows, after each batch of frames."""
    report = SegmentReport()
    begun = time.monotonic()
    sync_opening = Packet(
        lipsync_pb2.SyncRequest(
            open=lipsync_pb2.SyncOpen(prepared_digest=job.prepared.digest, plan_digest=job.plan_digest)
        )
    )

    async def restore(batch: _Batch) -> None:
        if batch.crops:
            for answer in await stages.restore(partial(_to_restore, batch, job.restorer_strength)):
                _take_answer(batch, answer)

    with SegmentEncoder(path, job.encode) as encoder:
        async with stages.stream("lipsync", "Sync", sync_opening, metadata) as sync:
            for digest, blob in ((job.prepared.digest, job.prepared.blob), (job.plan_digest, job.plan)):
                if digest in sync.opened.missing:
                    for chunk, payload in blob_chunks(blob):
                        await sync.send(Packet(lipsync_pb2.SyncRequest(blob=chunk), payload))
            batches = _cut_batches(feed, job, span, report)
            synced = pass_through(sync, batches, _to_sync, _take_answer)
            restored = work_ahead(synced, restore, lambda: min(stages.restorers.credits, _MAX_AHEAD))
            async with contextlib.aclosing(restored):
                async for batch in restored:
                    await in_thread(_paste_and_encode, batch, encoder, report)
                    report.seconds["render"] = time.monotonic() - begun
                    yield report
        if encoder.frame_count != span.frame_count:
            raise InternalError(f"the decoder gave {encoder.frame_count} of the segment's {span.frame_count} frames")


async def _cut_batches(
    feed: FrameFeed, job: RenderJob, span: SegmentSpan, report: SegmentReport
) -> AsyncIterator[_Batch]:
    size = max(1, min(_MAX_BATCH, _BATCH_BYTES // job.encode.format.frame_bytes))
    waiting: list[tuple[int, int, Frame]] = []
    async for pictures in _order_pictures(feed, job, span):
        waiting += pictures
        while len(waiting) >= size:
            yield await in_thread(_cut, job, waiting[:size], report)
            waiting = waiting[size:]
    if waiting:
        yield await in_thread(_cut, job, waiting, report)


async def _order_pictures(
    feed: FrameFeed, job: RenderJob, span: SegmentSpan
) -> AsyncIterator[list[tuple[int, int, Frame]]]:
    """(output frame, source frame, picture) in output order, a few at a time."""
    number = span.first_frame
    for stretch in _stretches(job.timeline.source[number : number + span.frame_count], _reverse_limit(job)):
        low, high = int(stretch.min()), int(stretch.max())
        forwards = stretch[-1] > stretch[0]
        held: list[Frame] = []  # of a stretch that does not play forwards
        async for frames in feed.frames(low, high):
            if forwards:
                yield [(number + place, low + place, frame) for place, frame in enumerate(frames)]
                low, number = low + len(frames), number + len(frames)
            else:
                held += frames
        if held:
            yield [(number + place, int(source), held[source - low]) for place, source in enumerate(stretch)]
            number += len(stretch)


def _stretches(sources: np.ndarray, reverse_limit: int) -> Iterator[np.ndarray]:
    """Runs of source frames that go up by one, stay, or go down by one; of the last at most `reverse_limit` frames."""
    while len(sources):
        steps = np.diff(sources)
        step = int(steps[0]) if len(steps) and abs(steps[0]) <= 1 else 1
        breaks = np.flatnonzero(steps != step)
        length = int(breaks[0]) + 1 if len(breaks) else len(sources)
        if step < 0:
            length = min(length, reverse_limit)
        yield sources[:length]
        sources = sources[length:]


def _reverse_limit(job: RenderJob) -> int:
    return max(8, _REVERSE_BYTES // job.encode.format.frame_bytes)


def _cut(job: RenderJob, batch: list[tuple[int, int, Frame]], report: SegmentReport) -> _Batch:
    begun = time.monotonic()
    shown = []
    for number, source, frame in batch:
        window, mesh, cut, crop = job.track.windows[source], job.track.crop_mesh(source), None, None
        if window is not None and mesh is not None:
            cut = cut_crop(frame, window)
            crop = Crop(number, int(job.timeline.pts[number]), cut, mesh)
        shown.append(_Shown(number, frame, window, cut, crop))
    report.add_seconds("cut", time.monotonic() - begun)
    return _Batch(shown)


def _to_sync(sequence: int, batch: _Batch) -> Packet | None:
    if not batch.crops:
        return None
    crops, payload = from_crops(sequence, batch.crops)
    return Packet(lipsync_pb2.SyncRequest(crops=crops), payload)


def _to_restore(batch: _Batch, strength: float, sequence: int) -> Packet:
    crops, payload = from_crops(sequence, batch.crops)
    return Packet(restorer_pb2.RestoreRequest(crops=crops, strength=strength), payload)


def _take_answer(batch: _Batch, answer: Packet) -> None:
    """Puts the crops that came back in place; a crop that failed is dropped, and its frame stays as it is."""
    message = answer.message
    asked = [item for item in batch.shown if item.crop is not None]
    if message.WhichOneof("message") == "error":
        asked[message.error.item].failure = message.error.status.message or "refused"
        return
    crops = to_crops(message.crops, answer.data, PixelFormat.RGBA32) if message.crops.crops else []
    returned = {crop.frame: crop for crop in crops}
    for item in asked:
        crop = returned.get(item.number)
        if crop is None and not item.failure:
            raise InternalError(f"the stage left out the crop of frame {item.number} without saying why")
        if crop is not None and item.crop is not None and crop.outcome is None:
            crop = replace(crop, outcome=item.crop.outcome)
        item.crop = crop


def _paste_and_encode(batch: _Batch, encoder: SegmentEncoder, report: SegmentReport) -> None:
    for item in batch.shown:
        begun = time.monotonic()
        picture, frame = to_picture(item.frame)  # the one copy of a full frame between decoder's message and x264
        if item.crop is not None and item.window is not None and item.cut is not None:
            paste_crop(frame, item.window, item.cut, item.crop.pixels, in_place=True)
        pasted = time.monotonic()
        encoder.encode(picture)
        report.add_seconds("paste", pasted - begun)
        report.add_seconds("encode", time.monotonic() - pasted)
        report.add_outcome(_outcome_of(item), item.number)


def _outcome_of(item: _Shown) -> str:
    if item.failure:
        return "failed"
    if item.crop is None:
        return "no_face"
    return (item.crop.outcome or CropOutcome.SYNCED).name.lower()
