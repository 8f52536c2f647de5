"""What was done to the frames of a segment, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.runtime.faces import CropOutcome

Runs = list[tuple[str, int, int]]  # outcome, first output frame, frames

# From the least done to the most; what failed must be seen.
_RANKS = ("no_face", *(outcome.name.lower() for outcome in reversed(CropOutcome)), "failed")


@dataclass
class SegmentReport:
    """`outcomes`: of the frames, each the furthest that any of its mouths got; `mouths`: of each mouth by itself."""

    mouths: list[Runs]
    outcomes: Runs = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by step
    copied: int = 0  # frames that are the source's own packets

    def add_outcomes(self, outcomes: Sequence[str], frame: int) -> None:
        """One for each mouth."""
        _add(self.outcomes, max(outcomes, key=_RANKS.index), frame)
        for runs, outcome in zip(self.mouths, outcomes, strict=True):
            _add(runs, outcome, frame)

    def add_seconds(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def to_json(self) -> dict[str, Any]:
        seconds = {step: round(value, 3) for step, value in self.seconds.items()}
        return {"outcomes": self.outcomes, "mouths": self.mouths, "seconds": seconds, "copied": self.copied}


def _add(runs: Runs, outcome: str, frame: int) -> None:
    if runs and runs[-1][0] == outcome and sum(runs[-1][1:]) == frame:
        _, first, count = runs[-1]
        runs[-1] = (outcome, first, count + 1)
    else:
        runs.append((outcome, frame, 1))
