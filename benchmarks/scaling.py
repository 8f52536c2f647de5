"""Restorers over time, simulated: what waits, how long, and what it costs.

    python -m benchmarks.scaling [MOST [SECONDS_PER_FRAME [SECONDS_TO_START [PRICE_PER_HOUR]]]]

Jobs arrive as a trace says; every tick the wanted number of restorers is computed by `wanted_replicas`, the code that
serves KEDA, from the backlog as the store would tell it. Between it and the pods stands what Kubernetes does: the
ScaledObject's own limits, polling, the time that a cold pod takes, one pod less every two minutes after ten quiet ones.
Work within the cluster is taken as divisible: a job's batches go to all restorers.
"""

import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from services.orchestrator.backlog import Backlog, wanted_replicas

ROOT = Path(__file__).resolve().parents[1]
TICK = 1.0  # seconds
DAY = 86_400
# The engine `classic` on one CPU core, as docs/images/trace.svg shows; a pod on a node that has its image; a price.
_DEFAULTS = (1000.0, 0.009, 30.0, 1.0)


@dataclass(frozen=True)
class Policy:
    """What the ScaledObject says. Times in seconds."""

    target: float
    most: int
    poll: float
    quiet: float  # before a pod is taken away
    down_every: float
    up_every: float  # in which the number may double
    idle_to_zero: float

    @classmethod
    def of_manifest(cls, most: int) -> "Policy":
        file = ROOT / "k8s" / "components" / "keda" / "scaledobject.yaml"
        spec = yaml.safe_load(file.read_text())["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        (down,), (up,) = behavior["scaleDown"]["policies"], behavior["scaleUp"]["policies"]
        return cls(
            target=float(spec["triggers"][0]["metadata"]["targetBacklogSeconds"]),
            most=most,
            poll=spec["pollingInterval"],
            quiet=behavior["scaleDown"]["stabilizationWindowSeconds"],
            down_every=down["periodSeconds"],
            up_every=up["periodSeconds"],
            idle_to_zero=spec["cooldownPeriod"],
        )


@dataclass(frozen=True)
class Costs:
    """Measured, or assumed and said so. `cold`: seconds from the wish for a pod until it is ready."""

    seconds_per_frame: float
    cold: float
    price: float  # of one GPU for an hour


@dataclass
class Job:
    arrived: float
    frames: float
    done: float = 0.0  # when its last frame was restored


@dataclass
class Result:
    jobs: list[Job] = field(default_factory=list)
    pods: list[int] = field(default_factory=list)  # paid for, ready or not, at each tick
    busy: float = 0.0  # seconds of all pods in which they worked

    def waited(self, share: float) -> float:
        """Seconds from arrival to end, which so many of the jobs stay below."""
        waits = sorted(job.done - job.arrived for job in self.jobs)
        return waits[min(len(waits) - 1, int(share * len(waits)))]

    @property
    def pod_hours(self) -> float:
        return sum(self.pods) * TICK / 3600

    @property
    def utilisation(self) -> float:
        return self.busy / (sum(self.pods) * TICK) if sum(self.pods) else 0.0


class Scaler:
    """Kubernetes' part: from the number wanted to the number of pods."""

    def __init__(self, policy: Policy, cold: float) -> None:
        self._policy = policy
        self._cold = cold
        self._starting: deque[float] = deque()  # when each will be ready
        self._recent: deque[tuple[float, int]] = deque()  # wishes of the quiet time
        self._stepped_up = self._stepped_down = self._polled = -1e9
        self._worked = 0.0
        self.ready = 0

    @property
    def pods(self) -> int:
        return self.ready + len(self._starting)

    def step(self, now: float, backlog: Backlog) -> None:
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
            self.ready += 1
        if backlog.jobs:
            self._worked = now
        if now - self._polled < self._policy.poll:
            return
        self._polled = now
        wanted = wanted_replicas(backlog, self._policy.target, self._policy.most)
        self._recent.append((now, wanted))
        while self._recent[0][0] < now - self._policy.quiet:
            self._recent.popleft()
        if wanted > self.pods and now - self._stepped_up >= self._policy.up_every:
            added = min(wanted - self.pods, max(1, self.pods))
            self._starting.extend([now + self._cold] * added)
            self._stepped_up = now
        calm = max(number for _, number in self._recent)
        last = self.ready == 1 and now - self._worked < self._policy.idle_to_zero
        if calm < self.pods and self.ready and not last and now - self._stepped_down >= self._policy.down_every:
            self.ready -= 1
            self._stepped_down = now


def simulate(arrivals: Iterator[Job], policy: Policy, costs: Costs, fixed: int | None = None) -> Result:
    """`fixed`: so many restorers throughout, instead of the scaler's."""
    scaler, result = Scaler(policy, costs.cold), Result()
    waiting: deque[Job] = deque()
    left: deque[float] = deque()  # frames of each that waits
    coming, now = next(arrivals, None), 0.0
    while coming is not None or waiting:
        while coming is not None and coming.arrived <= now:
            waiting.append(coming)
            left.append(coming.frames)
            coming = next(arrivals, None)
        if fixed is None:
            scaler.step(now, Backlog(len(waiting), sum(left), costs.seconds_per_frame))
        pods, ready = (scaler.pods, scaler.ready) if fixed is None else (fixed, fixed)
        able = ready * TICK / costs.seconds_per_frame
        spent = min(able, sum(left))
        result.busy += spent * costs.seconds_per_frame
        while waiting and left[0] <= spent + 1e-9:
            spent -= left.popleft()
            waiting[0].done = now + TICK
            result.jobs.append(waiting.popleft())
        if waiting:
            left[0] -= spent
        result.pods.append(pods)
        now += TICK
    return result


def office_day(load: float, costs: Costs, seed: int = 1) -> Iterator[Job]:
    """A day's jobs of 20 s to 2 min of video: few by night, most before noon. `load`: restorers busy at the peak."""
    chance, now = random.Random(seed), 0.0
    mean = 25 * 70.0  # frames
    while now < DAY:
        hour = now / 3600
        bustle = 0.05 + 0.95 * max(0.0, 1 - abs(hour - 11) / 6)
        now += chance.expovariate(load * bustle / (mean * costs.seconds_per_frame))
        yield Job(now, 25 * chance.uniform(20, 120))


def main() -> None:
    given = [float(text) for text in sys.argv[1:]]
    most, seconds_per_frame, cold, price = [*given, *_DEFAULTS[len(given) :]]
    costs = Costs(seconds_per_frame, cold, price)
    table = Table(title=f"A day of jobs; {seconds_per_frame * 1e3:g} ms a frame, {cold:g} s until a pod is ready")
    for column in (
        "busiest",
        "restorers",
        "jobs",
        "50 % within",
        "95 % within",
        "most",
        "pod hours",
        "in use",
        "price",
    ):
        table.add_column(column, justify="right")
    for load in (load for load in (0.7, 7, 70, 700) if load < most):
        for fixed in (None, max(1, round(load / 0.7))):
            policy = Policy.of_manifest(int(most))
            result = simulate(office_day(load, costs), policy, costs, fixed)
            table.add_row(
                f"{load:g}",
                "as wanted" if fixed is None else f"always {fixed}",
                str(len(result.jobs)),
                f"{result.waited(0.5):.0f} s",
                f"{result.waited(0.95):.0f} s",
                str(max(result.pods)),
                f"{result.pod_hours:.0f}",
                f"{result.utilisation:.0%}",
                f"{result.pod_hours * costs.price:.0f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
