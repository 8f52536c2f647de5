"""How fast the five services make a video, beside the floor: decoding and encoding the same file and nothing else.

    python -m benchmarks.render VIDEO AUDIO [ROUNDS]

Every round measures the floor and one whole job, so that both see the same machine; the medians and their ratio count.
CPU seconds are steadier than wall time on a busy machine.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from rich.console import Console
from rich.table import Table

from syncline import Client
from syncline.local import LocalStack
from syncline.types import JobEvent, Phase

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
CRF, PRESET, THREADS = "18", "veryfast", 4  # as a job's defaults


def measure_floor(video: Path, out: Path) -> tuple[float, float]:
    """Frames per second and CPU seconds per frame of decoding and encoding the file, with a job's settings."""
    begun, burnt, count = time.monotonic(), time.process_time(), 0
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        pictures = source.streams.video[0]
        pictures.thread_type = "AUTO"
        rate = pictures.average_rate or Fraction(25)
        stream = target.add_stream("libx264", rate=rate, options={"crf": CRF, "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, "yuv420p"
        stream.codec_context.thread_count = THREADS
        stream.codec_context.thread_type = "FRAME"
        stream.codec_context.time_base = 1 / rate
        for frame in source.decode(pictures):
            frame.pts, frame.time_base = count, 1 / rate
            target.mux(stream.encode(frame))
            count += 1
        target.mux(stream.encode(None))
    return count / (time.monotonic() - begun), (time.process_time() - burnt) / count


class RenderCpu:
    """CPU seconds that all services together spend while a job is in its render phase; Linux."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._begin = self._end = 0.0

    def take(self, event: JobEvent) -> None:
        if event.job.progress.phase is not Phase.RENDER:
            self._end = self._end or (self._spent() if self._begin else 0.0)
        elif not self._begin:
            self._begin = self._spent()

    @property
    def seconds(self) -> float:
        return self._end - self._begin

    def _spent(self) -> float:
        ticks = 0
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> float:
    """Largest resident size of a process so far, in MB; Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    if len(sys.argv) > 2:
        video, audio = Path(sys.argv[1]), Path(sys.argv[2])
    elif CLIPS.is_dir():
        video, audio = CLIPS / "talking" / "latentsync_1.mp4", CLIPS / "speech" / "en_jfk.flac"
    else:
        sys.exit("usage: python -m benchmarks.render VIDEO AUDIO [ROUNDS]")
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    figures: dict[str, list[float]] = {"floor": [], "analyse": [], "prepare": [], "render": []}
    cpu: dict[str, list[float]] = {"floor": [], "render": []}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            speed, burnt = measure_floor(video, Path(folder) / "floor.mp4")
            figures["floor"].append(speed)
            cpu["floor"].append(burnt)
            # A store of its own each round: nothing is kept from the round before.
            with LocalStack(Path(folder) / "data") as stack, Client(stack.server) as client:
                render_cpu = RenderCpu(stack.pids.values())
                job = client.run(video, audio, Path(folder) / "result.mp4", on_event=render_cpu.take)
                report = client.report(job)
                for service, pid in stack.pids.items():
                    memory[service] = max(memory.get(service, 0.0), peak_memory(pid))
            seconds, frames = report["seconds"], report["result"]["frames"]
            source_frames = count_frames(video)
            figures["analyse"].append(source_frames / seconds["analyse"])
            figures["prepare"].append(source_frames / seconds["prepare"])
            figures["render"].append(frames / seconds["render"])
            cpu["render"].append(render_cpu.seconds / frames)
    print_tables(video, figures, cpu, memory)


def count_frames(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def print_tables(
    video: Path, figures: dict[str, list[float]], cpu: dict[str, list[float]], memory: dict[str, float]
) -> None:
    floor = statistics.median(figures["floor"])
    speed = Table(
        "step", "frames/s: median", "min", "max", "of the floor", title=f"{video.name}: floor is decode + encode"
    )
    for step, values in figures.items():
        median = statistics.median(values)
        speed.add_row(step, f"{median:.1f}", f"{min(values):.1f}", f"{max(values):.1f}", f"{median / floor:.2f}")
    burnt = Table("step", "CPU ms a frame", "of the floor", title="render: all services together")
    for step, values in cpu.items():
        median = statistics.median(values)
        burnt.add_row(step, f"{1000 * median:.1f}", f"{median / statistics.median(cpu['floor']):.2f}")
    peaks = Table("service", "peak memory, MB")
    for service, peak in memory.items():
        peaks.add_row(service, f"{peak:.0f}")
    peaks.add_row("together", f"{sum(memory.values()):.0f}")
    console = Console()
    console.print(speed)
    console.print(burnt)
    console.print(peaks)


if __name__ == "__main__":
    main()
