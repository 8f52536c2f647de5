"""From a job's files to what its frames are rendered from, and from rendered segments to its video."""

import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore, Asset
from services.orchestrator.assembling import CopiedSound, EncodedSound, SoundTrack, assemble
from services.orchestrator.casting import Cast, Casting
from services.orchestrator.convert import to_expression
from services.orchestrator.excerpt import Excerpt
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.idle import NOT_A_PHOTO, IdleMotion, move_photo
from services.orchestrator.inspecting import advise_on_speech
from services.orchestrator.options import JobOptions
from services.orchestrator.planning import find_plan, plan_encoding, plan_timeline, speech_duration
from services.orchestrator.progress import Beacon, timed
from services.orchestrator.records import Phase
from services.orchestrator.rendering import Mouth, RenderJob
from services.orchestrator.report import describe_engine
from services.orchestrator.smart_render import find_copies
from services.orchestrator.sound import SoundPart, open_sound
from services.orchestrator.soundtrack import check_copy, choose_codec, list_sounds
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
from services.orchestrator.timeline import Timeline
from services.runtime.blobs import StoredArray
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.errors import SynclineError
from syncline.v1 import decoder_pb2, media_pb2

Note = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Known:
    """What is known of a job's files before it is planned; one speech, track and preparation for each role of the cast.

    `speeches`: (n,) float32 at SPEECH_RATE, as recorded.
    """

    options: JobOptions
    info: decoder_pb2.MediaInfo
    sounds: Mapping[str, decoder_pb2.MediaInfo]  # by digest
    analysis: Analysis
    cast: Cast
    timeline: Timeline
    speeches: list[StoredArray]
    tracks: list[SpeakerTrack]
    prepared: list[Prepared]
    lipsync: media_pb2.EngineInfo
    restorer: media_pb2.EngineInfo

    @property
    def is_photo(self) -> bool:
        return len(self.analysis.pts) == 1


@dataclass(frozen=True)
class Making:
    """One video from its files, for whoever asked for it: all of it for a worker, an excerpt for a client's look.

    `note`: is told what a person should know.
    """

    stages: Stages
    artifacts: ArtifactStore
    video: str  # digest
    audio: str  # digest; empty with speakers
    options: JobOptions
    metadata: Metadata
    progress: Beacon
    note: Note
    priority: int = 0
    excerpt: Excerpt | None = None

    async def get_ready(self, seconds: dict[str, float]) -> tuple[Known, dict[str, Any], RenderJob]:
        """All that rendering needs; what was found out before is not found out again.

        `seconds`: gets how long the steps took.
        """
        known = await self._learn(seconds)
        engines = {
            **known.analysis.engines,
            "lipsync": describe_engine(known.lipsync),
            "restorer": describe_engine(known.restorer),
        }
        with timed(seconds, "plan"):
            return known, engines, await self._plan(known)

    async def _learn(self, seconds: dict[str, float]) -> Known:
        """Inspects all files, then analyses the source and prepares its mouths, unless that was done before."""
        options, metadata = self.options, self.metadata
        with timed(seconds, "inspect"):
            self.progress.enter(Phase.INSPECT)
            audios = dict.fromkeys(speaker.audio for speaker in options.speakers) or [self.audio]
            info, sounds = await self._inspect(list(audios))
            heard = {audio: await find_speech(self.stages, self.artifacts, audio, metadata) for audio in audios}
            part = self.excerpt.find_part(info, options) if self.excerpt else None
        with timed(seconds, "analyse"):
            self.progress.pixels = info.video.format.width * info.video.format.height
            self.progress.enter(Phase.ANALYSE, info.video.frame_count)
            key, analysis = await find_analysis(
                self.stages, self.artifacts, self.video, metadata, self.progress.advance, part
            )
        with timed(seconds, "prepare"):
            self.progress.enter(Phase.PLAN, len(analysis.pts))
            own_speech = await self._own_speech(info)
            casting = Casting(self.stages, self.artifacts, key, analysis, own_speech, metadata)
            cast = await casting.find_cast(options, self.audio)
            duration = max(Fraction(role.start) + speech_duration(heard[role.audio]) for role in cast.roles)
            if self.excerpt:
                options, duration = self.excerpt.narrow(info, analysis, options, duration)
            timeline = plan_timeline(info, analysis, duration, options)
            cast = cast.shown_in(timeline)
            lipsync = await self.stages.engine("lipsync", options.lipsync_engine)
            restorer = await self.stages.engine("restorer", options.restorer_engine)
            whole_face = lipsync.whole_face or restorer.whole_face
            tracks, prepared = [], []
            for role in cast.roles:
                track = await in_thread(SpeakerTrack, analysis.faces, analysis.meshes, role.chosen.rows, whole_face)
                source = Source(self.video, key, analysis, track, own_speech, lipsync.name)
                tracks.append(track)
                prepared.append(
                    await find_prepared(self.stages, self.artifacts, source, metadata, self.progress.advance)
                )
        speeches = [heard[role.audio] for role in cast.roles]
        return Known(options, info, sounds, analysis, cast, timeline, speeches, tracks, prepared, lipsync, restorer)

    async def _plan(self, known: Known) -> RenderJob:
        options, timeline, mouths = known.options, known.timeline, []
        expression = to_expression(options)
        idle: list[IdleMotion] = []
        if options.idle_motion and known.is_photo:
            seed = self.video + self.audio
            idle = move_photo(known.tracks, known.analysis.format, timeline, options.idle_motion, seed)
        elif options.idle_motion:
            await self.note(NOT_A_PHOTO)
        samples = int(timeline.duration * SPEECH_RATE)
        for role, speech, track, prepared in zip(
            known.cast.roles, known.speeches, known.tracks, known.prepared, strict=True
        ):
            start = role.start - float(self.excerpt.begin if self.excerpt else 0)
            placed = await in_thread(place_speech, self.artifacts, role.audio, speech, start, samples)
            plan = await find_plan(
                self.stages, self.artifacts, prepared, timeline, track, placed, expression, idle, self.metadata
            )
            mouths.append(Mouth(track, prepared, plan))
        encode = await in_thread(plan_encoding, known.info.video, known.analysis.format, timeline, options)
        path, tracks = await in_thread(self.artifacts.path_of, self.video), known.tracks
        copies = await in_thread(find_copies, path, known.info, known.analysis.pts, timeline, tracks, encode)
        return RenderJob(
            source=self.video,
            pts=known.analysis.pts,
            time_base=known.analysis.time_base,
            mouths=mouths,
            timeline=timeline,
            encode=encode,
            restorer_strength=options.restorer_strength,
            restorer_engine=known.restorer.name,
            expression=expression,
            idle=idle,
            copies=copies,
            priority=self.priority,
        )

    async def _inspect(self, audios: Sequence[str]) -> tuple[decoder_pb2.MediaInfo, dict[str, decoder_pb2.MediaInfo]]:
        """Facts about the video and, by digest, about all sounds. Says all that is wrong before time is spent."""
        options, metadata = self.options, self.metadata
        info = await self.stages.inspect(self.video, metadata)
        if not info.HasField("video"):
            raise Refusal("NO_VIDEO", "the file given as video has sound but no pictures", digest=self.video)
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
            await self.note(f"{advice.code}: {advice.message}")
        return info, sounds

    async def _own_speech(self, info: decoder_pb2.MediaInfo) -> StoredArray | None:
        if not info.HasField("audio"):
            return None
        try:
            return await find_speech(self.stages, self.artifacts, self.video, self.metadata)
        except (SynclineError, Refusal) as error:  # a source with a broken sound track is a silent source
            await self.note(f"The video's own sound cannot be used: {error}")
            return None

    async def assemble(self, known: Known, paths: Sequence[Path]) -> Asset:
        """The finished video: the segments' pictures, files in order of time, and all that is heard."""
        options, duration = known.options, known.timeline.duration
        speeches = dict.fromkeys(SoundPart(role.audio, Fraction(role.start)) for role in known.cast.roles)
        sounds = list_sounds(options, list(speeches), self.video, known.info, known.analysis)
        codec = choose_codec(options, sounds, known.sounds[sounds[0].asset], duration)
        async with contextlib.AsyncExitStack() as stack:
            path = stack.enter_context(self.artifacts.scratch(suffix=f".{options.container}"))
            track: SoundTrack = CopiedSound(await in_thread(self.artifacts.path_of, sounds[0].asset))
            if codec != "copy":
                sound = await stack.enter_async_context(
                    open_sound(self.stages, self.artifacts, sounds, duration, self.metadata)
                )
                track = EncodedSound(sound.blocks(), sound.rate, codec)
            await in_thread(assemble, paths, known.timeline, track, path, options.container)
            return await in_thread(self.artifacts.adopt, path)


def digest_of(render: RenderJob, engines: Mapping[str, Any]) -> str:
    """Of all that a segment's bytes depend on beside its place."""
    facts = [
        render.source,
        [(mouth.prepared.blob.digest, mouth.plan.digest, mouth.track.digest) for mouth in render.mouths],
        str(render.encode),
        str(render.encode.video_codec),
        render.restorer_strength,
        MessageToDict(render.expression),
        [motion.key for motion in render.idle],
        render.copies,
        engines,
        hashlib.sha256(render.timeline.source.tobytes() + render.timeline.pts.tobytes()).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
