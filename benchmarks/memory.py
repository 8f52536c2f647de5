"""The memory that processes hold together, each page counted once; Linux."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

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
