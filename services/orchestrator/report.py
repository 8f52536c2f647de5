"""report.json: what was done to the video, by whom, and how long it took."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from services.orchestrator.artifacts import Asset
from services.orchestrator.encoding import EncodeSettings
from services.orchestrator.options import JobOptions
from services.orchestrator.records import JobRecord, SegmentRecord
from services.orchestrator.speed import worker_megabytes
from services.orchestrator.timeline import Timeline
from services.runtime.convert import to_fraction
from syncline._version import __version__
from syncline.v1 import decoder_pb2, media_pb2


def build_report(
    job: JobRecord,
    options: JobOptions,
    info: decoder_pb2.MediaInfo,
    timeline: Timeline,
    encode: EncodeSettings,
    segments: Sequence[SegmentRecord],
    faces: Mapping[str, Any],
    engines: Mapping[str, Any],
    seconds: Mapping[str, float],
    result: Asset,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The report as JSON values. Frame ranges are [first, last] output frames, from 0.

    `faces`: see cast_report.py. `notes`: what was not done as asked, for a person.
    """
    video = info.video
    return {
        "job": f"jobs/{job.id}",
        "syncline": __version__,
        "ai_generated": True,
        "source": {
            "video": job.video,
            "audio": job.audio,
            "width": video.format.width,
            "height": video.format.height,
            "codec": video.codec,
            "frame_rate": str(to_fraction(video.frame_rate)),
            "advice": [{"code": advice.code, "message": advice.message} for advice in info.advice],
        },
        "result": {
            "digest": result.digest,
            "size_bytes": result.size,
            "frames": timeline.frame_count,
            "duration_seconds": round(float(timeline.duration), 6),
            "frame_rate": str(timeline.frame_rate.limit_denominator(1001)),
            "encoder": encode.video_codec.encoder,
            "copied_frames": sum((segment.details or {}).get("copied", 0) for segment in segments),
        },
        "settings": {
            **options.to_json(),
            "sync_mode": options.sync_mode.name.lower(),
            "fps_mode": options.fps_mode.name.lower(),
        },
        "notes": list(notes),
        "frames": report_frames([(segment.details or {}).get("outcomes", ()) for segment in segments]),
        **faces,
        "engines": dict(engines),
        "worker_megabytes": round(worker_megabytes()),
        "seconds": {**seconds, "render_steps": _sum_steps(segments)},
        "segments": len(segments),
    }


def describe_engine(engine: media_pb2.EngineInfo) -> dict[str, Any]:
    """An engine as the report names it."""
    models = [{"name": model.name, "sha256": model.sha256, "license": model.license} for model in engine.models]
    return {"name": engine.name, "version": engine.version, "models": models}


def report_frames(segments: Iterable[Iterable[tuple[str, int, int]]]) -> dict[str, Any]:
    """Runs (outcome, first frame, frames) of each segment, those that meet at a border made one."""
    runs: list[tuple[str, int, int]] = []
    counts = Counter[str]()
    for outcome, first, count in chain.from_iterable(segments):
        counts[outcome] += count
        if runs and runs[-1][0] == outcome and runs[-1][2] + 1 == first:
            runs[-1] = (outcome, runs[-1][1], first + count - 1)
        else:
            runs.append((outcome, first, first + count - 1))
    ranges = [{"outcome": outcome, "first": first, "last": last} for outcome, first, last in runs]
    return {"by_outcome": dict(counts), "ranges": ranges}


def _sum_steps(segments: Sequence[SegmentRecord]) -> dict[str, float]:
    totals = Counter[str]()
    for segment in segments:
        totals.update((segment.details or {}).get("seconds", {}))
    return {step: round(value, 3) for step, value in totals.items()}
