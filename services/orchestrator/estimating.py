"""What a job would cost, before it is queued: its files' facts times what the deployment's latest jobs took."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from services.orchestrator.options import JobOptions
from services.orchestrator.records import Cost, NewJob
from services.orchestrator.stages import Stages
from services.orchestrator.timeline import PHOTO_RATE, SyncMode
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the video that a job would make: seconds, and frames x thousands of pixels."""

    duration: float
    work: float


@dataclass(frozen=True, slots=True)
class Estimate:
    duration: float  # seconds
    work_seconds: float
    result_bytes: int
    measured_jobs: int


async def inspect_all(stages: Stages, job: NewJob) -> Facts:
    """What the containers say of a job's files; the job itself goes by the frames.

    Raises NO_VIDEO, NO_AUDIO, and what the decoder says of the files.
    """
    options = JobOptions.from_json(job.options)
    begin = {speaker.audio: speaker.start for speaker in options.speakers} or {job.audio: 0.0}
    video, *speeches = await asyncio.gather(*map(stages.inspect, [job.video, *begin]))
    if not video.HasField("video"):
        raise Refusal("NO_VIDEO", "the file given as video has sound but no pictures", digest=job.video)
    for speech, digest in zip(speeches, begin, strict=True):
        if not speech.HasField("audio"):
            raise Refusal("NO_AUDIO", "the file given as speech has no sound", digest=digest)
    spoken = max(start + _seconds(speech) for start, speech in zip(begin.values(), speeches, strict=True))
    return _foresee(video, spoken, options)


def _seconds(info: decoder_pb2.MediaInfo) -> float:
    return float(to_fraction(info.audio.duration) or to_fraction(info.duration) or 0)


def _foresee(video: decoder_pb2.MediaInfo, spoken: float, options: JobOptions) -> Facts:
    rate, duration = float(options.frame_rate or PHOTO_RATE), spoken
    if video.kind != decoder_pb2.MediaInfo.KIND_PHOTO:
        rate = float(options.frame_rate or to_fraction(video.video.frame_rate) or PHOTO_RATE)
        whole = float(to_fraction(video.duration) or spoken)
        used = max(0.0, min(options.end or whole, whole) - (options.start or 0.0))
        if options.sync_mode == SyncMode.CUT_OFF:
            duration = min(spoken, used)
        elif options.sync_mode == SyncMode.SILENCE:
            duration = used
    return Facts(duration, duration * rate * video.video.format.width * video.video.format.height / 1000)


def estimate(facts: Facts, costs: Sequence[Cost]) -> Estimate:
    """By the medians of what the jobs took per unit of work."""
    if not costs:
        return Estimate(facts.duration, 0, 0, 0)
    seconds = statistics.median(cost.seconds / cost.work for cost in costs) * facts.work
    size = statistics.median(cost.result_bytes / cost.work for cost in costs) * facts.work
    return Estimate(facts.duration, seconds, round(size), len(costs))
