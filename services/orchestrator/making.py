"""One job from its two files to its video: inspect, analyse, prepare, plan, render, assemble."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.encoding import EncodeSettings, assemble
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.feed import FrameFeed
from services.orchestrator.leases import claim, give_back, record_error, tell, while_held
from services.orchestrator.options import JobOptions
from services.orchestrator.planning import find_plan, speech_duration
from services.orchestrator.records import JobProgress, JobRecord, Lease, Phase, SegmentRecord
from services.orchestrator.rendering import RenderJob, render_segment
from services.orchestrator.report import build_report, describe_engine
from services.orchestrator.source import Prepared, Source, find_analysis, find_prepared, find_speech
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan, Timeline, build_photo_timeline, build_timeline, cut_segments
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.errors import SynclineError
from syncline.v1 import decoder_pb2

_WAIT_SECONDS = 0.25  # for segments that another worker has


class Beacon:
    """How far the job is, for the heartbeat to tell."""

    value = JobProgress()

    def enter(self, phase: Phase, total_frames: int = 0) -> None:
        self.value = JobProgress(phase, 0, total_frames)

    def advance(self, done_frames: int) -> None:
        self.value = replace(self.value, done_frames=done_frames)


@dataclass(frozen=True)
class _Known:
    """What is known of a job's two files before it is planned. `speech`: (n,) float32 at SPEECH_RATE."""

    info: decoder_pb2.MediaInfo
    speech: np.ndarray
    analysis: Analysis
    track: SpeakerTrack
    prepared: Prepared


@dataclass(frozen=True)
class JobRun:
    """One attempt at one job."""

    store: JobStore
    artifacts: ArtifactStore
    stages: Stages
    owner: str
    lease_seconds: float
    job: JobRecord
    lease: Lease
    progress: Beacon

    async def make(self) -> None:
        """Leads the job. Raises what went wrong."""
        metadata = (("syncline-job", self.job.id),)
        options = JobOptions.from_json(self.job.options)
        seconds: dict[str, float] = {}
        known, engines, render = await self._get_ready(options, metadata, seconds)
        plan_digest, spans = _digest_of(render, engines), cut_segments(render.timeline)
        pixels = render.encode.format.width * render.encode.format.height
        await tell(self.store.plan_segments, self.lease, plan_digest, spans, float(render.timeline.duration), pixels)
        with _timed(seconds, "render"):
            self.progress.enter(Phase.RENDER, render.timeline.frame_count)
            await self._render(render)
        with _timed(seconds, "assemble"):
            self.progress.enter(Phase.ASSEMBLE, render.timeline.frame_count)
            segments = await tell(self.store.list_segments, self.job.id)
            result = await self._assemble(render.timeline, segments, metadata)
        report = build_report(
            self.job, options, known.info, render.timeline, segments, known.prepared.summary, engines, seconds, result
        )
        document = json.dumps(report, indent=2, ensure_ascii=False).encode()
        report_asset = await in_thread(self.artifacts.put, [document])
        await tell(self.store.finish_job, self.lease, result, report_asset)

    async def help(self, segment: SegmentRecord) -> None:
        """Renders a segment, on which `lease` is, of a job that another leads; then others while there are any.

        Raises Refusal PLAN_DIFFERS when the engines here would render it differently.
        """
        metadata = (("syncline-job", self.job.id),)
        options = JobOptions.from_json(self.job.options)
        getting_ready = self._get_ready(options, metadata, {})
        _, engines, render = await while_held(self.store, self.lease, self.lease_seconds, getting_ready)
        if _digest_of(render, engines) != self.job.plan:
            message = "the job was planned for other versions of the engines than those this worker reaches"
            raise Refusal("PLAN_DIFFERS", message, job=self.job.id)
        async with FrameFeed(self.stages, render.source, render.pts, render.time_base, metadata) as feed:
            await self._render_one(render, feed, segment, self.lease, 0)
            while claimed := await self._claim_segment():
                await self._render_one(render, feed, *claimed, 0)

    async def _get_ready(
        self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]
    ) -> tuple[_Known, dict[str, Any], RenderJob]:
        """All that rendering needs; what was found out before is not found out again."""
        known = await self._learn(metadata, seconds)
        engines = {
            **known.analysis.engines,
            "lipsync": describe_engine(await self.stages.engine("lipsync")),
            "restorer": describe_engine(await self.stages.engine("restorer")),
        }
        with _timed(seconds, "plan"):
            return known, engines, await self._plan(known, options, metadata)

    async def _learn(self, metadata: Metadata, seconds: dict[str, float]) -> _Known:
        """Inspects both files, then analyses and prepares the source, unless that was done before."""
        with _timed(seconds, "inspect"):
            self.progress.enter(Phase.INSPECT)
            info = await self._inspect(metadata)
            speech = await find_speech(self.stages, self.artifacts, self.job.audio, metadata)
        with _timed(seconds, "analyse"):
            self.progress.enter(Phase.ANALYSE, info.video.frame_count)
            key, analysis = await find_analysis(
                self.stages, self.artifacts, self.job.video, metadata, self.progress.advance
            )
            track = await in_thread(SpeakerTrack, analysis.faces, analysis.meshes)
            if not len(track.seen_frames):
                frames = len(analysis.pts)
                raise Refusal("NO_FACE", f"none of the video's frames ({frames}) shows a face", frames=frames)
        with _timed(seconds, "prepare"):
            self.progress.enter(Phase.PLAN, len(analysis.pts))
            own_speech = await self._own_speech(info, metadata)
            source = Source(self.job.video, key, analysis, track, own_speech)
            prepared = await find_prepared(self.stages, self.artifacts, source, metadata, self.progress.advance)
        return _Known(info, speech, analysis, track, prepared)

    async def _plan(self, known: _Known, options: JobOptions, metadata: Metadata) -> RenderJob:
        timeline = _build_timeline(known.info, known.analysis, known.speech, options)
        plan = await find_plan(
            self.stages, self.artifacts, known.prepared, timeline, known.track, known.speech, metadata
        )
        return RenderJob(
            source=self.job.video,
            pts=known.analysis.pts,
            time_base=known.analysis.time_base,
            track=known.track,
            timeline=timeline,
            prepared=known.prepared,
            plan_digest=hashlib.sha256(plan).hexdigest(),
            plan=plan,
            encode=EncodeSettings(
                known.analysis.format,
                timeline.frame_rate,
                options.crf,
                options.preset,
                to_fraction(known.info.video.sample_aspect_ratio) or Fraction(1),
            ),
            restorer_strength=options.restorer_strength,
        )

    async def _inspect(self, metadata: Metadata) -> decoder_pb2.MediaInfo:
        """Facts about the video; the speech is known to hold sound. Says all that is wrong before time is spent."""
        info = await self.stages.inspect(self.job.video, metadata)
        if not info.HasField("video"):
            raise Refusal("NO_VIDEO", "the file given as video has sound but no pictures", digest=self.job.video)
        sound = await self.stages.inspect(self.job.audio, metadata)
        if not sound.HasField("audio"):
            raise Refusal("NO_AUDIO", "the file given as speech has no sound", digest=self.job.audio)
        for advice in info.advice:
            await self._note(f"{advice.code}: {advice.message}")
        return info

    async def _own_speech(self, info: decoder_pb2.MediaInfo, metadata: Metadata) -> np.ndarray | None:
        if not info.HasField("audio"):
            return None
        try:
            return await find_speech(self.stages, self.artifacts, self.job.video, metadata)
        except (SynclineError, Refusal) as error:  # a source with a broken sound track is a silent source
            await self._note(f"The video's own sound cannot be used: {error}")
            return None

    async def _note(self, message: str) -> None:
        if self.lease.segment is None:  # who leads the job tells
            await tell(self.store.note, self.lease, message)

    async def _render(self, render: RenderJob) -> None:
        """Segment after segment until all are done; those that others published are kept."""
        metadata = (("syncline-job", self.job.id),)
        async with FrameFeed(self.stages, render.source, render.pts, render.time_base, metadata) as feed:
            while True:
                claimed = await self._claim_segment()
                segments = await tell(self.store.list_segments, self.job.id)
                done = sum(segment.frame_count for segment in segments if segment.result is not None)
                self.progress.advance(done)
                if claimed is not None:
                    await self._render_one(render, feed, *claimed, done)
                elif all(segment.result is not None for segment in segments):
                    return
                else:
                    await asyncio.sleep(_WAIT_SECONDS)

    async def _claim_segment(self) -> tuple[SegmentRecord, Lease] | None:
        claiming = claim(self.store, self.store.claim_segment, self.job.id, self.owner, self.lease_seconds)
        claimed: tuple[SegmentRecord, Lease] | None = await claiming
        return claimed

    async def _render_one(
        self, render: RenderJob, feed: FrameFeed, segment: SegmentRecord, lease: Lease, done: int
    ) -> None:
        """Publishes the segment, unless another has taken it over. `done`: frames of the job before it began."""
        work = self._publish(render, feed, segment, lease, done)
        try:
            await while_held(self.store, lease, self.lease_seconds, work)
        except asyncio.CancelledError:
            give_back(self.store, lease)
            raise
        except Exception as error:
            record = record_error(error)
            if record.reason == "LEASE_LOST":
                return
            with contextlib.suppress(Refusal):
                await in_thread(self.store.release, lease, record)
            raise

    async def _publish(
        self, render: RenderJob, feed: FrameFeed, segment: SegmentRecord, lease: Lease, done: int
    ) -> None:
        metadata = (("syncline-job", self.job.id), ("syncline-segment", str(segment.index)))
        span = SegmentSpan(segment.index, segment.first_frame, segment.frame_count)
        with self.artifacts.scratch(suffix=".mp4") as path:
            async for report in render_segment(self.stages, feed, render, span, path, metadata):
                self.progress.advance(done + sum(count for _, _, count in report.outcomes))
            asset = await in_thread(self.artifacts.adopt, path)
        details = {
            "outcomes": report.outcomes,
            "seconds": {step: round(value, 3) for step, value in report.seconds.items()},
        }
        await tell(self.store.finish_segment, lease, asset, details)

    async def _assemble(self, timeline: Timeline, segments: list[SegmentRecord], metadata: Metadata) -> Asset:
        """The finished video: the segments' pictures and the speech as it was recorded, spooled to a file first."""
        paths = [self.artifacts.path_of(segment.result.digest) for segment in segments if segment.result]
        with self.artifacts.scratch() as sound_path:
            rate = channels = 0
            with sound_path.open("wb") as file:
                async for block in self.stages.decode_audio(self.job.audio, metadata):
                    samples = block.samples if block.samples.shape[1] <= 2 else _mix_to_mono(block.samples)
                    rate, channels = block.sample_rate, samples.shape[1]
                    await in_thread(file.write, samples.tobytes())
                    if block.first_sample + len(samples) >= timeline.duration * rate:
                        break
            if not rate:
                raise Refusal("EMPTY_AUDIO", "the speech holds no samples", digest=self.job.audio)
            sound = np.memmap(sound_path, np.float32, "r").reshape(-1, channels)
            blocks = (sound[start : start + rate] for start in range(0, len(sound), rate))
            with self.artifacts.scratch(suffix=".mp4") as path:
                await in_thread(assemble, paths, timeline, blocks, rate, path)
                return await in_thread(self.artifacts.adopt, path)


def _mix_to_mono(samples: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n, 1): speech is in the middle of whatever surrounds it."""
    return samples.mean(axis=1, keepdims=True, dtype=np.float32)


def _build_timeline(
    info: decoder_pb2.MediaInfo, analysis: Analysis, speech: np.ndarray, options: JobOptions
) -> Timeline:
    if info.kind == decoder_pb2.MediaInfo.KIND_PHOTO or len(analysis.pts) == 1:
        return build_photo_timeline(speech_duration(speech))
    rate = to_fraction(info.video.frame_rate)
    mean = _mean_frame_duration(analysis) if rate is None else 1 / rate
    return build_timeline(analysis.pts, analysis.time_base, mean, speech_duration(speech), options.sync_mode)


def _mean_frame_duration(analysis: Analysis) -> Fraction:
    return int(analysis.pts[-1] - analysis.pts[0]) * analysis.time_base / (len(analysis.pts) - 1)


def _digest_of(render: RenderJob, engines: Mapping[str, Any]) -> str:
    """Of all that a segment's bytes depend on beside its place."""
    facts = [
        render.source,
        render.prepared.digest,
        render.plan_digest,
        str(render.encode),
        render.restorer_strength,
        engines,
        hashlib.sha256(render.timeline.source.tobytes() + render.timeline.pts.tobytes()).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - begun, 3)
