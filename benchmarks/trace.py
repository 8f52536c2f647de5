"""Where each second of a job went, from its own trace: python -m benchmarks.trace VIDEO AUDIO trace.svg

Starts the five services, which write their spans to a file; makes the video; draws the spans, one row for each kind,
and prints how long each was at work.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from syncline import Client
from syncline.local import LocalStack

_WIDTH, _LEFT, _RIGHT, _ROW = 1100, 220, 70, 22  # pixels
_COLORS = {
    "orchestrator": "#3b6ea5",
    "decoder": "#8a6d3b",
    "detector": "#4f8a5b",
    "lipsync": "#9a4f96",
    "restorer": "#c0573b",
}
_STEPS = ("inspect", "analyse", "prepare", "plan", "render", "assemble")


@dataclass(frozen=True)
class Bar:
    """A span, in seconds from the beginning of the job."""

    service: str
    name: str
    start: float
    end: float


def read_bars(path: Path, job: str) -> list[Bar]:
    """The spans of the job's trace."""
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    spans = [span for span in spans if span["context"]["trace_id"] == f"0x{job}"]
    begun = min(_seconds(span["start_time"]) for span in spans)
    return [_to_bar(span, begun) for span in spans]


def _to_bar(span: dict, begun: float) -> Bar:  # type: ignore[type-arg]
    service = span["resource"]["attributes"]["service.name"].removeprefix("syncline-")
    name = span["name"].rpartition("/")[2]
    if name == "batch":
        name = f"{span['attributes']['syncline.method']}: batch"
    return Bar(service, name, _seconds(span["start_time"]) - begun, _seconds(span["end_time"]) - begun)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def rows_of(bars: Iterable[Bar]) -> list[tuple[str, str, list[Bar]]]:
    """(service, name, bars): the job and its steps first, then what each stage did for it, in order of time."""
    rows: dict[tuple[str, str], list[Bar]] = {}
    for bar in bars:
        if not bar.name.startswith("GetCapabilities"):
            rows.setdefault((bar.service, bar.name), []).append(bar)
    services = list(_COLORS)

    def place(key: tuple[str, str]) -> tuple[int, int, float]:
        service, name = key
        step = ("job", *_STEPS).index(name) if name in ("job", *_STEPS) else 99
        return services.index(service), step, min(bar.start for bar in rows[key])

    return [(*key, rows[key]) for key in sorted(rows, key=place)]


def busy(bars: Iterable[Bar]) -> float:
    """Seconds in which at least one of the bars is."""
    total, until = 0.0, 0.0
    for bar in sorted(bars, key=lambda bar: bar.start):
        total += max(0.0, bar.end - max(bar.start, until))
        until = max(until, bar.end)
    return total


def draw(rows: list[tuple[str, str, list[Bar]]]) -> str:
    """An SVG picture."""
    length = max(bar.end for _, _, bars in rows for bar in bars)
    scale = (_WIDTH - _LEFT - _RIGHT) / length
    height = _ROW * (len(rows) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for second in range(int(length) + 1):
        if second % max(1, round(length / 12)) == 0:
            x = _LEFT + second * scale
            parts.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - _ROW}" stroke="#ddd"/>')
            parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle" fill="#555">{second} s</text>')
    for number, (service, name, bars) in enumerate(rows):
        y = number * _ROW + 4
        parts.append(f'<text x="8" y="{y + 12}" fill="{_COLORS[service]}">{escape(service)}</text>')
        parts.append(f'<text x="90" y="{y + 12}">{escape(name)}</text>')
        for bar in bars:
            width = max(0.6, (bar.end - bar.start) * scale)
            x = _LEFT + bar.start * scale
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 8}" fill="{_COLORS[service]}" '
                f'fill-opacity="0.7" stroke="white" stroke-width="0.4"/>'
            )
        parts.append(f'<text x="{_WIDTH - 8}" y="{y + 12}" text-anchor="end">{busy(bars):.2f} s</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    video, audio, picture = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        spans = Path(folder) / "spans.jsonl"
        os.environ["SYNCLINE_TRACE_FILE"] = str(spans)
        with LocalStack(Path(folder) / "data") as stack, Client(stack.server) as client:
            job = client.result(client.create_job(client.upload(video), client.upload(audio)))
        rows = rows_of(read_bars(spans, job.name.rpartition("/")[2]))
    picture.write_text(draw(rows))
    for service, name, bars in rows:
        print(f"{service:13} {name:22} {len(bars):5} spans {busy(bars):8.2f} s")


if __name__ == "__main__":
    main()
