"""Where each second of a job went, from its own trace: python -m benchmarks.trace VIDEO AUDIO trace.svg

Starts the five services, which write their spans to a file; makes the video; draws the spans: the job's steps as one
band, below it what each service did for it, pale where a call was open and solid where it was at work. Prints the same.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from services.runtime.tracing import set_up_tracing, span
from syncline import Client
from syncline.local import LocalStack

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 1120, 250, 130, 24, 96  # pixels
_COLORS = {
    "client": "#555555",
    "orchestrator": "#3b6ea5",
    "decoder": "#8a6d3b",
    "detector": "#3f8a4f",
    "lipsync": "#9a4f96",
    "restorer": "#c0573b",
}
_STEPS = {
    "inspect": "#9db7d5",
    "analyse": "#a9cfae",
    "prepare": "#d3b3d1",
    "plan": "#e3d3a4",
    "render": "#f0c3b4",
    "assemble": "#c9c9c9",
}
# What a span is called on the picture, and whether it is work or only says that somebody waits for some.
_NAMES = {
    "CreateJob": ("create the job", True),
    "segment": ("segments", False),
    "encode": ("paste, encode", True),
    "Inspect": ("inspect", True),
    "DecodeAudio": ("decode sound", True),
    "DecodeFrames": ("decode frames", False),
    "Detect": ("find faces", False),
    "Prepare": ("learn the mouth", False),
    "Plan": ("plan the lips", False),
    "Sync": ("make the lips", False),
    "Restore": ("sharpen", False),
}


@dataclass(frozen=True)
class Bar:
    """A span, in seconds from the beginning of the job."""

    service: str
    name: str
    start: float
    end: float
    work: bool


@dataclass
class Row:
    service: str
    name: str
    open: list[Bar] = field(default_factory=list)
    work: list[Bar] = field(default_factory=list)


def read_bars(path: Path, job: str) -> list[Bar]:
    """The spans of the job's trace. `job`: its id."""
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    (trace,) = {each["context"]["trace_id"] for each in spans if each["attributes"].get("syncline.job") == job}
    spans = [each for each in spans if each["context"]["trace_id"] == trace]
    begun = min(_seconds(each["start_time"]) for each in spans)
    return [_to_bar(each, begun) for each in spans]


def _to_bar(found: dict[str, Any], begun: float) -> Bar:
    service = found["resource"]["attributes"]["service.name"].removeprefix("syncline-")
    name, work = found["name"].rpartition("/")[2], False
    if name in ("batch", "finish"):
        name, work = found["attributes"]["syncline.method"], True
    start, end = (_seconds(found[key]) - begun for key in ("start_time", "end_time"))
    return Bar(service, name, start, end, work or _NAMES.get(name, ("", False))[1])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def steps_of(bars: Iterable[Bar]) -> list[Bar]:
    """What the job went through, one after the other."""
    return sorted((bar for bar in bars if bar.name in _STEPS), key=lambda bar: bar.start)


def rows_of(bars: Iterable[Bar]) -> list[Row]:
    """What each service did, in order of the services and of time."""
    rows: dict[tuple[str, str], Row] = {}
    for bar in sorted(bars, key=lambda bar: bar.start):
        if bar.name in _NAMES:
            row = rows.setdefault((bar.service, bar.name), Row(bar.service, _NAMES[bar.name][0]))
            (row.work if bar.work else row.open).append(bar)
    return sorted(rows.values(), key=lambda row: list(_COLORS).index(row.service))


def busy(bars: Iterable[Bar]) -> float:
    """Seconds in which at least one of the bars is."""
    total, until = 0.0, 0.0
    for bar in sorted(bars, key=lambda bar: bar.start):
        total += max(0.0, bar.end - max(bar.start, until))
        until = max(until, bar.end)
    return total


def draw(steps: Sequence[Bar], rows: Sequence[Row], length: float) -> str:
    """An SVG picture of `length` seconds."""
    scale, height = (_WIDTH - _LEFT - _RIGHT) / length, _TOP + _ROW * len(rows) + 40

    def box(bar: Bar, y: float, tall: float, fill: str, opacity: float = 1.0) -> str:
        x, width = _LEFT + bar.start * scale, max(0.8, (bar.end - bar.start) * scale)
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{tall:.1f}"'
        return f'<rect {shape} fill="{fill}" fill-opacity="{opacity}" stroke="white" stroke-width="0.5"/>'

    def text(x: float, y: float, words: str, more: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        text(12, 22, f"One job, {length:.1f} s from the client's call to the finished video", 'font-size="15"'),
        text(_WIDTH - 12, 22, "solid: at work · pale: open, and waiting for others", 'text-anchor="end" fill="#666"'),
        text(_WIDTH - 12, _TOP - 12, "at work, of the job", 'text-anchor="end" fill="#666"'),
        text(12, _TOP - 22, "step of the job", 'font-weight="bold"'),
    ]
    for step in steps:  # the band, and its colours all the way down
        parts.append(box(step, 52, height - 52 - 34, _STEPS[step.name], 0.18))
        parts.append(box(step, 56, 28, _STEPS[step.name]))
        middle, seconds = _LEFT + (step.start + step.end) / 2 * scale, step.end - step.start
        if seconds * scale > 74:
            parts.append(text(middle, 68, step.name, 'text-anchor="middle" font-weight="bold"'))
            parts.append(
                text(middle, 80, f"{seconds:.1f} s, {seconds / length:.0%}", 'text-anchor="middle" font-size="11"')
            )
        else:  # the last one's words end where it does
            x, anchor = (_LEFT + step.end * scale, "end") if step is steps[-1] else (middle, "middle")
            parts.append(text(x, 50, f"{step.name} {seconds:.1f} s", f'text-anchor="{anchor}" font-size="11"'))
    before = ""
    for number, row in enumerate(rows):
        y, color = _TOP + number * _ROW, _COLORS[row.service]
        if row.service != before:
            parts.append(text(12, y + 15, row.service, f'fill="{color}" font-weight="bold"'))
            parts.append(f'<line x1="8" y1="{y}" x2="{_WIDTH - 8}" y2="{y}" stroke="#bbb"/>')
            before = row.service
        parts.append(text(112, y + 15, row.name))
        parts += [box(bar, y + 4, _ROW - 8, color, 0.25) for bar in row.open]
        parts += [box(bar, y + 4, _ROW - 8, color) for bar in row.work]
        if row.work:
            told = f"{busy(row.work):.2f} s  {busy(row.work) / length:4.0%}"
            parts.append(text(_WIDTH - 12, y + 15, told, 'text-anchor="end"'))
    for second in range(0, int(length) + 1, max(1, round(length / 12))):
        x = _LEFT + second * scale
        parts.append(f'<line x1="{x:.1f}" y1="{height - 34}" x2="{x:.1f}" y2="{height - 28}" stroke="#888"/>')
        parts.append(text(x, height - 14, f"{second} s", 'text-anchor="middle" fill="#555"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    video, audio, picture = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        spans = Path(folder) / "spans.jsonl"
        os.environ["SYNCLINE_TRACE_FILE"] = str(spans)
        set_up_tracing("client")
        with LocalStack(Path(folder) / "data") as stack, Client(stack.server) as client:
            files = client.upload(video), client.upload(audio)
            with span("make a video"):
                job = client.result(client.create_job(*files))
        bars = read_bars(spans, job.name.rpartition("/")[2])
    length, steps, rows = max(bar.end for bar in bars), steps_of(bars), rows_of(bars)
    picture.write_text(draw(steps, rows, length))
    for step in steps:
        print(f"{step.name:22} {step.end - step.start:8.2f} s {(step.end - step.start) / length:5.0%}")
    for row in rows:
        print(f"{row.service:13} {row.name:16} open {busy(row.open):7.2f} s, at work {busy(row.work):7.2f} s")


if __name__ == "__main__":
    main()
