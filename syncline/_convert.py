"""Wire messages <-> the values of `syncline.types`."""

from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from syncline import errors, types
from syncline.v1 import decoder_pb2, media_pb2, orchestrator_pb2

Name = TypeVar("Name", bound=StrEnum)

# Options of a job that are numbers, and that are words.
_NUMBERS = (
    "crf",
    "restorer_strength",
    "mouth_intensity",
    "smoothing",
    "closure_strength",
    "padding",
    "idle_motion",
    "start",
    "end",
    "video_bit_rate",
    "max_lines",
    "background_gain",
    "source_gain",
)
_WORDS = (
    *("preset", "profile", "container", "video_codec", "audio_codec", "background_audio"),
    *("lipsync_engine", "restorer_engine", "hardware", "output_uri"),
)


def to_options(options: types.Options) -> orchestrator_pb2.JobOptions:
    """Raises InvalidOption for a value that has no place on the wire; ranges are the server's to check."""
    known = types.Options.__annotations__
    message = orchestrator_pb2.JobOptions()
    for name, value in options.items():
        if name not in known:
            raise errors.InvalidOption(f"there is no option {name!r}; there are {', '.join(known)}", {"option": name})
        if value is None:
            continue
        try:
            _set_option(message, name, value)
        except (TypeError, ValueError) as error:
            raise errors.InvalidOption(f"{name}={value!r}: {error}", {"option": name, "value": str(value)}) from error
    return message


def to_mezzanine(options: types.MezzanineOptions) -> orchestrator_pb2.Mezzanine:
    """Raises InvalidOption, as to_options."""
    message = orchestrator_pb2.Mezzanine()
    for name, value in options.items():
        try:
            if value is None:
                continue
            if name == "frame_rate":
                message.frame_rate.CopyFrom(_to_rational(value))
            else:
                setattr(message, name, value)
        except (AttributeError, TypeError, ValueError) as error:
            raise errors.InvalidOption(f"{name}={value!r}: {error}", {"option": name, "value": str(value)}) from error
    return message


def _to_rational(value: Any) -> media_pb2.Rational:
    rate = Fraction(value)
    return media_pb2.Rational(numerator=rate.numerator, denominator=rate.denominator)


def _set_option(message: orchestrator_pb2.JobOptions, name: str, value: Any) -> None:
    match name:
        case "face":
            message.face.CopyFrom(to_face(value))
        case "frame_rate":
            message.frame_rate.CopyFrom(_to_rational(value))
        case "background_audio" if isinstance(value, types.Asset):
            message.background_audio = value.digest
        case "sync_mode":
            message.sync_mode = _to_enum(types.SyncMode, orchestrator_pb2.SyncMode, "SYNC_MODE_", value)
        case "fps_mode":
            message.fps_mode = _to_enum(types.FpsMode, orchestrator_pb2.FpsMode, "FPS_MODE_", value)
        case _:
            setattr(message, name, value)


def _to_enum(names: type[StrEnum], wire: Any, prefix: str, value: object) -> Any:
    known = [member.value for member in names if member.value != "unknown"]
    if str(value) not in known:
        raise ValueError(f"must be one of {', '.join(known)}")
    return wire.Value(f"{prefix}{str(value).upper()}")


def to_face(face: object) -> orchestrator_pb2.FaceChoice:
    """Raises TypeError or ValueError for what is no face."""
    match face:
        case bool():
            raise TypeError("must be a number, a FaceBox, an Asset or its digest")
        case int():
            return orchestrator_pb2.FaceChoice(index=face)
        case types.FaceBox():
            unit = f"UNIT_{types.FaceUnit(face.unit).upper()}"
            return orchestrator_pb2.FaceChoice(
                box=orchestrator_pb2.FaceBox(
                    x=face.x, y=face.y, width=face.width, height=face.height, unit=unit, time=face.time
                )
            )
        case types.Asset():
            return orchestrator_pb2.FaceChoice(reference=face.digest)
        case "auto":
            return orchestrator_pb2.FaceChoice()
        case str():
            return orchestrator_pb2.FaceChoice(reference=face)
    raise TypeError("must be a number, a FaceBox, an Asset or its digest")


def to_speaker(speaker: types.Speaker) -> orchestrator_pb2.Speaker:
    """Raises InvalidOption."""
    audio = speaker.audio if isinstance(speaker.audio, str) else speaker.audio.digest
    try:
        return orchestrator_pb2.Speaker(face=to_face(speaker.face), audio=audio, start=speaker.start)
    except (TypeError, ValueError) as error:
        raise errors.InvalidOption(f"{speaker}: {error}", {"option": "speakers"}) from error


def from_asset(message: orchestrator_pb2.Asset) -> types.Asset:
    return types.Asset(message.digest, message.size_bytes)


def to_asset(asset: types.Asset) -> orchestrator_pb2.Asset:
    return orchestrator_pb2.Asset(digest=asset.digest, size_bytes=asset.size_bytes)


def from_job(message: orchestrator_pb2.Job) -> types.Job:
    return types.Job(
        name=message.name,
        state=_from_enum(types.JobState, orchestrator_pb2.Job.State, "STATE_", message.state),
        video=message.video,
        audio=message.audio,
        options=_from_options(message.options),
        progress=_from_progress(message.progress) if message.HasField("progress") else None,
        result=from_asset(message.result) if message.HasField("result") else None,
        report=from_asset(message.report) if message.HasField("report") else None,
        error=errors.from_status(message.error) if message.HasField("error") else None,
        create_time=_from_timestamp(message.create_time) if message.HasField("create_time") else None,
        start_time=_from_timestamp(message.start_time) if message.HasField("start_time") else None,
        end_time=_from_timestamp(message.end_time) if message.HasField("end_time") else None,
        speakers=tuple(
            types.Speaker(_from_face(speaker.face) or "auto", speaker.audio, speaker.start)
            for speaker in message.speakers
        ),
        priority=message.priority,
        deadline=_from_timestamp(message.deadline) if message.HasField("deadline") else None,
        tenant=message.tenant,
        batch=message.batch,
        webhook=message.webhook,
    )


def to_new_job(job: types.NewJob) -> orchestrator_pb2.Job:
    """Raises InvalidOption as to_options, and for a priority or deadline that has no place on the wire."""
    video, audio = (asset.digest if isinstance(asset, types.Asset) else asset for asset in (job.video, job.audio))
    try:
        message = orchestrator_pb2.Job(
            video=video,
            audio=audio,
            speakers=map(to_speaker, job.speakers),
            options=to_options(job.options),
            priority=job.priority,
            webhook=job.webhook,
        )
        if job.deadline is not None:
            message.deadline.FromDatetime(job.deadline.astimezone(UTC))
    except (TypeError, ValueError) as error:
        raise errors.InvalidOption(f"priority={job.priority!r}, deadline={job.deadline!r}: {error}") from error
    return message


def to_state(state: types.JobState | str) -> int:
    """Raises InvalidOption."""
    try:
        return orchestrator_pb2.Job.State.Value(f"STATE_{str(state).upper()}")
    except ValueError as error:
        states = ", ".join(known for known in types.JobState if known is not types.JobState.UNKNOWN)
        raise errors.InvalidOption(f"{state!r} is not a state: one of {states}", {"option": "states"}) from error


def from_batch(message: orchestrator_pb2.Batch) -> types.Batch:
    return types.Batch(
        name=message.name,
        queued=message.queued_jobs,
        running=message.running_jobs,
        done=message.done_jobs,
        failed=message.failed_jobs,
        cancelled=message.cancelled_jobs,
    )


def from_estimate(message: orchestrator_pb2.EstimateJobResponse) -> types.Estimate:
    return types.Estimate(
        duration_seconds=message.duration_seconds,
        work_seconds=message.work_seconds,
        result_bytes=message.result_bytes,
        jobs_ahead=message.jobs_ahead,
        measured_jobs=message.measured_jobs,
    )


def from_signed(message: orchestrator_pb2.GenerateDownloadUrlResponse) -> types.SignedUrl:
    return types.SignedUrl(message.url, _from_timestamp(message.expire_time))


def from_preview(message: orchestrator_pb2.PreviewJobResponse) -> types.Preview:
    return types.Preview(from_asset(message.asset), tuple(message.outcomes))


def from_event(message: orchestrator_pb2.JobEvent) -> types.JobEvent:
    return types.JobEvent(
        number=message.number,
        time=_from_timestamp(message.time) if message.HasField("time") else None,
        job=from_job(message.job),
        message=message.message,
    )


def from_media_info(message: decoder_pb2.MediaInfo) -> types.MediaInfo:
    return types.MediaInfo(
        kind=_from_enum(types.MediaKind, decoder_pb2.MediaInfo.Kind, "KIND_", message.kind),
        container=message.container,
        duration=_from_rational(message.duration),
        size_bytes=message.size_bytes,
        bit_rate=message.bit_rate,
        video=_from_video(message.video) if message.HasField("video") else None,
        audio=_from_audio(message.audio) if message.HasField("audio") else None,
        advice=tuple(types.Advice(advice.code, advice.message) for advice in message.advice),
    )


def from_person(message: orchestrator_pb2.Person) -> types.Person:
    shown = tuple((span.start, span.end) for span in message.shown)
    return types.Person(message.index, message.frames, _from_box(message.first), shown)


def _from_options(message: orchestrator_pb2.JobOptions) -> types.JobOptions:
    sync_mode = _from_enum(types.SyncMode, orchestrator_pb2.SyncMode, "SYNC_MODE_", message.sync_mode)
    fps_mode = _from_enum(types.FpsMode, orchestrator_pb2.FpsMode, "FPS_MODE_", message.fps_mode)
    return types.JobOptions(
        sync_mode=sync_mode if message.sync_mode else None,
        fps_mode=fps_mode if message.fps_mode else None,
        frame_rate=_from_rational(message.frame_rate) if message.HasField("frame_rate") else None,
        **{name: getattr(message, name) for name in _NUMBERS if message.HasField(name)},
        **{name: getattr(message, name) or None for name in _WORDS},
        normalize=message.normalize or None,
        face=_from_face(message.face),
    )


def _from_face(message: orchestrator_pb2.FaceChoice) -> types.Face | None:
    match message.WhichOneof("choice"):
        case "index":
            return message.index
        case "box":
            return _from_box(message.box)
        case "reference":
            return message.reference
    return None


def _from_box(message: orchestrator_pb2.FaceBox) -> types.FaceBox:
    fractions = message.unit == orchestrator_pb2.FaceBox.UNIT_FRACTIONS
    unit = types.FaceUnit.FRACTIONS if fractions else types.FaceUnit.PIXELS
    return types.FaceBox(message.x, message.y, message.width, message.height, message.time, unit)


def _from_progress(message: orchestrator_pb2.JobProgress) -> types.Progress:
    return types.Progress(
        phase=_from_enum(types.Phase, orchestrator_pb2.JobProgress.Phase, "PHASE_", message.phase),
        done_frames=message.done_frames,
        total_frames=message.total_frames,
        done_segments=message.done_segments,
        total_segments=message.total_segments,
    )


def _from_video(message: decoder_pb2.VideoInfo) -> types.VideoInfo:
    pixel_format = media_pb2.PixelFormat.Name(message.format.pixel_format)
    return types.VideoInfo(
        codec=message.codec,
        width=message.format.width,
        height=message.format.height,
        pixel_format=pixel_format.removeprefix("PIXEL_FORMAT_").lower(),
        frame_rate=_from_rational(message.frame_rate),
        variable_frame_rate=message.variable_frame_rate,
        frame_count=message.frame_count,
        time_base=_from_rational(message.time_base),
        start_time=_from_rational(message.start_time),
        rotation=message.rotation,
        sample_aspect_ratio=_from_rational(message.sample_aspect_ratio),
    )


def _from_audio(message: decoder_pb2.AudioInfo) -> types.AudioInfo:
    return types.AudioInfo(
        codec=message.codec,
        sample_rate=message.sample_rate,
        channels=message.channels,
        duration=_from_rational(message.duration),
        start_time=_from_rational(message.start_time),
    )


def _from_enum(names: type[Name], wire: Any, prefix: str, number: int) -> Name:
    """The name of a wire enum's number; "unknown" for what a newer server may say."""
    ours = {member.value: member for member in names}
    theirs = {value: name.removeprefix(prefix).lower() for name, value in wire.items()}
    return ours.get(theirs.get(number, ""), names("unknown"))


def _from_rational(message: media_pb2.Rational) -> Fraction | None:
    return Fraction(message.numerator, message.denominator) if message.denominator else None


def _from_timestamp(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
