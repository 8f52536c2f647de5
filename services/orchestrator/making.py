"""One job from its two files to its video: inspect, analyse, prepare, plan, render, assemble."""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from google.protobuf.json_format import MessageToDict

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.assembling import CopiedSound, EncodedSound, SoundTrack, assemble
from services.orchestrator.cast_report import report_faces
from services.orchestrator.casting import Cast, Casting
from services.orchestrator.convert import to_expression
from services.orchestrator.encoding import EncodeSettings
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.feed import FrameFeed
from services.orchestrator.idle import NOT_A_PHOTO, IdleMotion, move_photo
from services.orchestrator.metrics import SEGMENT_RENDER_SECONDS
from services.orchestrator.options import JobOptions
from services.orchestrator.planning import find_plan, plan_timeline, speech_duration
from services.orchestrator.records import JobProgress, JobRecord, Lease, Phase, SegmentRecord
from services.orchestrator.rendering import Mouth, RenderJob, render_segment
from services.orchestrator.report import build_report, describe_engine
from services.orchestrator.sound import SoundPart, open_sound
from services.orchestrator.soundtrack import NO_SOURCE_SOUND, check_copy, choose_codec, list_sounds
from services.orchestrator.source import (
    SPEECH_RATE,
    Prepared,
    Source,
    find_analysis,
    find_prepared,
    find_speech,
    place_speech,
)
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan, Timeline, cut_segments
from services.runtime import tracing
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.errors import SynclineError
from syncline.v1 import decoder_pb2

Record = TypeVar("Record", JobRecord, SegmentRecord)

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
    """What is known of a job's files before it is planned; one speech, track and preparation for each role of the cast.

    `speeches`: (n,) float32 at SPEECH_RATE, as recorded.
    """

    info: decoder_pb2.MediaInfo
    sounds: Mapping[str, decoder_pb2.MediaInfo]  # by digest
    analysis: Analysis
    cast: Cast
    timeline: Timeline
    speeches: list[np.ndarray]
    tracks: list[SpeakerTrack]
    prepared: list[Prepared]

    @property
    def is_photo(self) -> bool:
        return len(self.analysis.pts) == 1


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
        """Raises what went wrong."""
        metadata = (("syncline-job", self.job.id),)
        options = JobOptions.from_json(self.job.options)
        seconds: dict[str, float] = {}
        known = await self._learn(options, metadata, seconds)
        engines = {
            **known.analysis.engines,
            "lipsync": describe_engine(await self.stages.engine("lipsync")),
            "restorer": describe_engine(await self.stages.engine("restorer")),
        }
        with _timed(seconds, "plan"):
            render = await self._plan(known, options, metadata)
            plan_digest = _digest_of(render, engines)
            await in_thread(self.store.plan_segments, self.lease, plan_digest, cut_segments(render.timeline))
        with _timed(seconds, "render"):
            self.progress.enter(Phase.RENDER, render.timeline.frame_count)
            await self._render(render)
        with _timed(seconds, "assemble"):
            self.progress.enter(Phase.ASSEMBLE, render.timeline.frame_count)
            segments = await in_thread(self.store.list_segments, self.job.id)
            result = await self._assemble(known, options, segments, metadata)
        notes = [NOT_A_PHOTO] if options.idle_motion and not known.is_photo else []
        notes += [NO_SOURCE_SOUND] if options.source_gain is not None and not known.info.HasField("audio") else []
        faces = report_faces(known.analysis, known.cast, [prepared.summary for prepared in known.prepared], segments)
        report = build_report(
            self.job, options, known.info, render.timeline, segments, faces, engines, seconds, result, notes
        )
        document = json.dumps(report, indent=2, ensure_ascii=False).encode()
        report_asset = await in_thread(self.artifacts.put, [document])
        await in_thread(self.store.finish_job, self.lease, result, report_asset)

    async def _learn(self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]) -> _Known:
        """Inspects all files, then analyses the source and prepares its mouths, unless that was done before."""
        with _timed(seconds, "inspect"):
            self.progress.enter(Phase.INSPECT)
            audios = dict.fromkeys(speaker.audio for speaker in options.speakers) or [self.job.audio]
            info, sounds = await self._inspect(options, list(audios), metadata)
            heard = {audio: await find_speech(self.stages, self.artifacts, audio, metadata) for audio in audios}
        with _timed(seconds, "analyse"):
            self.progress.enter(Phase.ANALYSE, info.video.frame_count)
            key, analysis = await find_analysis(
                self.stages, self.artifacts, self.job.video, metadata, self.progress.advance
            )
        with _timed(seconds, "prepare"):
            self.progress.enter(Phase.PLAN, len(analysis.pts))
            own_speech = await self._own_speech(info, metadata)
            casting = Casting(self.stages, self.artifacts, key, analysis, own_speech, metadata)
            cast = await casting.find_cast(options, self.job.audio)
            ends = [Fraction(role.start) + speech_duration(heard[role.audio]) for role in cast.roles]
            timeline = plan_timeline(info, analysis, max(ends), options)
            cast = cast.shown_in(timeline)
            tracks, prepared = [], []
            for role in cast.roles:
                track = await in_thread(SpeakerTrack, analysis.faces, analysis.meshes, role.chosen.rows)
                source = Source(self.job.video, key, analysis, track, own_speech)
                tracks.append(track)
                prepared.append(
                    await find_prepared(self.stages, self.artifacts, source, metadata, self.progress.advance)
                )
        speeches = [heard[role.audio] for role in cast.roles]
        return _Known(info, sounds, analysis, cast, timeline, speeches, tracks, prepared)

    async def _plan(self, known: _Known, options: JobOptions, metadata: Metadata) -> RenderJob:
        timeline, expression, mouths = known.timeline, to_expression(options), []
        idle: list[IdleMotion] = []
        if options.idle_motion and known.is_photo:
            seed = self.job.video + self.job.audio
            idle = move_photo(known.tracks, known.analysis.format, timeline, options.idle_motion, seed)
        elif options.idle_motion:
            await in_thread(self.store.note, self.lease, NOT_A_PHOTO)
        samples = int(timeline.duration * SPEECH_RATE)
        for role, speech, track, prepared in zip(
            known.cast.roles, known.speeches, known.tracks, known.prepared, strict=True
        ):
            placed = await in_thread(place_speech, self.artifacts, role.audio, speech, role.start, samples)
            plan = await find_plan(
                self.stages, self.artifacts, prepared, timeline, track, placed, expression, idle, metadata
            )
            mouths.append(Mouth(track, prepared, hashlib.sha256(plan).hexdigest(), plan))
        return RenderJob(
            source=self.job.video,
            pts=known.analysis.pts,
            time_base=known.analysis.time_base,
            mouths=mouths,
            timeline=timeline,
            encode=EncodeSettings(
                known.analysis.format,
                timeline.frame_rate,
                options.crf,
                options.preset,
                to_fraction(known.info.video.sample_aspect_ratio) or Fraction(1),
                codec=options.video_codec,
                bit_rate=options.video_bit_rate,
                max_lines=options.max_lines,
            ),
            restorer_strength=options.restorer_strength,
            expression=expression,
            idle=idle,
        )

    async def _inspect(
        self, options: JobOptions, audios: Sequence[str], metadata: Metadata
    ) -> tuple[decoder_pb2.MediaInfo, dict[str, decoder_pb2.MediaInfo]]:
        """Facts about the video and, by digest, about all sounds. Says all that is wrong before time is spent."""
        info = await self.stages.inspect(self.job.video, metadata)
        if not info.HasField("video"):
            raise Refusal("NO_VIDEO", "the file given as video has sound but no pictures", digest=self.job.video)
        sounds = {}
        for name, audio in [("speech", audio) for audio in audios] + [("background_audio", options.background_audio)]:
            if audio is not None:
                sounds[audio] = await self.stages.inspect(audio, metadata)
                if not sounds[audio].HasField("audio"):
                    raise Refusal("NO_AUDIO", f"the file given as {name} has no sound", digest=audio)
        check_copy(options, sounds[audios[0]])
        for advice in info.advice:
            await in_thread(self.store.note, self.lease, f"{advice.code}: {advice.message}")
        return info, sounds

    async def _own_speech(self, info: decoder_pb2.MediaInfo, metadata: Metadata) -> np.ndarray | None:
        if not info.HasField("audio"):
            return None
        try:
            return await find_speech(self.stages, self.artifacts, self.job.video, metadata)
        except (SynclineError, Refusal) as error:  # a source with a broken sound track is a silent source
            await in_thread(self.store.note, self.lease, f"The video's own sound cannot be used: {error}")
            return None

    async def _render(self, render: RenderJob) -> None:
        """Segment after segment; those that an earlier attempt published are kept."""
        segments = await in_thread(self.store.list_segments, self.job.id)
        done = sum(segment.frame_count for segment in segments if segment.result is not None)
        self.progress.advance(done)
        metadata = (("syncline-job", self.job.id),)
        async with FrameFeed(self.stages, render.source, render.pts, render.time_base, metadata) as feed:
            while True:
                claimed = await claim(self.store, self.store.claim_segment, self.job.id, self.owner, self.lease_seconds)
                if claimed is not None:
                    await self._render_one(render, feed, *claimed, done)
                    done += claimed[0].frame_count
                    self.progress.advance(done)
                elif await self._all_done():
                    return
                else:
                    await asyncio.sleep(_WAIT_SECONDS)

    async def _render_one(
        self, render: RenderJob, feed: FrameFeed, segment: SegmentRecord, lease: Lease, done: int
    ) -> None:
        metadata = (("syncline-job", self.job.id), ("syncline-segment", str(segment.index)))
        span = SegmentSpan(segment.index, segment.first_frame, segment.frame_count)
        beating = asyncio.ensure_future(self._keep_segment(lease))
        begun = time.monotonic()
        try:
            with tracing.span("segment", segment=segment.index), self.artifacts.scratch(suffix=".mp4") as path:
                encoded = 0
                async for report in render_segment(self.stages, feed, render, span, path, metadata):
                    encoded = sum(count for _, _, count in report.outcomes)
                    self.progress.advance(done + encoded)
                asset = await in_thread(self.artifacts.adopt, path)
            await in_thread(self.store.finish_segment, lease, asset, report.to_json())
            SEGMENT_RENDER_SECONDS.observe(time.monotonic() - begun)
        except BaseException:
            with contextlib.suppress(Refusal):
                self.store.release(lease)
            raise
        finally:
            beating.cancel()

    async def _keep_segment(self, lease: Lease) -> None:
        while await in_thread(self.store.heartbeat, lease, self.lease_seconds):
            await asyncio.sleep(self.lease_seconds / 3)

    async def _all_done(self) -> bool:
        segments = await in_thread(self.store.list_segments, self.job.id)
        return all(segment.result is not None for segment in segments)

    async def _assemble(
        self,
        known: _Known,
        options: JobOptions,
        segments: list[SegmentRecord],
        metadata: Metadata,
    ) -> Asset:
        """The finished video: the segments' pictures and all that is heard."""
        paths = [self.artifacts.path_of(segment.result.digest) for segment in segments if segment.result]
        duration = known.timeline.duration
        speeches = dict.fromkeys(SoundPart(role.audio, Fraction(role.start)) for role in known.cast.roles)
        sounds = list_sounds(options, list(speeches), self.job.video, known.info, known.analysis)
        codec = choose_codec(options, sounds, known.sounds[sounds[0].asset], duration)
        async with contextlib.AsyncExitStack() as stack:
            path = stack.enter_context(self.artifacts.scratch(suffix=f".{options.container}"))
            track: SoundTrack = CopiedSound(self.artifacts.path_of(sounds[0].asset))
            if codec != "copy":
                sound = await stack.enter_async_context(
                    open_sound(self.stages, self.artifacts, sounds, duration, metadata)
                )
                track = EncodedSound(sound.blocks(), sound.rate, codec)
            await in_thread(assemble, paths, known.timeline, track, path, options.container)
            return await in_thread(self.artifacts.adopt, path)


async def claim(
    store: JobStore, method: Callable[..., tuple[Record, Lease] | None], *arguments: Any
) -> tuple[Record, Lease] | None:
    """What the store's claim_... gives; given back when the task is cancelled while the database is being asked."""
    claiming = asyncio.ensure_future(in_thread(method, *arguments))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        claimed = await claiming
        if claimed is not None:
            with contextlib.suppress(Refusal):
                store.release(claimed[1])
        raise


def _digest_of(render: RenderJob, engines: Mapping[str, Any]) -> str:
    """Of all that a segment's bytes depend on beside its place."""
    facts = [
        render.source,
        [(mouth.prepared.digest, mouth.plan_digest, mouth.track.digest) for mouth in render.mouths],
        str(render.encode),
        render.restorer_strength,
        MessageToDict(render.expression),
        [motion.key for motion in render.idle],
        engines,
        hashlib.sha256(render.timeline.source.tobytes() + render.timeline.pts.tobytes()).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    begun = time.monotonic()
    with tracing.span(step):
        yield
    seconds[step] = round(time.monotonic() - begun, 3)
