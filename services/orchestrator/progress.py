"""How far a job is, and how long its steps took."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

from services.orchestrator.records import JobProgress, Phase
from services.runtime.tracing import span


class Beacon:
    """How far the job is, for the heartbeat to tell."""

    value = JobProgress()
    pixels = 0  # of one frame; 0: not known yet

    @property
    def work(self) -> int:
        """What is left, as far as is known: frames x thousands of pixels. Before it renders, all of the source."""
        progress = self.value
        done = progress.done_frames if progress.phase is Phase.RENDER else 0
        return (progress.total_frames - done) * self.pixels // 1000

    def enter(self, phase: Phase, total_frames: int = 0) -> None:
        self.value = JobProgress(phase, 0, total_frames)

    def advance(self, done_frames: int) -> None:
        self.value = replace(self.value, done_frames=done_frames)


@contextlib.contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Notes how long the block took, under the step's name, and traces it."""
    begun = time.monotonic()
    with span(step):
        yield
    seconds[step] = round(time.monotonic() - begun, 3)
