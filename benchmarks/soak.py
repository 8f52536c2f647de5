"""Short jobs with faults among them for a long time; what every process holds must not grow.

    python -m benchmarks.soak MINUTES

Every half minute a service is killed, stopped past its lease, or ended and started again. A process is judged by what
it holds over its own life: the last quarter beside the second one. Exits 1 when a job was lost or a process grew.
"""

import contextlib
import random
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.load import make_short_media
from benchmarks.processes import Holding, look_at
from syncline import Client
from syncline.errors import JobNotFound, ServiceUnavailable, SynclineError
from syncline.types import Job, JobState
from tests.end_to_end.cluster import Cluster
from tests.postgres import HOW, find_programs, running

Result = TypeVar("Result")

CLIENTS = 3
FAULT_SECONDS, LOOK_SECONDS = 30.0, 5.0
FAULTS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)
FEWEST_LOOKS = 24  # below which a process has lived too short to be judged
GROWTH = {"memory": 1.15, "descriptors": 1.1, "threads": 1.1}  # that is taken for noise


def work(server: str, folder: Path, until: float, ends: Counter[str]) -> None:
    """Jobs one after another: plain, urgent, cancelled, retried, deleted."""
    chance = random.Random()
    with Client(server) as client:
        video = insist(client.upload, folder / "portrait.png")
        audios = [insist(client.upload, folder / name) for name in ("short.wav", "speech.wav")]
        while time.monotonic() < until:
            terms: dict[str, Any] = {"priority": chance.randint(-1, 1), "crf": chance.randint(18, 30)}
            job = insist(client.create_job, video, chance.choice(audios), uuid.uuid4().hex, **terms)
            if chance.random() < 0.2:
                time.sleep(chance.random())
                if insist(client.cancel, job).state is JobState.CANCELLED:
                    insist(client.retry, job)
            ends[await_end(client, job)] += 1
            if chance.random() < 0.5:
                with contextlib.suppress(JobNotFound):  # deleted, and the answer lost
                    insist(client.delete, job)


def insist(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Waits longer than the client does by itself for a server that is starting on a busy machine."""
    while True:
        try:
            return call(*arguments, **options)
        except ServiceUnavailable:
            time.sleep(1)


def await_end(client: Client, job: Job) -> str:
    """Why the job failed, or "done"."""
    while True:
        try:
            client.result(job)
            return "done"
        except SynclineError as error:
            if insist(client.get, job).state.ended:
                return error.reason()


def judge(lives: dict[tuple[str, int], list[Holding]], console: Console) -> bool:
    """Prints what the longest-lived process of each service held; whether none of those that lived long grew."""
    table = Table("service", "looks", "memory, MB", "descriptors", "threads", title="second quarter -> last quarter")
    steady = True
    for (name, _), looks in sorted(lives.items()):
        if len(looks) < FEWEST_LOOKS:
            continue
        quarter = len(looks) // 4
        cells = []
        for what, most in GROWTH.items():
            early = statistics.median(getattr(look, what) for look in looks[quarter : 2 * quarter])
            late = statistics.median(getattr(look, what) for look in looks[-quarter:])
            grew = late > early * most + 2
            steady = steady and not grew
            cells.append(f"{early:.0f} -> {late:.0f}{' GREW' if grew else ''}")
        table.add_row(name, str(len(looks)), *cells)
    console.print(table)
    return steady


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    if find_programs() is None:
        sys.exit(HOW)
    ends: Counter[str] = Counter()
    lives: dict[tuple[str, int], list[Holding]] = defaultdict(list)
    chance = random.Random()
    with tempfile.TemporaryDirectory() as name, running() as postgres, ThreadPoolExecutor(CLIENTS) as threads:
        folder = Path(name)
        make_short_media(folder)
        with Cluster(folder / "cluster", postgres.new_database()) as cluster:
            until = time.monotonic() + 60 * minutes
            clients = [threads.submit(work, cluster.server, folder, until, ends) for _ in range(CLIENTS)]
            struck = time.monotonic()
            while not all(client.done() for client in clients):
                for service, process in cluster.processes.items():
                    lives[service, process.pid].append(look_at(process.pid))
                if time.monotonic() - struck > FAULT_SECONDS and time.monotonic() < until:
                    cluster.strike(chance.choice(cluster.names), chance.choice(FAULTS))
                    struck = time.monotonic()
                time.sleep(LOOK_SECONDS)
            for client in clients:
                client.result()
    console = Console()
    console.print(f"jobs: {dict(ends)}")
    steady = judge(lives, console)
    sys.exit(0 if steady and set(ends) <= {"done"} else 1)


if __name__ == "__main__":
    main()
