"""How many pieces of work a second the job store hands out and takes back, on both databases.

    python -m benchmarks.store

A job is claimed and finished in two transactions; a segment is published and the next one claimed in one. They are on
disk before they are told. Beside them the floor: how many times a second this disk confirms a write.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.orchestrator.artifacts import Asset
from services.orchestrator.records import Lease, NewJob, SegmentRecord
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from tests.postgres import HOW, find_programs, running

PIECES = 1000
MADE = Asset("c" * 64, 1)


def finish_jobs(url: str) -> int:
    """Claims and finishes jobs until none is left."""
    store, done = JobStore(url), 0
    while (claimed := store.claim_job("bench", 60)) is not None:
        store.finish_job(claimed[1], MADE, MADE)
        done += 1
    store.close()
    return done


def finish_segments(url: str) -> int:
    """Claims and publishes segments of whichever job has any until none is left, as a worker does."""
    store, owner, done = JobStore(url), f"bench-{os.getpid()}", 0
    while (helped := store.claim_help(owner, 60)) is not None:
        claimed: tuple[SegmentRecord, Lease] | None = helped[1:]
        while claimed is not None:
            claimed = store.finish_and_claim(claimed[1], MADE, {}, 60)
            done += 1
    store.close()
    return done


def queue_jobs(store: JobStore) -> None:
    store.create_batch([NewJob("a" * 64, "b" * 64, {"n": number}) for number in range(PIECES)])


def queue_segments(store: JobStore) -> None:
    """Twenty jobs of fifty segments."""
    store.create_batch([NewJob("a" * 64, "b" * 64, {"n": number}) for number in range(20)])
    while (claimed := store.claim_job("bench", 600)) is not None:
        store.plan_segments(claimed[1], "plan", [SegmentSpan(n, n * 100, 100) for n in range(PIECES // 20)])


def measure(url: str, queue: Callable[[JobStore], None], work: Callable[[str], int], workers: int) -> float:
    """Pieces a second, of that many processes together."""
    store = JobStore(url)
    queue(store)
    store.close()
    with get_context("spawn").Pool(workers) as pool:
        pool.map(abs, range(workers * 4))  # the processes are up and have imported what they need
        begun = time.monotonic()
        done = sum(pool.map(work, [url] * workers, chunksize=1))
        seconds = time.monotonic() - begun
    assert done == PIECES, f"{done} of {PIECES} pieces were handed out"
    return done / seconds


def measure_disk(folder: Path) -> float:
    """Writes of 4 KiB a second that the disk confirms."""
    count, begun = 0, time.monotonic()
    with (folder / "probe").open("wb") as file:
        while time.monotonic() - begun < 1:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            count += 1
    return count


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """By name, what gives the URL of an empty one."""

    def new_file() -> str:
        return f"sqlite:///{folder / os.urandom(4).hex()}.db"

    if find_programs() is None:
        print(f"{HOW}: SQLite only", file=sys.stderr)
        yield {"SQLite": new_file}
    else:
        with running(durable=True) as server:
            yield {"SQLite": new_file, "PostgreSQL": server.new_database}


def main() -> None:
    table = Table("database", "processes", "jobs/s", "segments/s", title="claimed and finished, each on disk")
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        floor = measure_disk(Path(name))
        for database, new_url in urls.items():
            for workers in (1,) if database == "SQLite" else (1, 4):
                jobs = measure(new_url(), queue_jobs, finish_jobs, workers)
                segments = measure(new_url(), queue_segments, finish_segments, workers)
                table.add_row(database, str(workers), f"{jobs:.0f}", f"{segments:.0f}")
    console = Console()
    console.print(table)
    console.print(f"this disk confirms {floor:.0f} writes a second; a job needs two, a segment one")


if __name__ == "__main__":
    main()
