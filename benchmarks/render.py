"""How fast the five services make a video and what memory they hold, beside the floor and beside one process.

    python -m benchmarks.render [--rounds N] [--audio AUDIO] [VIDEO ...]

Without videos: one real clip at 720, 1080, 2160 and 4320 lines, scaled from the same pictures, and at 1080 lines with
10 and 60 Mbit/s; and how these stand to the aims. Less than ten minutes a round on two cores.
Every round measures the floor (decoding and encoding the file and nothing else), one whole job of the five processes,
and the same job in one process without gRPC, so that all three see the same machine; medians and their ratios count.
CPU seconds are steadier than wall time on a busy machine. Memory is of all processes together, each page counted once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import av
from rich.console import Console
from rich.table import Table

from benchmarks.clips import CLIP, RATE, SPEECH, scale_clip
from benchmarks.memory import PeakMemory
from syncline import Client
from syncline.local import LocalStack
from syncline.types import JobEvent, Phase

SIZES = {  # width, height, frames, bits per second
    "720 lines": (1280, 720, 100, None),
    "1080 lines": (1920, 1080, 100, None),
    "4K": (3840, 2160, 60, None),
    "8K": (7680, 4320, 50, None),
    "10 Mbit/s": (1920, 1080, 100, 10_000_000),
    "60 Mbit/s": (1920, 1080, 100, 60_000_000),
}


class RenderCpu:
    """CPU seconds that all services together spend while a job is in its render phase; Linux."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._begin = self._end = 0.0

    def take(self, event: JobEvent) -> None:
        if event.job.progress is None or event.job.progress.phase is not Phase.RENDER:
            self._end = self._end or (self._spent() if self._begin else 0.0)
        elif not self._begin:
            self._begin = self._spent()

    def stop(self) -> None:
        """The job is over, whether or not an event told of what came after its rendering."""
        self._end = self._end or self._spent()

    @property
    def seconds(self) -> float:
        return self._end - self._begin

    def _spent(self) -> float:
        ticks = 0
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Figures:
    """Of one clip; every list has one value a round. Frames a second, CPU seconds a frame, MB."""

    def __init__(self) -> None:
        self.speed: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)
        self.memory: dict[str, list[float]] = defaultdict(list)
        self.each: dict[str, float] = defaultdict(float)  # peaks of the services by themselves

    def measure(self, video: Path, audio: Path) -> None:
        """One round."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._measure_floor(video, folder)
            self._measure_five(video, audio, folder)
            self._measure_one(video, audio, folder)

    def _measure_floor(self, video: Path, folder: Path) -> None:
        told = self._run("floor", "benchmarks.floor", video, folder / "floor.mp4")
        self.speed["floor"].append(told["frames"] / told["seconds"])
        self.cpu["floor"].append(told["cpu"] / told["frames"])

    def _measure_five(self, video: Path, audio: Path, folder: Path) -> None:
        # A store of its own each round: nothing is kept from the round before.
        with (
            LocalStack(folder / "five") as stack,
            Client(stack.server) as client,
            PeakMemory(stack.pids) as memory,
        ):
            render_cpu = RenderCpu(stack.pids.values())
            job = client.run(video, audio, folder / "result.mp4", on_event=render_cpu.take)
            render_cpu.stop()
            report = client.report(job)
        self._take("five processes", report)
        frames = count_frames(video)
        for step in ("analyse", "prepare"):
            self.speed[step].append(frames / report["seconds"][step])
        self.cpu["five processes"].append(render_cpu.seconds / report["result"]["frames"])
        self.memory["five processes"].append(memory.together)
        for service, peak in memory.each.items():
            self.each[service] = max(self.each[service], peak)

    def _measure_one(self, video: Path, audio: Path, folder: Path) -> None:
        self._take("one process", self._run("one process", "benchmarks.one_process", video, audio, folder / "one"))

    def _take(self, step: str, report: dict) -> None:
        self.speed[step].append(report["result"]["frames"] / report["seconds"]["render"])

    def _run(self, step: str, module: str, *arguments: Path) -> dict:
        """What the module prints, its memory watched."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with process, PeakMemory({step: process.pid}) as memory:
            text, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed")
        self.memory[step].append(memory.together)
        return json.loads(text)


def count_frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def print_tables(figures: dict[str, Figures]) -> None:
    speed = Table(
        "clip", "step", "frames/s: median", "min", "max", "time, of the floor's", "CPU a frame, of the floor's"
    )
    memory = Table(
        "clip", "floor, MB", "five processes, MB", "of the floor's", "one process, MB", "largest of the five"
    )
    for name, found in figures.items():
        floor = statistics.median(found.speed["floor"])
        burnt = statistics.median(found.cpu["floor"])
        for step, values in found.speed.items():
            median = statistics.median(values)
            cpu = f"{statistics.median(found.cpu[step]) / burnt:.2f}" if step in found.cpu else ""
            shown = (f"{median:.1f}", f"{min(values):.1f}", f"{max(values):.1f}", f"{floor / median:.2f}")
            speed.add_row(name, step, *shown, cpu)
        held = {step: max(values) for step, values in found.memory.items()}
        each = ", ".join(f"{service} {peak:.0f}" for service, peak in sorted(found.each.items()))
        ratio = held["five processes"] / held["floor"]
        shown_memory = (f"{held['floor']:.0f}", f"{held['five processes']:.0f}", f"{ratio:.2f}")
        memory.add_row(name, *shown_memory, f"{held['one process']:.0f}", each)
    console = Console(width=160)
    console.print(speed)
    console.print(memory)


def print_aims(figures: dict[str, Figures]) -> None:
    """What a round says of each aim; of several rounds the medians."""
    table = Table("aim", "clip", "at most", "found", "")

    def add(aim: str, name: str, most: float, found: float) -> None:
        table.add_row(aim, name, f"{most:.2f}", f"{found:.2f}", "" if found <= most else "missed")

    def speed(name: str, step: str) -> float:
        return statistics.median(figures[name].speed[step])

    for name, most in (("1080 lines", 1.5), ("4K", 1.3), ("8K", 1.3)):
        add("time of five processes, of the floor's", name, most, speed(name, "floor") / speed(name, "five processes"))
    for name in ("720 lines", "1080 lines", "4K", "8K"):
        slower = speed(name, "one process") / speed(name, "five processes")
        add("time of five processes, of one process's", name, 1.1, slower)
    add("time to analyse, of the clip's", "1080 lines", 0.5, RATE / speed("1080 lines", "analyse"))
    slower = speed("10 Mbit/s", "five processes") / speed("60 Mbit/s", "five processes")
    add("time of five processes, of the same at 10 Mbit/s", "60 Mbit/s", 1.4, slower)
    held = {name: max(found.memory["five processes"]) for name, found in figures.items()}
    add("memory of five processes, GB", "1080 lines", 1.5, held["1080 lines"] / 1000)
    add("memory of five processes, of the floor's", "8K", 1.6, held["8K"] / max(figures["8K"].memory["floor"]))
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO")
    parser.add_argument("--audio", type=Path, default=SPEECH)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    if not asked.audio.is_file() or not (asked.videos or CLIP.is_file()):
        parser.error("the clips to measure with are not here: give a VIDEO and --audio")
    figures: dict[str, Figures] = defaultdict(Figures)
    with tempfile.TemporaryDirectory() as folder:
        videos = {video.name: video for video in asked.videos} or {
            name: scale_clip(CLIP, Path(folder) / f"{size[1]}.mp4", *size) for name, size in SIZES.items()
        }
        for _ in range(asked.rounds):
            for name, video in videos.items():
                figures[name].measure(video, asked.audio)
                print(f"{name}: done", file=sys.stderr)
    print_tables(figures)
    if not asked.videos:
        print_aims(figures)


if __name__ == "__main__":
    main()
