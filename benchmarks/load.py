"""Many clients at once: 200 short jobs from 20 clients with 2 workers; and short jobs beside one heavy 4K job.

    python -m benchmarks.load

Every service is a process of its own, the jobs lie in PostgreSQL. A short job is a photo that speaks for half a second.
"""

import statistics
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from rich.console import Console
from rich.table import Table

from benchmarks.processes import Holding, look_at
from examples.demo import speak
from syncline import Client
from syncline.types import Asset, Job, Phase
from tests.end_to_end.cluster import Cluster
from tests.postgres import HOW, find_programs, running

CLIENTS, JOBS_EACH, WORKERS = 20, 10, 2
SMALL_JOBS = 12  # one after another, without and with the heavy one
HEAVY_SECONDS, HEAVY_RATE, HEAVY_BITS = 12, 25, 60_000_000


def make_short_media(folder: Path) -> None:
    """portrait.png, short.wav (half a second), speech.wav (two)."""
    cv2.imwrite(str(folder / "portrait.png"), skimage.data.astronaut()[:, :, ::-1])
    speak("Oh my.", folder / "short.wav")
    speak("My mouth may open wide.", folder / "speech.wav")


def make_heavy_media(folder: Path) -> None:
    """long.wav (speech.wav twelve times), heavy.mp4 (3840 x 2160, about 60 Mbit/s)."""
    photo = skimage.data.astronaut()
    with wave.open(str(folder / "speech.wav")) as speech, wave.open(str(folder / "long.wav"), "wb") as long:
        long.setparams(speech.getparams())
        long.writeframes(speech.readframes(speech.getnframes()) * 12)
    large = cv2.resize(photo[:288], (3840, 2160), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).integers(-12, 13, (2160 + 64, 3840 + 64, 1), np.int16)
    with av.open(str(folder / "heavy.mp4"), "w") as container:
        options = {"preset": "ultrafast", "b": str(HEAVY_BITS), "maxrate": str(HEAVY_BITS), "bufsize": str(HEAVY_BITS)}
        stream = container.add_stream("libx264", rate=Fraction(HEAVY_RATE), options=options)
        stream.bit_rate = HEAVY_BITS
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        for number in range(HEAVY_SECONDS * HEAVY_RATE):
            x, y = number * 7 % 64, number * 5 % 64  # grain that moves, as a camera's
            picture = np.clip(large + noise[y : y + 2160, x : x + 3840], 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@contextmanager
def asking(server: str, jobs: list[Job], seconds: list[float]) -> Iterator[None]:
    """Asks for one job after another, and notes how long each answer took, for as long as the block lasts."""
    done = threading.Event()

    def ask() -> None:
        with Client(server) as client:
            number = 0
            while not done.is_set():
                if jobs:
                    begun = time.monotonic()
                    client.get(jobs[number % len(jobs)])
                    seconds.append(time.monotonic() - begun)
                    number += 1
                time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def flood(cluster: Cluster, client: Client, video: Asset, audio: Asset, console: Console) -> None:
    """All jobs at once; every second one of a client is urgent."""
    jobs: list[Job] = []
    answers: list[float] = []

    def submit(number: int) -> None:
        with Client(cluster.server, tenant=f"client{number}") as own:
            for turn in range(JOBS_EACH):
                job = own.create_job(video, audio, priority=turn % 2, preset="ultrafast")
                jobs.append(job)

    client.result(client.create_job(video, audio, preset="ultrafast"))  # what is learned once is learned
    before = holdings(cluster)
    begun = time.monotonic()
    with asking(cluster.server, jobs, answers):
        threads = [threading.Thread(target=submit, args=[number]) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        submitted = time.monotonic() - begun
        middle: dict[str, Holding] = {}
        while waiting := list(client.list(["queued", "running"])):
            if not middle and len(waiting) < len(jobs) / 2:
                middle = holdings(cluster)
            time.sleep(1)
    seconds = time.monotonic() - begun
    ended = sorted((client.result(job) for job in jobs), key=_begun_at)
    late = max((job.create_time for job in ended if job.create_time), default=None)
    settled = [job for job in ended if job.start_time and late and job.start_time > late]
    order = [job.priority for job in settled]
    misplaced = sum(order[at] < max(order[at + 1 :], default=0) for at in range(len(order)))
    tenants = [job.tenant for job in settled if job.priority == 0][: CLIENTS * 2]
    table = Table("measure", "figure", title=f"{len(jobs)} short jobs, {CLIENTS} clients, {WORKERS} workers")
    table.add_row("submitted within", f"{submitted:.1f} s")
    table.add_row("all done within", f"{seconds:.1f} s ({60 * len(jobs) / seconds:.0f} a minute)")
    table.add_row("GetJob, p50 / p99", f"{1000 * quantile(answers, 50):.0f} / {1000 * quantile(answers, 99):.0f} ms")
    table.add_row("jobs begun before a more urgent one that waited", f"{misplaced} of {len(settled)}")
    table.add_row("clients among the first 40 jobs that were not urgent", f"{len(set(tenants))} of {CLIENTS}")
    console.print(table)
    memory = Table("service", "before", "half done", "all done", title="resident memory, MB")
    after = holdings(cluster)
    for name in cluster.names:
        cells = [f"{held[name].memory:.0f}" if name in held else "" for held in (before, middle, after)]
        memory.add_row(name, *cells)
    console.print(memory)


def _begun_at(job: Job) -> datetime:
    begun = job.start_time or job.create_time
    assert begun is not None
    return begun


def holdings(cluster: Cluster) -> dict[str, Holding]:
    return {name: look_at(process.pid) for name, process in cluster.processes.items()}


def quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def beside_heavy(client: Client, video: Asset, audio: Asset, heavy: Asset, speech: Asset, console: Console) -> None:
    """How long short jobs take by themselves, while a heavy one is being analysed, and while it is rendered."""

    def measure() -> list[float]:
        seconds = []
        for _ in range(SMALL_JOBS):
            begun = time.monotonic()
            client.result(client.create_job(video, audio, preset="ultrafast"))
            seconds.append(time.monotonic() - begun)
        return seconds

    alone = measure()
    job = client.create_job(heavy, speech)
    table = Table("short job", "median", "slowest", "of alone", title="beside a 4K job of 60 Mbit/s")
    table.add_row("alone", f"{statistics.median(alone):.2f} s", f"{max(alone):.2f} s", "")
    for phase in (Phase.ANALYSE, Phase.RENDER):
        await_phase(client, job, phase)
        beside = measure()
        ratio = f"{statistics.median(beside) / statistics.median(alone):.2f}"
        table.add_row(f"beside, {phase}", f"{statistics.median(beside):.2f} s", f"{max(beside):.2f} s", ratio)
    still_running = not client.get(job).state.ended
    client.cancel(job)
    console.print(table)
    if not still_running:
        console.print("the heavy job ended before the short ones did: the ratios say too little")


def await_phase(client: Client, job: Job, phase: Phase) -> None:
    for event in client.watch(job):
        if event.job.progress and event.job.progress.phase is phase and event.job.progress.done_frames:
            return


def main() -> None:
    programs = find_programs()
    if programs is None:
        sys.exit(HOW)
    console = Console()
    with tempfile.TemporaryDirectory() as name, running(durable=True) as postgres:
        folder = Path(name)
        make_short_media(folder)
        make_heavy_media(folder)
        database = postgres.new_database()
        with (
            Cluster(folder / "cluster", database, WORKERS, segment_seconds=4) as cluster,
            Client(cluster.server) as client,
        ):
            files = ("portrait.png", "short.wav", "heavy.mp4", "long.wav")
            video, audio, heavy, speech = (client.upload(folder / file) for file in files)
            flood(cluster, client, video, audio, console)
            beside_heavy(client, video, audio, heavy, speech, console)


if __name__ == "__main__":
    main()
