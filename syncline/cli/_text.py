"""Values in words."""

from dataclasses import fields
from datetime import datetime
from fractions import Fraction

from syncline.types import Batch, Estimate, Job, JobEvent, JobState, MediaInfo, Person, Phase, Progress


def describe_progress(progress: Progress) -> str:
    done, total = progress.done_frames, progress.total_frames
    if total:
        return f"{done}/{total} frames"
    return f"{done} frames" if done else ""


def describe_event(event: JobEvent) -> str:
    job = event.job
    if job.progress is None or job.progress.phase is Phase.UNKNOWN or job.state.ended:
        return event.message or str(job.state)
    return "  ".join(filter(None, [str(job.progress.phase), describe_progress(job.progress), event.message]))


def describe_job(job: Job) -> str:
    rows = [("job", job.name), ("state", _state(job))]
    options = job.options
    set_options = {field.name: getattr(options, field.name) for field in fields(options)}
    rows += [(name, str(value)) for name, value in set_options.items() if value is not None]
    terms = {"priority": job.priority, "deadline": job.deadline, "tenant": job.tenant, "batch": job.batch}
    rows += [(name, str(value)) for name, value in (terms | {"webhook": job.webhook}).items() if value]
    rows.append(("video", job.video))
    if job.audio:
        rows.append(("audio", job.audio))
    rows += [("speaker", f"{speaker.face}: {speaker.audio} from {speaker.start:g} s") for speaker in job.speakers]
    if job.result:
        rows.append(("result", f"{job.result.digest}  {_megabytes(job.result.size_bytes)}"))
    if job.error:
        rows.append(("error", f"{job.error.reason()}: {job.error.message}"))
    for name, time in (("created", job.create_time), ("started", job.start_time), ("ended", job.end_time)):
        if time:
            rows.append((name, _clock(time)))
    return _align(rows)


def row_of_job(job: Job) -> str:
    created = _clock(job.create_time) if job.create_time else ""
    return f"{job.name}  {created:<19}  {_state(job)}"


def describe_media(info: MediaInfo) -> str:
    rows = [("kind", str(info.kind)), ("container", info.container), ("size", _megabytes(info.size_bytes))]
    if info.duration is not None:
        rows.append(("duration", f"{float(info.duration):.3f} s"))
    if info.bit_rate:
        rows.append(("bit rate", f"{info.bit_rate / 1e6:.2f} Mbit/s"))
    if info.video:
        video = info.video
        text = f"{video.codec}, {video.width} x {video.height}, {video.pixel_format}, {_rate(video.frame_rate)}"
        variable = " (variable)" if video.variable_frame_rate else ""
        rows.append(("video", f"{text}{variable}, {video.frame_count} frames"))
    if info.audio:
        rows.append(("audio", f"{info.audio.codec}, {info.audio.sample_rate} Hz, {info.audio.channels} channels"))
    rows += [("advice", f"{advice.code}: {advice.message}") for advice in info.advice]
    return _align(rows)


def describe_batch(batch: Batch) -> str:
    counts = [(name, getattr(batch, name)) for name in ("queued", "running", "done", "failed", "cancelled")]
    told = ", ".join(f"{count} {name}" for name, count in counts if count)
    return f"{batch.name}: {batch.total} jobs: {told}"


def describe_estimate(estimate: Estimate) -> str:
    rows = [("video", f"{estimate.duration_seconds:.1f} s"), ("ahead", f"{estimate.jobs_ahead} jobs")]
    if estimate.measured_jobs:
        by = f"by {estimate.measured_jobs} jobs before"
        rows.append(("work", f"{estimate.work_seconds:.1f} s, {by}"))
        rows.append(("size", f"{_megabytes(estimate.result_bytes)}, {by}"))
    else:
        rows.append(("work", "not known before this server has done a job"))
    return _align(rows)


def describe_person(person: Person) -> str:
    box = person.first
    shown = ", ".join(f"{start:.2f}-{end:.2f}" for start, end in person.shown)
    place = f"{box.x:.0f},{box.y:.0f},{box.width:.0f},{box.height:.0f}@{box.time:.2f}"
    return f"face {person.index}  first at {place}  seen {shown} s, {person.frames} frames"


def _state(job: Job) -> str:
    if job.state is JobState.RUNNING and job.progress:
        return f"{job.state}, {job.progress.phase} {describe_progress(job.progress)}".rstrip()
    return str(job.state)


def _align(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _clock(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _rate(rate: Fraction | None) -> str:
    return f"{float(rate):.3f} fps" if rate is not None else "one frame"
