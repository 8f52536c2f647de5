"""How often and how soon work is tried again, by what went wrong."""

import random
from dataclasses import dataclass

import grpc

from services.orchestrator.records import ErrorRecord
from syncline.errors import CATALOGUE


@dataclass(frozen=True, slots=True)
class Backoff:
    """The pause doubles from the first to the longest, in seconds; `attempts` claims that bring nothing on are all."""

    first: float
    longest: float
    attempts: int


_PASSING = Backoff(1, 60, 12)  # a service that is restarted or silent: about seven minutes
_FULL = Backoff(5, 300, 16)  # a disk or device that must be made room on: about an hour
_BY_CODE = {grpc.StatusCode.RESOURCE_EXHAUSTED: _FULL}

LOST_ATTEMPTS = 5  # claims in a row whose holders were never heard of again: the job kills its workers


def pause_before_retry(error: ErrorRecord, attempts: int) -> float | None:
    """Seconds to wait after that many attempts; None: give up. With jitter, so that not all come back at once."""
    kind = CATALOGUE[error.reason]
    backoff = _BY_CODE.get(kind.code, _PASSING)
    if not kind.retryable or attempts >= backoff.attempts:
        return None
    return min(backoff.longest, backoff.first * 2 ** (attempts - 1)) * random.uniform(0.75, 1.0)
