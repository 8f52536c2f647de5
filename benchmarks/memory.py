"""The memory that processes hold together, each page counted once; Linux.

    python -m benchmarks.memory [--seconds 10 600] [--lines 1080] [--audio AUDIO] [VIDEO]

Of the five services together in a short and in a long job of one clip: a job's memory must not grow with its length.
"""

import argparse
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.clips import CLIP, RATE, SPEECH, repeat_speech, scale_clip
from syncline import Client
from syncline.local import LocalStack

_LOOK_SECONDS = 0.1


class PeakMemory:
    """Watches processes while the `with` block runs. Unit: MB of proportional set size (PSS).

    A page that several processes share counts for each by its part, so that the sum is what the machine has to hold.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.together = 0.0
        self.each = dict.fromkeys(pids, 0.0)  # peaks of single processes, not of one moment

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            now = {name: _proportional_size(pid) for name, pid in self._pids.items()}
            self.together = max(self.together, sum(now.values()))
            self.each = {name: max(peak, now[name]) for name, peak in self.each.items()}


def _proportional_size(pid: int) -> float:
    """In MB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure_job(video: Path, audio: Path, lines: int, seconds: float) -> PeakMemory:
    """Of one job on so much of the clip, with a store and services of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = scale_clip(video, folder / "clip.mp4", lines * 16 // 18 * 2, lines, round(seconds * RATE))
        speech = repeat_speech(audio, folder / "speech.wav", seconds)
        with (
            LocalStack(folder / "store") as stack,
            Client(stack.server) as client,
            PeakMemory(stack.pids) as memory,
        ):
            client.run(clip, speech, folder / "result.mp4")
    return memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=CLIP, metavar="VIDEO")
    parser.add_argument("--audio", type=Path, default=SPEECH)
    parser.add_argument("--seconds", type=float, nargs=2, default=(10, 600))
    parser.add_argument("--lines", type=int, default=1080)
    asked = parser.parse_args()
    if not asked.audio.is_file() or not asked.video.is_file():
        parser.error("the clips to measure with are not here: give a VIDEO and --audio")
    short, long = (measure_job(asked.video, asked.audio, asked.lines, seconds) for seconds in asked.seconds)
    for seconds, memory in zip(asked.seconds, (short, long), strict=True):
        each = ", ".join(f"{service} {peak:.0f}" for service, peak in sorted(memory.each.items()))
        print(f"{seconds:g} s: {memory.together:.0f} MB; by themselves at most {each}")
    print(f"{long.together / short.together:.3f} times")


if __name__ == "__main__":
    main()
