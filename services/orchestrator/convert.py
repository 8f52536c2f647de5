"""Records <-> wire."""

import re
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import Asset
from services.orchestrator.choice import AUTO, FaceBox, FaceChoice, Speaker
from services.orchestrator.estimating import Estimate
from services.orchestrator.mezzanine import Mezzanine
from services.orchestrator.naming import find_box
from services.orchestrator.options import RANGES, FpsMode, JobOptions
from services.orchestrator.persons import Person, find_spans
from services.orchestrator.records import BatchRecord, EventRecord, JobFilter, JobRecord, JobState, NewJob
from services.orchestrator.timeline import SyncMode
from services.runtime.convert import from_fraction, to_fraction, to_priority
from services.runtime.refusal import Refusal
from syncline.errors import CATALOGUE, to_status
from syncline.v1 import lipsync_pb2
from syncline.v1 import orchestrator_pb2 as pb

_DEFAULT_TTL = 3600.0  # seconds
_TTLS = (60, 7 * 24 * 3600)  # seconds; no store signs for longer
_TENANT = re.compile(r"[A-Za-z0-9._-]{0,64}")
_STATES = {
    JobState.QUEUED: pb.Job.STATE_QUEUED,
    JobState.RUNNING: pb.Job.STATE_RUNNING,
    JobState.DONE: pb.Job.STATE_DONE,
    JobState.FAILED: pb.Job.STATE_FAILED,
    JobState.CANCELLED: pb.Job.STATE_CANCELLED,
}
_PHASES = (
    pb.JobProgress.PHASE_UNSPECIFIED,
    pb.JobProgress.PHASE_INSPECT,
    pb.JobProgress.PHASE_ANALYSE,
    pb.JobProgress.PHASE_PLAN,
    pb.JobProgress.PHASE_RENDER,
    pb.JobProgress.PHASE_ASSEMBLE,
)
_SYNC_MODES = (
    pb.SYNC_MODE_UNSPECIFIED,
    pb.SYNC_MODE_CUT_OFF,
    pb.SYNC_MODE_LOOP,
    pb.SYNC_MODE_BOUNCE,
    pb.SYNC_MODE_HOLD,
    pb.SYNC_MODE_SILENCE,
    pb.SYNC_MODE_REMAP,
)
_FPS_MODES = (pb.FPS_MODE_UNSPECIFIED, pb.FPS_MODE_PASSTHROUGH, pb.FPS_MODE_CFR)
# Options that are words.
_NAMES = (
    *("preset", "profile", "container", "video_codec", "audio_codec", "background_audio"),
    *("lipsync_engine", "restorer_engine", "hardware", "output_uri"),
)


def to_job_id(name: str) -> str:
    """ "jobs/ID" -> ID. Raises Refusal INVALID_NAME."""
    return _to_id("jobs", name)


def to_batch_id(name: str) -> str:
    """ "batches/ID" -> ID. Raises Refusal INVALID_NAME."""
    return _to_id("batches", name)


def _to_id(collection: str, name: str) -> str:
    found, _, identifier = name.partition("/")
    if found != collection or not identifier.isalnum():
        raise Refusal("INVALID_NAME", f"{name[:80]!r} is not of the form {collection}/ and an identifier")
    return identifier


def to_tenant(context: grpc.aio.ServicerContext) -> str:
    """Whom a call is for. Raises Refusal INVALID_NAME."""
    metadata = dict(context.invocation_metadata() or ())
    tenant = str(metadata.get("syncline-tenant", ""))
    if not _TENANT.fullmatch(tenant):
        raise Refusal("INVALID_NAME", f"{tenant[:80]!r} is no tenant: at most 64 letters, digits, '.', '_' and '-'")
    return tenant


def to_new_job(job: pb.Job, tenant: str) -> NewJob:
    """Raises Refusal INVALID_OPTION."""
    to_priority(job.priority)
    deadline = job.deadline.ToMilliseconds() if job.HasField("deadline") else None
    options = to_options(job)
    assets = tuple(list_assets(job, options))
    return NewJob(job.video, job.audio, options.to_json(), tenant, job.priority, deadline, job.webhook, assets)


def to_filter(request: pb.ListJobsRequest) -> JobFilter:
    """Raises Refusal INVALID_OPTION, INVALID_NAME."""
    states = {number: state for state, number in _STATES.items()}
    unknown = [state for state in request.states if state not in states]
    if unknown:
        raise Refusal("INVALID_OPTION", f"state {unknown[0]} is not known", field="states")
    batch = to_batch_id(request.batch) if request.batch else ""
    return JobFilter(tuple(states[state] for state in request.states), request.tenant, batch)


def to_options(job: pb.Job) -> JobOptions:
    """Raises Refusal INVALID_OPTION."""
    options = job.options
    for field, modes in (("sync_mode", _SYNC_MODES), ("fps_mode", _FPS_MODES)):
        if not 0 <= int(getattr(options, field)) < len(modes):
            raise Refusal("INVALID_OPTION", f"{field} {getattr(options, field)} is not known", field=field)
    # The wire's floats have seven digits.
    given: dict[str, Any] = {name: round(getattr(options, name), 6) for name in RANGES if options.HasField(name)}
    given |= {name: getattr(options, name) for name in _NAMES if getattr(options, name)}
    if options.sync_mode:
        given["sync_mode"] = SyncMode(int(options.sync_mode))
    if options.fps_mode:
        given["fps_mode"] = FpsMode(int(options.fps_mode))
    if rate := to_fraction(options.frame_rate):
        given["frame_rate"] = rate
    speakers = tuple(Speaker(_to_face(speaker.face), speaker.audio, speaker.start) for speaker in job.speakers)
    given["normalize"] = options.normalize
    return JobOptions.choose(**given, face=_to_face(options.face), speakers=speakers)


def to_expression(options: JobOptions) -> lipsync_pb2.Expression:
    """The options that are the lipsync engine's."""
    return lipsync_pb2.Expression(
        mouth_intensity=options.mouth_intensity,
        smoothing=options.smoothing,
        closure_strength=options.closure_strength,
        padding=options.padding,
    )


def to_ttl(request: pb.GenerateDownloadUrlRequest) -> float:
    """Seconds. Raises Refusal INVALID_OPTION."""
    if not request.HasField("ttl"):
        return _DEFAULT_TTL
    seconds: float = request.ttl.ToTimedelta().total_seconds()
    low, high = _TTLS
    if not low <= seconds <= high:
        raise Refusal("INVALID_OPTION", f"ttl is {seconds:g} s; the range is {low} to {high}", field="ttl")
    return seconds


def to_mezzanine(wanted: pb.Mezzanine) -> Mezzanine:
    """Raises Refusal INVALID_OPTION."""
    given = {name: getattr(wanted, name) for name in ("width", "height", "bit_rate") if wanted.HasField(name)}
    return Mezzanine(**given, frame_rate=to_fraction(wanted.frame_rate))


def list_assets(job: pb.Job, options: JobOptions) -> list[str]:
    """The digests of all files that the job needs. Raises Refusal INVALID_OPTION for speech given twice or never."""
    if bool(job.audio) == bool(options.speakers):
        message = "a job has either audio or speakers; this one has " + ("both" if job.audio else "neither")
        raise Refusal("INVALID_OPTION", message, field="audio")
    faces = [options.face, *(speaker.face for speaker in options.speakers)]
    references = [face.reference for face in faces if face.reference is not None]
    audios = [speaker.audio for speaker in options.speakers] or [job.audio]
    background = [options.background_audio] if options.background_audio else []
    return [job.video, *audios, *references, *background]


def _to_face(face: pb.FaceChoice) -> FaceChoice:
    match face.WhichOneof("choice"):
        case "index":
            return FaceChoice(index=face.index)
        case "box":
            box = face.box
            if box.unit not in (pb.FaceBox.UNIT_UNSPECIFIED, pb.FaceBox.UNIT_PIXELS, pb.FaceBox.UNIT_FRACTIONS):
                raise Refusal("INVALID_OPTION", f"unit {box.unit} of a face's box is not known", field="face.box.unit")
            fractions = box.unit == pb.FaceBox.UNIT_FRACTIONS
            return FaceChoice(box=FaceBox(box.x, box.y, box.width, box.height, box.time, fractions))
        case "reference":
            return FaceChoice(reference=face.reference)
        case _:
            return AUTO


def _from_face(face: FaceChoice) -> pb.FaceChoice | None:
    if face.is_auto:
        return None
    if face.box is None:
        return pb.FaceChoice(index=face.index, reference=face.reference)
    box = face.box
    unit = pb.FaceBox.UNIT_FRACTIONS if box.fractions else pb.FaceBox.UNIT_PIXELS
    shown = pb.FaceBox(x=box.x, y=box.y, width=box.width, height=box.height, unit=unit, time=box.time)
    return pb.FaceChoice(box=shown)


def from_job(job: JobRecord) -> pb.Job:
    options, progress = JobOptions.from_json(job.options), job.progress
    return pb.Job(
        name=f"jobs/{job.id}",
        state=_STATES[job.state],
        video=job.video,
        audio=job.audio,
        options=pb.JobOptions(
            sync_mode=_SYNC_MODES[options.sync_mode],
            fps_mode=_FPS_MODES[options.fps_mode],
            frame_rate=from_fraction(options.frame_rate),
            **{name: getattr(options, name) for name in (*RANGES, *_NAMES)},
            face=_from_face(options.face),
            normalize=options.normalize,
        ),
        speakers=[
            pb.Speaker(face=_from_face(speaker.face), audio=speaker.audio, start=speaker.start)
            for speaker in options.speakers
        ],
        progress=pb.JobProgress(
            phase=_PHASES[progress.phase],
            done_frames=progress.done_frames,
            total_frames=progress.total_frames,
            done_segments=progress.done_segments,
            total_segments=progress.total_segments,
        ),
        result=from_asset(job.result) if job.result else None,
        report=from_asset(job.report) if job.report else None,
        error=to_status(CATALOGUE[job.error.reason](job.error.message, job.error.metadata)) if job.error else None,
        create_time=_to_timestamp(job.create_time),
        start_time=_to_timestamp(job.start_time) if job.start_time else None,
        end_time=_to_timestamp(job.end_time) if job.end_time else None,
        priority=job.priority,
        deadline=_to_timestamp(job.deadline) if job.deadline is not None else None,
        tenant=job.tenant,
        batch=f"batches/{job.batch}" if job.batch else "",
        webhook=job.webhook,
    )


def from_batch(batch: BatchRecord) -> pb.Batch:
    counts = {f"{state.lower()}_jobs": count for state, count in batch.counts.items()}
    return pb.Batch(name=f"batches/{batch.id}", **counts)


def from_estimate(estimate: Estimate, jobs_ahead: int) -> pb.EstimateJobResponse:
    return pb.EstimateJobResponse(
        duration_seconds=estimate.duration,
        work_seconds=estimate.work_seconds,
        result_bytes=estimate.result_bytes,
        jobs_ahead=jobs_ahead,
        measured_jobs=estimate.measured_jobs,
    )


def from_person(analysis: Analysis, person: Person) -> pb.Person:
    x, y, width, height = find_box(analysis, int(person.rows[person.frames[0]]))
    spans = find_spans(person, analysis.seconds)
    return pb.Person(
        index=person.index,
        frames=len(person.frames),
        first=pb.FaceBox(x=x, y=y, width=width, height=height, unit=pb.FaceBox.UNIT_PIXELS, time=spans[0][0]),
        shown=[pb.TimeSpan(start=start, end=end) for start, end in spans],
    )


def from_event(event: EventRecord) -> pb.JobEvent:
    return pb.JobEvent(
        number=event.number, time=_to_timestamp(event.time), job=from_job(event.job), message=event.message
    )


def from_asset(asset: Asset) -> pb.Asset:
    return pb.Asset(digest=asset.digest, size_bytes=asset.size)


def _to_timestamp(milliseconds: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(milliseconds)
    return timestamp
