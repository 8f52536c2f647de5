"""Render: one segment's frames from decoder to encoder, their faces by way of lipsync and restorer."""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from services.orchestrator.compositing import CropWindow, Cutting, cut, paste_crop
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.encoding import EncodeSettings, Picture, PictureStock, SegmentEncoder
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.feed import FrameFeed
from services.orchestrator.idle import IdleMotion, move_mesh, move_picture
from services.orchestrator.kept_blobs import KeptBlob
from services.orchestrator.outcomes import SegmentReport
from services.orchestrator.pipeline import pass_through, work_ahead
from services.orchestrator.smart_render import Run
from services.orchestrator.source import Prepared
from services.orchestrator.stages import Metadata, Stages, transports
from services.orchestrator.timeline import SegmentSpan, Timeline
from services.orchestrator.trust import Trust, show_share
from services.runtime import tracing
from services.runtime.calls import ClientStream
from services.runtime.convert import from_crops, to_crops
from services.runtime.faces import Crop, CropOutcome
from services.runtime.frames import Frame, PixelFormat
from services.runtime.streams import blob_chunks, entered_in_thread, in_thread
from services.runtime.wire import Packet
from syncline.errors import InternalError
from syncline.v1 import lipsync_pb2, restorer_pb2

# What is held of a stretch of video that plays backwards: it is decoded forwards. Unit: bytes.
_REVERSE_BYTES = 256 * 1024 * 1024
# How many frames' crops travel together: enough to be worth a message, few enough that frames do not pile up.
_BATCH_BYTES = 32 * 1024 * 1024  # of whole frames
_MAX_BATCH = 8  # frames
_MAX_AHEAD = 24  # batches at the restorers at once: more replicas than these keep busy serve several workers


@dataclass(frozen=True)
class Mouth:
    """One person's in a job: where it is, what was learned of it, and what it is to do."""

    track: SpeakerTrack
    prepared: Prepared
    plan: KeptBlob


@dataclass(frozen=True)
class RenderJob:
    """All that the segments of a job have in common. `pts` (source frames,) int64 in `time_base` seconds."""

    source: str
    pts: np.ndarray
    time_base: Fraction
    mouths: Sequence[Mouth]
    timeline: Timeline
    encode: EncodeSettings
    restorer_strength: float
    restorer_engine: str  # empty for the default
    expression: lipsync_pb2.Expression
    idle: Sequence[IdleMotion] = ()  # of a photo's heads, one after the other
    copies: Sequence[Run] = ()  # of output frames that are the source's own packets
    priority: int = 0


@dataclass
class Patch:
    """The crop that replaces part of a frame, on its way."""

    window: CropWindow
    cutting: Cutting  # as it left the frame
    mesh: np.ndarray  # (468, 3) float32, pixels of the crop
    steady_mesh: np.ndarray  # the same, calmer over time
    crop: Crop | None
    failure: str = ""
    synced: Crop | None = None  # as it went to a restorer that may be trusted only so far
    share: float = 1.0  # of what that restorer changed

    @property
    def pixels(self) -> np.ndarray | None:
        """(pixels, pixels, 4) uint8 RGBA as they are to be pasted; None: the frame stays as it is."""
        if self.crop is None or self.synced is None:
            return None if self.crop is None else self.crop.pixels
        return show_share(self.crop, self.synced, self.share)


class _Source(NamedTuple):
    """A frame of the source in its place. The one full copy of it on its way from the decoder's memory to the encoder.

    `shared`: other output frames show this very picture too, so that none may draw on it.
    """

    number: int  # of the output frame
    source: int  # number of the source frame
    picture: Picture
    shared: bool = False


@dataclass
class Shown:
    """An output frame on its way: its picture, and a patch for each mouth of the job that is seen in it."""

    number: int
    picture: Picture
    patches: list[Patch | None]


@dataclass
class Batch:
    shown: list[Shown]

    def patches(self, mouth: int) -> list[tuple[int, Patch, Crop]]:
        """(output frame, patch, its crop) for those of one mouth that still have one."""
        found = ((item.number, item.patches[mouth]) for item in self.shown)
        return [(number, patch, patch.crop) for number, patch in found if patch is not None and patch.crop is not None]


async def render_segment(
    stages: Stages, feed: FrameFeed, job: RenderJob, span: SegmentSpan, path: Path, metadata: Metadata
) -> AsyncIterator[SegmentReport]:
    """Encodes the segment into `path`; yields its report as it grows, after each batch of frames."""
    report = SegmentReport([[] for _ in job.mouths])
    begun = time.monotonic()
    # What the encoder still holds at the end takes it seconds where pictures are large.
    async with entered_in_thread(SegmentEncoder(path, job.encode)) as encoder:
        async with contextlib.aclosing(render_frames(stages, feed, job, span, metadata, report)) as batches:
            async for batch in batches:
                with tracing.span("encode", frames=len(batch.shown)):
                    await in_thread(_paste_and_encode, batch, encoder, feed.stock, report)
                report.seconds["render"] = time.monotonic() - begun
                yield report
        if encoder.frame_count != span.frame_count:
            raise InternalError(f"the decoder gave {encoder.frame_count} of the segment's {span.frame_count} frames")


async def render_frames(
    stages: Stages, feed: FrameFeed, job: RenderJob, span: SegmentSpan, metadata: Metadata, report: SegmentReport
) -> AsyncGenerator[Batch, None]:
    """The segment's frames in order, with the patches that are still to be pasted in."""
    async with contextlib.AsyncExitStack() as stack:
        seen = [number for number, mouth in enumerate(job.mouths) if _is_seen(job, mouth, span)]
        batches = _cut_batches(feed, job, span, len(seen), report)
        restorers = stages.restorers(job.restorer_engine)
        trusts = {number: Trust() for number in seen}
        for number in seen:
            sync = await stack.enter_async_context(_open_sync(stages, job, job.mouths[number], metadata))
            synced = pass_through(sync, batches, _to_sync(number), _take_answer(number))
            restore = partial(_restore, restorers, number, job, report)
            batches = work_ahead(synced, restore, lambda: min(restorers.credits, _MAX_AHEAD))
        async with contextlib.aclosing(batches):
            async for batch in batches:
                for number, trust in trusts.items():
                    for _, patch, crop in batch.patches(number):
                        patch.share = trust.share(crop)
                yield batch


def _is_seen(job: RenderJob, mouth: Mouth, span: SegmentSpan) -> bool:
    sources = job.timeline.source[span.first_frame : span.first_frame + span.frame_count]
    return any(mouth.track.windows[source] is not None for source in sources)


@contextlib.asynccontextmanager
async def _open_sync(stages: Stages, job: RenderJob, mouth: Mouth, metadata: Metadata) -> AsyncIterator[ClientStream]:
    """A stream that renders this mouth, with the blobs that the engine lacks sent."""
    wanted = lipsync_pb2.SyncOpen(
        engine=mouth.prepared.engine,
        prepared_digest=mouth.prepared.blob.digest,
        plan_digest=mouth.plan.digest,
        expression=job.expression,
        priority=job.priority,
        **transports(),
    )
    async with stages.stream("lipsync", "Sync", Packet(lipsync_pb2.SyncRequest(open=wanted)), metadata) as sync:
        for blob in (mouth.prepared.blob, mouth.plan):
            if blob.digest in sync.opened.missing:
                async for chunk, payload in blob_chunks(await in_thread(blob.open)):
                    await sync.send(Packet(lipsync_pb2.SyncRequest(blob=chunk), payload))
        yield sync


async def _cut_batches(
    feed: FrameFeed, job: RenderJob, span: SegmentSpan, mouths: int, report: SegmentReport
) -> AsyncGenerator[Batch, None]:
    # Frames wait before every stage that they go through: with more mouths, fewer travel together.
    size = max(1, min(_MAX_BATCH, _BATCH_BYTES // (job.encode.format.frame_bytes * max(mouths, 1))))
    waiting: list[_Source] = []
    async for pictures in _order_pictures(feed, job, span):
        waiting += pictures
        while len(waiting) >= size:
            yield await in_thread(_cut, job, waiting[:size], feed.stock, report)
            waiting = waiting[size:]
    if waiting:
        yield await in_thread(_cut, job, waiting, feed.stock, report)


async def _order_pictures(feed: FrameFeed, job: RenderJob, span: SegmentSpan) -> AsyncIterator[list[_Source]]:
    """In output order, a few at a time."""
    number = span.first_frame
    for stretch in _stretches(job.timeline.source[number : number + span.frame_count], _reverse_limit(job)):
        low, high = int(stretch.min()), int(stretch.max())
        forwards = stretch[-1] > stretch[0]
        held: list[Picture] = []  # of a stretch that does not play forwards
        async for pictures in feed.pictures(low, high):
            if forwards:
                yield [_Source(number + place, low + place, picture) for place, picture in enumerate(pictures)]
                low, number = low + len(pictures), number + len(pictures)
            else:
                held += pictures
        if held:
            shared = len(stretch) > len(held)
            yield [
                _Source(number + place, int(source), held[source - low], shared) for place, source in enumerate(stretch)
            ]
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


def _cut(job: RenderJob, batch: list[_Source], stock: PictureStock, report: SegmentReport) -> Batch:
    begun = time.monotonic()
    shown = []
    for number, source, picture, shared in batch:
        if shared or job.idle:
            picture = stock.take(move_picture(job.idle, picture.frame, number))
        patches = [_cut_patch(job, mouth, number, source, picture.frame) for mouth in job.mouths]
        shown.append(Shown(number, picture, patches))
    report.add_seconds("cut", time.monotonic() - begun)
    return Batch(shown)


def _cut_patch(job: RenderJob, mouth: Mouth, number: int, source: int, frame: Frame) -> Patch | None:
    window, mesh, steady = mouth.track.windows[source], mouth.track.crop_mesh(source), mouth.track.steady_mesh(source)
    if window is None or mesh is None or steady is None:
        return None
    mesh, steady = (move_mesh(job.idle, each, window, number) for each in (mesh, steady))
    cutting = cut(frame, window)
    crop = Crop(number, int(job.timeline.pts[number]), cutting.pixels, mesh)
    return Patch(window, cutting, mesh, steady, crop)


ToPacket = Callable[[int, Batch], Packet | None]


def _to_sync(mouth: int) -> ToPacket:
    def to_packet(sequence: int, batch: Batch) -> Packet | None:
        crops = [crop for _, _, crop in batch.patches(mouth)]
        if not crops:
            return None
        message, payload = from_crops(sequence, crops)
        return Packet(lipsync_pb2.SyncRequest(crops=message), payload)

    return to_packet


async def _restore(restorers: Dispatcher, mouth: int, job: RenderJob, report: SegmentReport, batch: Batch) -> None:
    sent = batch.patches(mouth)
    if not sent:
        return
    crops = [replace(crop, landmarks=patch.steady_mesh) for _, patch, crop in sent]

    def to_packet(sequence: int) -> Packet:
        message, payload = from_crops(sequence, crops)
        request = restorer_pb2.RestoreRequest(
            crops=message,
            strength=job.restorer_strength,
            traceparent=traceparent,
            priority=job.priority,
        )
        return Packet(request, payload)

    with tracing.span("restore", items=len(crops)):
        traceparent = tracing.current_trace().get("traceparent")
        answers, seconds = await restorers.exchange(to_packet)
    report.add_seconds("restore", seconds)
    for answer in answers:
        _take_answer(mouth)(batch, answer)
    for _, patch, crop in sent:
        if patch.crop is not None and patch.crop.trust is not None:
            patch.synced = crop


def _take_answer(mouth: int) -> Callable[[Batch, Packet], None]:
    """Puts the crops that came back in place; a crop that failed is dropped, and its face stays as it is."""

    def take(batch: Batch, answer: Packet) -> None:
        message = answer.message
        asked = batch.patches(mouth)
        if message.WhichOneof("message") == "error":
            asked[message.error.item][1].failure = message.error.status.message or "refused"
            return
        crops = to_crops(message.crops, answer.data, PixelFormat.RGBA32) if message.crops.crops else []
        returned = {crop.frame: crop for crop in crops}
        for number, patch, sent in asked:
            crop = returned.get(number)
            if crop is None and not patch.failure:
                raise InternalError(f"the stage left out the crop of frame {number} without saying why")
            if crop is not None and crop.outcome is None:
                crop = replace(crop, outcome=sent.outcome)
            patch.crop = crop

    return take


def paste_patches(shown: Shown) -> Picture:
    """The frame as it will be seen; once only, for the patches go into the picture itself."""
    for patch in shown.patches:
        if patch is not None and (pixels := patch.pixels) is not None:
            paste_crop(shown.picture.frame, patch.window, patch.cutting, pixels, in_place=True)
    return shown.picture


def _paste_and_encode(batch: Batch, encoder: SegmentEncoder, stock: PictureStock, report: SegmentReport) -> None:
    for item in batch.shown:
        begun = time.monotonic()
        picture = paste_patches(item)
        pasted = time.monotonic()
        encoder.encode(picture.video)
        stock.give_back(picture)
        report.add_seconds("paste", pasted - begun)
        report.add_seconds("encode", time.monotonic() - pasted)
        report.add_outcomes([outcome_of(patch) for patch in item.patches], item.number)


def outcome_of(patch: Patch | None) -> str:
    if patch is None:
        return "no_face"
    if patch.crop is None:
        return "failed"
    return (patch.crop.outcome or CropOutcome.SYNCED).name.lower()
