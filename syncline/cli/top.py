"""syncline top: services, queues and jobs of a running Syncline, live."""

import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from syncline.cli._metrics import Sample, fetch
from syncline.cli._options import DEFAULT_SERVER, Server
from syncline.cli._server import connect
from syncline.types import Job, JobState

_JOBS = 20  # shown
_STATES = ("ready", "resting", "unwell", "draining", "lost")

Metrics = Annotated[
    list[str] | None,
    typer.Option("--metrics", metavar="URL", help="A worker's metrics page, for example http://HOST:9090/metrics."),
]
Rounds = Annotated[int, typer.Option("--rounds", min=0, help="End after so many looks; 0: at Ctrl-C.")]
Seconds = Annotated[float, typer.Option("--every", min=0.2, help="Seconds between looks.")]


def top(server: Server = DEFAULT_SERVER, metrics: Metrics = None, every: Seconds = 1.0, rounds: Rounds = 0) -> None:
    """Show jobs live; with --metrics also the services and queues as that worker sees them."""
    console = Console()
    with connect(server) as client, Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for number in itertools.count(1):
            samples = [sample for url in metrics or () for sample in fetch(url)]
            jobs = list(itertools.islice(client.list(), _JOBS))
            live.update(Group(*_tables(samples, jobs)), refresh=True)
            if number == rounds:
                return
            time.sleep(every)


def _tables(samples: Sequence[Sample], jobs: Sequence[Job]) -> Iterable[Table | Text]:
    if samples:
        yield _services(samples)
        yield _queues(samples)
    yield _jobs(jobs)


def _services(samples: Sequence[Sample]) -> Table:
    table = Table("service", *_STATES, "under way", title="Replicas", title_justify="left")
    stages = dict.fromkeys(sample.labels["stage"] for sample in samples if sample.name == "syncline_replicas")
    for stage in stages:
        counts = [_sum(samples, "syncline_replicas", stage=stage, state=state) for state in _STATES]
        outstanding = _sum(samples, "syncline_outstanding", stage=stage)
        table.add_row(stage, *(f"{count:.0f}" for count in counts), f"{outstanding:.0f}")
    return table


def _queues(samples: Sequence[Sample]) -> Text:
    # Of the whole installation, so that every worker tells the same.
    jobs, frames, seconds = (
        max((sample.value for sample in samples if sample.name == f"syncline_backlog_{what}"), default=0.0)
        for what in ("jobs", "frames", "seconds")
    )
    pending, resent = _sum(samples, "syncline_dispatch_pending"), _sum(samples, "syncline_batches_resent_total")
    return Text(
        f"{jobs:.0f} jobs open, {frames:.0f} frames to render, {seconds:.0f} s of one restorer's work; "
        f"{pending:.0f} batches wait for a restorer, {resent:.0f} were sent again"
    )


def _jobs(jobs: Sequence[Job]) -> Table:
    table = Table("job", "state", "phase", "frames", "segments", title="Jobs, newest first", title_justify="left")
    for job in jobs:
        progress = job.progress if job.state is JobState.RUNNING else None
        table.add_row(
            job.name.removeprefix("jobs/"),
            job.state.name.lower(),
            progress.phase.name.lower() if progress else "",
            f"{progress.done_frames}/{progress.total_frames}" if progress and progress.total_frames else "",
            f"{progress.done_segments}/{progress.total_segments}" if progress and progress.total_segments else "",
        )
    return table


def _sum(samples: Iterable[Sample], name: str, **labels: str) -> float:
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
    )
