"""How long a stage takes from nothing to its first work: python -m benchmarks.cold [--rounds N] [VIDEO AUDIO]

Each service is started by itself and asked for its health until it is SERVING; then a job is made, and the first batch
(or call) of each stage in its trace is compared with its later ones, for what a stage puts off until it is first used.
Medians of the rounds. What lies before the process is not in it: a node, the pull of the image, a disk that is cold.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.table import Table

from benchmarks.render import CLIP, SPEECH
from benchmarks.trace import Bar, read_bars
from syncline import Client
from syncline.local import SERVICES, find_services, make_environment
from tests.end_to_end.cluster import free_ports

_LOOK_SECONDS = 0.01
_FIRST = {"decoder": "Inspect", "detector": "Detect", "lipsync": "Prepare", "restorer": "Restore"}  # call of the batch


class Figures:
    """Seconds, one value a round, by service."""

    def __init__(self) -> None:
        self.serving: dict[str, list[float]] = defaultdict(list)
        self.first: dict[str, list[float]] = defaultdict(list)
        self.later: dict[str, list[float]] = defaultdict(list)

    def measure(self, video: Path, audio: Path, folder: Path) -> None:
        ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        spans = folder / "spans.jsonl"
        environment = make_environment(folder, ports, find_services(), os.environ)
        environment["SYNCLINE_TRACE_FILE"] = str(spans)
        with ExitStack() as stack:
            for name in SERVICES:
                begun = time.monotonic()
                command = [sys.executable, "-P", "-m", f"services.{name}"]
                process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
                stack.callback(process.wait)
                stack.callback(process.terminate)
                await_serving(ports[name])
                self.serving[name].append(time.monotonic() - begun)
            with Client(f"127.0.0.1:{ports['orchestrator']}") as client:
                job = client.result(client.create_job(client.upload(video), client.upload(audio)))
        bars = read_bars(spans, job.name.rpartition("/")[2])
        for stage, method in _FIRST.items():
            first, *later = works_of(bars, stage, method)
            self.first[stage].append(first)
            self.later[stage].append(statistics.median(later or [first]))


def works_of(bars: list[Bar], stage: str, method: str) -> list[float]:
    """Seconds that each batch or call of the stage took, in order of time."""
    works = sorted((bar.start, bar.end) for bar in bars if (bar.service, bar.name) == (stage, method) and bar.work)
    return [end - start for start, end in works]


def await_serving(port: int) -> None:
    while True:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                time.sleep(_LOOK_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=CLIP, metavar="VIDEO")
    parser.add_argument("audio", nargs="?", type=Path, default=SPEECH, metavar="AUDIO")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not asked.video.is_file() or not asked.audio.is_file():
        parser.error("the clips to measure with are not here: give VIDEO and AUDIO")
    figures = Figures()
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            figures.measure(asked.video, asked.audio, Path(folder))
    table = Table("service", "until SERVING, s", "first batch, s", "later ones, s", "until the first batch is done, s")
    for name in SERVICES:
        serving = statistics.median(figures.serving[name])
        row = [f"{serving:.2f}", "", "", ""]
        if name in _FIRST:
            first, later = statistics.median(figures.first[name]), statistics.median(figures.later[name])
            row = [row[0], f"{first:.2f}", f"{later:.2f}", f"{serving + first:.2f}"]
        table.add_row(name, *row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
