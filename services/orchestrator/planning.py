"""Plan: the output timeline of a job, its encoder, and the lipsync engine's plan for every mouth in it."""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from fractions import Fraction

from google.protobuf.json_format import MessageToDict

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.encoding import EncodeSettings
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.hardware import choose_encoder
from services.orchestrator.idle import IdleMotion, move_mesh
from services.orchestrator.kept_blobs import KeptBlob, find_blob, keep_blob
from services.orchestrator.light import to_light
from services.orchestrator.options import FpsMode, JobOptions
from services.orchestrator.source import SPEECH_RATE, Prepared, speech_blocks, speech_packets
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.timeline import (
    PHOTO_RATE,
    Timeline,
    build_photo_timeline,
    build_timeline,
    keep_range,
    nearest_standard_rate,
    to_constant_rate,
)
from services.runtime.blobs import Rows
from services.runtime.convert import from_fraction, from_mesh, to_fraction
from services.runtime.frames import FrameFormat, view_bytes
from services.runtime.streams import blob_chunks, in_thread
from services.runtime.wire import Buffer, Packet
from syncline.v1 import decoder_pb2, lipsync_pb2

_POINTS_BATCH = 32


def plan_timeline(info: decoder_pb2.MediaInfo, analysis: Analysis, duration: Fraction, options: JobOptions) -> Timeline:
    """`duration`: of the speech, in seconds."""
    if info.kind == decoder_pb2.MediaInfo.KIND_PHOTO or len(analysis.pts) == 1:
        return build_photo_timeline(duration, options.frame_rate or PHOTO_RATE)
    first, after = find_range(analysis, options)
    mean = mean_frame_duration(info, analysis)
    timeline = build_timeline(analysis.pts[first:after], analysis.time_base, mean, duration, options.sync_mode)
    timeline = replace(timeline, source=timeline.source + first)
    if options.fps_mode is FpsMode.PASSTHROUGH:
        return timeline
    return to_constant_rate(timeline, options.frame_rate or nearest_standard_rate(1 / mean))


def plan_encoding(
    video: decoder_pb2.VideoInfo, frame_format: FrameFormat, timeline: Timeline, options: JobOptions
) -> EncodeSettings:
    """`frame_format`: of the source's frames. Tries what encoders the machine has."""
    settings = EncodeSettings(
        frame_format,
        timeline.frame_rate,
        options.crf,
        options.preset,
        to_fraction(video.sample_aspect_ratio) or Fraction(1),
        codec=options.video_codec,
        bit_rate=options.video_bit_rate,
        max_lines=options.max_lines,
        light=to_light(video),
    )
    return choose_encoder(settings) if options.hardware == "auto" else settings


def find_range(analysis: Analysis, options: JobOptions) -> tuple[int, int]:
    """The first frame that is used, and the first one after them. Raises Refusal INVALID_OPTION where there is none."""
    times = (None if time is None else Fraction(str(time)) for time in (options.start, options.end))
    return keep_range(analysis.pts, analysis.time_base, *times)


def mean_frame_duration(info: decoder_pb2.MediaInfo, analysis: Analysis) -> Fraction:
    """In seconds."""
    rate = to_fraction(info.video.frame_rate)
    if rate is not None:
        return 1 / rate
    return int(analysis.pts[-1] - analysis.pts[0]) * analysis.time_base / (len(analysis.pts) - 1)


async def find_plan(
    stages: Stages,
    artifacts: ArtifactStore,
    prepared: Prepared,
    timeline: Timeline,
    track: SpeakerTrack,
    speech: Rows,
    expression: lipsync_pb2.Expression,
    idle: Sequence[IdleMotion],
    metadata: Metadata,
) -> KeptBlob:
    """The lipsync engine's plan; made now unless the same was made before. `speech`: (n,) float32 at SPEECH_RATE."""
    engine = await stages.engine("lipsync", prepared.engine)
    speech = speech[: int(timeline.duration * SPEECH_RATE)]
    facts = [engine.name, engine.version, prepared.blob.digest, _digest(timeline), await in_thread(_digest_of, speech)]
    key = json.dumps([*facts, MessageToDict(expression), [motion.key for motion in idle]])
    plan = await in_thread(find_blob, artifacts, "plan", key)
    if plan is None:
        pieces = _plan(stages, prepared, timeline, track, speech, expression, idle, metadata)
        plan = await keep_blob(artifacts, "plan", key, pieces)
    return plan


async def _plan(
    stages: Stages,
    prepared: Prepared,
    timeline: Timeline,
    track: SpeakerTrack,
    speech: Rows,
    expression: lipsync_pb2.Expression,
    idle: Sequence[IdleMotion],
    metadata: Metadata,
) -> AsyncGenerator[Buffer, None]:
    wanted = lipsync_pb2.PlanOpen(
        engine=prepared.engine,
        prepared_digest=prepared.blob.digest,
        frame_count=timeline.frame_count,
        time_base=from_fraction(timeline.time_base),
        expression=expression,
    )
    opening = Packet(lipsync_pb2.PlanRequest(open=wanted))

    async def packets() -> AsyncIterator[Packet]:
        for chunk, payload in speech_packets(speech):
            yield Packet(lipsync_pb2.PlanRequest(speech=chunk), payload)
        for sequence, first in enumerate(range(0, timeline.frame_count, _POINTS_BATCH)):
            batch = await in_thread(_track_batch, sequence, first, timeline, track, idle)
            yield Packet(lipsync_pb2.PlanRequest(track=batch))

    async with stages.stream("lipsync", "Plan", opening, metadata) as stream:
        if stream.opened.missing:
            async for chunk, data in blob_chunks(await in_thread(prepared.blob.open)):
                await stream.send(Packet(lipsync_pb2.PlanRequest(prepared=chunk), data))
        async for packet in stream.exchange(packets()):
            if packet.message.WhichOneof("message") == "plan":
                yield packet.data


def _track_batch(
    sequence: int, first: int, timeline: Timeline, track: SpeakerTrack, idle: Sequence[IdleMotion]
) -> lipsync_pb2.TrackBatch:
    batch = lipsync_pb2.TrackBatch(sequence=sequence)
    for frame in range(first, min(first + _POINTS_BATCH, timeline.frame_count)):
        source = int(timeline.source[frame])
        window, mesh = track.windows[source], track.crop_mesh(source)
        if window is not None and mesh is not None:
            mesh = move_mesh(idle, mesh, window, frame)
        batch.points.add(
            frame=frame,
            pts=int(timeline.pts[frame]),
            source_frame=source,
            landmarks=None if mesh is None else from_mesh(mesh),
        )
    return batch


def _digest(timeline: Timeline) -> str:
    exact = json.dumps([str(timeline.time_base), timeline.last_duration, str(timeline.duration)]).encode()
    return hashlib.sha256(exact + timeline.pts.tobytes() + timeline.source.tobytes()).hexdigest()


def _digest_of(speech: Rows) -> str:
    hashed = hashlib.sha256()
    for block in speech_blocks(speech):
        hashed.update(view_bytes(block))
    return hashed.hexdigest()


def speech_duration(speech: Rows) -> Fraction:
    """In seconds."""
    return Fraction(len(speech), SPEECH_RATE)
