"""What processes hold: memory, descriptors, threads; Linux."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holding:
    memory: float  # resident, MB
    descriptors: int
    threads: int


def look_at(pid: int) -> Holding:
    """Raises FileNotFoundError when the process has ended."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = int(fields["VmRSS"].split()[0]) / 1024 if "VmRSS" in fields else 0.0
    return Holding(memory, sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), int(fields["Threads"]))
