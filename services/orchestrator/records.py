"""What the store takes and gives: rows as plain values. Times are milliseconds since the Unix epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from services.orchestrator.artifacts import Asset


class JobState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


# Nothing else is ever written. RUNNING -> QUEUED is a worker that gives a job back; from an end, a person's retry.
LEGAL_STEPS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


class SegmentState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"


class Phase(IntEnum):
    """As `JobProgress.Phase` in orchestrator.proto, number for number."""

    UNSPECIFIED = 0
    INSPECT = 1
    ANALYSE = 2
    PLAN = 3
    RENDER = 4
    ASSEMBLE = 5


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Frames count within the phase. The store itself keeps the numbers of segments."""

    phase: Phase = Phase.UNSPECIFIED
    done_frames: int = 0
    total_frames: int = 0
    done_segments: int = 0
    total_segments: int = 0


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """A Refusal at rest."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asks for. `priority`: higher goes first; `deadline`: after it the job FAILED.

    `webhook`: address that is told of it, empty: the deployment's own; `assets`: digests of all files that the job
    needs, those that the options name as well; `trace`: W3C traceparent of the call, where its caller traces.
    """

    video: str  # digest
    audio: str  # digest
    options: Mapping[str, Any]
    tenant: str = ""
    priority: int = 0
    deadline: int | None = None
    webhook: str = ""
    assets: tuple[str, ...] = ()
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the queue takes in; 0: no limit."""

    jobs: int = 0  # of all tenants that have not ended
    tenant_jobs: int = 0  # of one tenant that have not ended
    tenant_minutes: float = 0  # of video, of one tenant's jobs of the last 24 hours
    tenant_bytes: int = 0  # of one tenant's uploads that are kept


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Jobs of any of the states, of the tenant, of the batch; empty: whichever."""

    states: tuple[JobState, ...] = ()
    tenant: str = ""
    batch: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    id: str
    state: JobState
    video: str  # digest
    audio: str  # digest
    options: Mapping[str, Any]
    tenant: str
    priority: int
    deadline: int | None
    batch: str | None
    trace: str
    webhook: str
    progress: JobProgress
    plan: str | None
    result: Asset | None
    report: Asset | None
    error: ErrorRecord | None
    create_time: int
    start_time: int | None
    end_time: int | None
    last_event: int  # number of its newest event


@dataclass(frozen=True, slots=True)
class JobPage:
    """`next_page_token` is empty on the last page."""

    jobs: list[JobRecord]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job took. `work`: its video's frames x thousands of pixels."""

    work: int
    seconds: float
    result_bytes: int


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """How many of its jobs there are in each state."""

    id: str
    counts: Mapping[JobState, int]


@dataclass(frozen=True, slots=True)
class EventRecord:
    """`job`: as it was then."""

    number: int
    time: int
    job: JobRecord
    message: str


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """`result` and `details` (whatever the worker noted) are there once DONE."""

    job: str
    index: int
    first_frame: int
    frame_count: int
    state: SegmentState
    result: Asset | None
    details: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job (segment None) or on one of its segments, until it runs out or is lost."""

    job: str
    segment: int | None
    owner: str
    fence: int
