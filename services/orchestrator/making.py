"""One job from its two files to its video: inspect, analyse, prepare, plan, render, assemble."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.assembling import CopiedSound, EncodedSound, SoundTrack, assemble
from services.orchestrator.cast_report import report_faces
from services.orchestrator.casting import Cast, Casting
from services.orchestrator.convert import to_expression
from services.orchestrator.delivering import Deliveries
from services.orchestrator.encoding import EncodeSettings
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.idle import NOT_A_PHOTO, IdleMotion, move_photo
from services.orchestrator.inspecting import advise_on_speech
from services.orchestrator.leases import tell, while_held
from services.orchestrator.light import to_light
from services.orchestrator.mezzanine import Mezzanine, find_mezzanine
from services.orchestrator.options import JobOptions
from services.orchestrator.planning import find_plan, plan_timeline, speech_duration
from services.orchestrator.progress import Beacon, timed
from services.orchestrator.records import JobRecord, Lease, Phase, SegmentRecord
from services.orchestrator.rendering import Mouth, RenderJob
from services.orchestrator.report import build_report, describe_engine
from services.orchestrator.segments import SegmentRenderer
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
from services.orchestrator.timeline import Timeline, cut_segments
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.errors import SynclineError
from syncline.v1 import decoder_pb2, media_pb2


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
    lipsync: media_pb2.EngineInfo
    restorer: media_pb2.EngineInfo

    @property
    def is_photo(self) -> bool:
        return len(self.analysis.pts) == 1


@dataclass(frozen=True)
class JobRun:
    """One attempt at one job."""

    store: JobStore
    artifacts: ArtifactStore
    stages: Stages
    deliveries: Deliveries
    owner: str
    lease_seconds: float
    segment_seconds: Fraction
    turn_seconds: float
    job: JobRecord
    lease: Lease
    progress: Beacon

    @property
    def _renderer(self) -> SegmentRenderer:
        return SegmentRenderer(
            self.store, self.artifacts, self.stages, self.owner, self.lease_seconds, self.job.id, self.progress
        )

    async def make(self) -> None:
        """Leads the job. Raises what went wrong."""
        metadata = (("syncline-job", self.job.id),)
        options = JobOptions.from_json(self.job.options)
        seconds: dict[str, float] = {}
        run = await self._on_mezzanine(options, metadata, seconds)
        await run._lead(options, metadata, seconds)

    async def _on_mezzanine(self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]) -> "JobRun":
        """This attempt on what it is to work on: the video, or its mezzanine."""
        if not options.normalize:
            return self
        with timed(seconds, "normalize"):
            made = await find_mezzanine(self.stages, self.artifacts, self.job.video, Mezzanine(), metadata)
        return replace(self, job=replace(self.job, video=made.digest))

    async def _lead(self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]) -> None:
        known, engines, render = await self._get_ready(options, metadata, seconds)
        plan_digest, spans = _digest_of(render, engines), cut_segments(render.timeline, self.segment_seconds)
        pixels = render.encode.format.width * render.encode.format.height
        await tell(self.store.plan_segments, self.lease, plan_digest, spans, float(render.timeline.duration), pixels)
        with timed(seconds, "render"):
            self.progress.enter(Phase.RENDER, render.timeline.frame_count)
            await self._renderer.render_all(render, self.lease, self.turn_seconds)
        with timed(seconds, "assemble"):
            self.progress.enter(Phase.ASSEMBLE, render.timeline.frame_count)
            segments = await tell(self.store.list_segments, self.job.id)
            result = await self._assemble(known, options, segments, metadata)
        notes = [NOT_A_PHOTO] if options.idle_motion and not known.is_photo else []
        notes += [NO_SOURCE_SOUND] if options.source_gain is not None and not known.info.HasField("audio") else []
        faces = report_faces(known.analysis, known.cast, [prepared.summary for prepared in known.prepared], segments)
        report = build_report(
            self.job, options, known.info, render.timeline, segments, faces, engines, seconds, result, notes
        )
        document = json.dumps(report, indent=2, ensure_ascii=False).encode()
        report_asset = await in_thread(self.artifacts.put, [document])
        if options.output_uri is not None:
            await self._deliver(options.output_uri, options.container, result, report_asset)
        await tell(self.store.finish_job, self.lease, result, report_asset)

    async def _deliver(self, uri: str, container: str, result: Asset, report: Asset) -> None:
        """The video last: where it is, its report is."""
        name = f"{self.job.id}.{container}"
        for asset, target in ((report, f"{self.job.id}.report.json"), (result, name)):
            path = await in_thread(self.artifacts.path_of, asset.digest)
            await in_thread(self.deliveries.deliver, uri, target, path, asset.digest)
        await self._note(f"The video was written to {uri.rstrip('/')}/{name}.")

    async def help(self, segment: SegmentRecord) -> None:
        """Renders a segment, on which `lease` is, of a job that another leads; then others while there are any.

        Raises Refusal PLAN_DIFFERS when the engines here would render it differently.
        """
        metadata = (("syncline-job", self.job.id),)
        options = JobOptions.from_json(self.job.options)

        async def get_ready() -> tuple[_Known, dict[str, Any], RenderJob]:
            return await (await self._on_mezzanine(options, metadata, {}))._get_ready(options, metadata, {})

        _, engines, render = await while_held(self.store, self.lease, self.lease_seconds, get_ready())
        if _digest_of(render, engines) != self.job.plan:
            message = "the job was planned for other versions of the engines than those this worker reaches"
            raise Refusal("PLAN_DIFFERS", message, job=self.job.id)
        await self._renderer.render_from(render, segment, self.lease)

    async def _get_ready(
        self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]
    ) -> tuple[_Known, dict[str, Any], RenderJob]:
        """All that rendering needs; what was found out before is not found out again."""
        known = await self._learn(options, metadata, seconds)
        engines = {
            **known.analysis.engines,
            "lipsync": describe_engine(known.lipsync),
            "restorer": describe_engine(known.restorer),
        }
        with timed(seconds, "plan"):
            return known, engines, await self._plan(known, options, metadata)

    async def _learn(self, options: JobOptions, metadata: Metadata, seconds: dict[str, float]) -> _Known:
        """Inspects all files, then analyses the source and prepares its mouths, unless that was done before."""
        with timed(seconds, "inspect"):
            self.progress.enter(Phase.INSPECT)
            audios = dict.fromkeys(speaker.audio for speaker in options.speakers) or [self.job.audio]
            info, sounds = await self._inspect(options, list(audios), metadata)
            heard = {audio: await find_speech(self.stages, self.artifacts, audio, metadata) for audio in audios}
        with timed(seconds, "analyse"):
            self.progress.enter(Phase.ANALYSE, info.video.frame_count)
            key, analysis = await find_analysis(
                self.stages, self.artifacts, self.job.video, metadata, self.progress.advance
            )
        with timed(seconds, "prepare"):
            self.progress.enter(Phase.PLAN, len(analysis.pts))
            own_speech = await self._own_speech(info, metadata)
            casting = Casting(self.stages, self.artifacts, key, analysis, own_speech, metadata)
            cast = await casting.find_cast(options, self.job.audio)
            ends = [Fraction(role.start) + speech_duration(heard[role.audio]) for role in cast.roles]
            timeline = plan_timeline(info, analysis, max(ends), options)
            cast = cast.shown_in(timeline)
            lipsync = await self.stages.engine("lipsync", options.lipsync_engine)
            restorer = await self.stages.engine("restorer", options.restorer_engine)
            whole_face = lipsync.whole_face or restorer.whole_face
            tracks, prepared = [], []
            for role in cast.roles:
                track = await in_thread(SpeakerTrack, analysis.faces, analysis.meshes, role.chosen.rows, whole_face)
                source = Source(self.job.video, key, analysis, track, own_speech, lipsync.name)
                tracks.append(track)
                prepared.append(
                    await find_prepared(self.stages, self.artifacts, source, metadata, self.progress.advance)
                )
        speeches = [heard[role.audio] for role in cast.roles]
        return _Known(info, sounds, analysis, cast, timeline, speeches, tracks, prepared, lipsync, restorer)

    async def _plan(self, known: _Known, options: JobOptions, metadata: Metadata) -> RenderJob:
        timeline, expression, mouths = known.timeline, to_expression(options), []
        idle: list[IdleMotion] = []
        if options.idle_motion and known.is_photo:
            seed = self.job.video + self.job.audio
            idle = move_photo(known.tracks, known.analysis.format, timeline, options.idle_motion, seed)
        elif options.idle_motion:
            await self._note(NOT_A_PHOTO)
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
                light=to_light(known.info.video),
            ),
            restorer_strength=options.restorer_strength,
            restorer_engine=known.restorer.name,
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
        for audio in audios:
            mode = None if options.speakers else options.sync_mode
            info.advice.extend(await advise_on_speech(self.stages, self.artifacts, info, audio, mode, metadata))
        for advice in info.advice:
            await self._note(f"{advice.code}: {advice.message}")
        return info, sounds

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

    async def _assemble(
        self,
        known: _Known,
        options: JobOptions,
        segments: list[SegmentRecord],
        metadata: Metadata,
    ) -> Asset:
        """The finished video: the segments' pictures and all that is heard."""
        finished = [segment.result.digest for segment in segments if segment.result]
        paths = await in_thread(lambda: [self.artifacts.path_of(digest) for digest in finished])
        duration = known.timeline.duration
        speeches = dict.fromkeys(SoundPart(role.audio, Fraction(role.start)) for role in known.cast.roles)
        sounds = list_sounds(options, list(speeches), self.job.video, known.info, known.analysis)
        codec = choose_codec(options, sounds, known.sounds[sounds[0].asset], duration)
        async with contextlib.AsyncExitStack() as stack:
            path = stack.enter_context(self.artifacts.scratch(suffix=f".{options.container}"))
            track: SoundTrack = CopiedSound(await in_thread(self.artifacts.path_of, sounds[0].asset))
            if codec != "copy":
                sound = await stack.enter_async_context(
                    open_sound(self.stages, self.artifacts, sounds, duration, metadata)
                )
                track = EncodedSound(sound.blocks(), sound.rate, codec)
            await in_thread(assemble, paths, known.timeline, track, path, options.container)
            return await in_thread(self.artifacts.adopt, path)


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
