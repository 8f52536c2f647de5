"""How fast this installation is, by its own reports of the jobs that it has done."""

import json
import resource
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.records import JobState
from services.orchestrator.store import JobStore
from services.runtime.refusal import Refusal

_LATEST = 40  # jobs
_CLASSES = (360, 480, 720, 1080, 1440, 2160, 4320)  # lines; a picture counts as the nearest


@dataclass(frozen=True, slots=True)
class Speed:
    """Of all jobs of one size of picture."""

    jobs: int
    frames_per_second: float  # rendered, decoding and encoding included; the median
    worker_megabytes: float  # of the process that encodes; the most


def measure_speeds(store: JobStore, artifacts: ArtifactStore) -> dict[int, Speed]:
    """By lines of the picture, from the latest jobs."""
    rates: dict[int, list[float]] = defaultdict(list)
    memory: dict[int, float] = defaultdict(float)
    for job in store.list_jobs(_LATEST).jobs:
        if job.state is not JobState.DONE or job.report is None:
            continue
        try:
            report = json.loads(artifacts.path_of(job.report.digest).read_bytes())
            lines, rate, megabytes = _read(report)
        except (Refusal, KeyError, ZeroDivisionError):  # deleted since, or of an earlier version
            continue
        rates[lines].append(rate)
        memory[lines] = max(memory[lines], megabytes)
    return {lines: Speed(len(found), statistics.median(found), memory[lines]) for lines, found in rates.items()}


def worker_megabytes() -> float:
    """The most memory that this process has had at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def _read(report: dict[str, Any]) -> tuple[int, float, float]:
    """Lines, frames a second, megabytes."""
    source, result = report["source"], report["result"]
    lines = min(source["width"], source["height"])
    nearest = min(_CLASSES, key=lambda known: abs(known - lines))
    return nearest, result["frames"] / report["seconds"]["render_steps"]["render"], report["worker_megabytes"]
