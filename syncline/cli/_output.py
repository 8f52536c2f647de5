"""What a command says while it works: lines for people, a live bar on a terminal, or JSON for machines."""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import stamina.instrumentation

from syncline._protocol import OnProgress
from syncline.cli._text import (
    describe_batch,
    describe_estimate,
    describe_event,
    describe_job,
    describe_media,
    describe_person,
    describe_progress,
    row_of_job,
)
from syncline.errors import SynclineError
from syncline.types import Batch, Estimate, Job, JobEvent, JobState, MediaInfo, Person, Preview


class Output(AbstractContextManager["Output"]):
    """Plain lines. Base of the other two."""

    def __enter__(self) -> Self:
        stamina.instrumentation.set_on_retry_hooks([self._retrying])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stamina.instrumentation.set_on_retry_hooks(None)

    def line(self, text: str, **values: Any) -> None:
        """`values` are for machines: what the text says."""
        print(text, flush=True)

    def ready(self, service: str, address: str, seconds: float) -> None:
        text = f"{service:<12} ready on {address} after {seconds:.1f} s"
        self.line(text, type="service", service=service, address=address, seconds=round(seconds, 3))

    def transfer(self, name: str) -> OnProgress | None:
        """Told of the bytes of one file on its way up or down."""
        return None

    def uploaded(self, path: Path, digest: str) -> None:
        self.line(f"uploaded {path}", type="upload", path=path, digest=digest)

    def written(self, path: Path, report: Path) -> None:
        self.line(f"wrote {path} and {report}", type="result", path=path, report=report)

    def normalized(self, path: Path, digest: str) -> None:
        self.line(f"wrote {path}", type="mezzanine", path=path, digest=digest)

    def previewed(self, path: Path, made: Preview) -> None:
        done = f": {', '.join(made.outcomes)}" if made.outcomes else ""
        self.line(f"wrote {path}{done}", type="preview", path=path, outcomes=made.outcomes)

    def event(self, event: JobEvent) -> None:
        self.line(describe_event(event), type="event", event=event)

    def job(self, job: Job) -> None:
        self.line(describe_job(job), type="job", job=job)

    def batch(self, batch: Batch) -> None:
        self.line(describe_batch(batch), type="batch", batch=batch)

    def row(self, job: Job) -> None:
        self.line(row_of_job(job), type="job", job=job)

    def media(self, info: MediaInfo) -> None:
        self.line(describe_media(info), type="media", info=info)

    def estimate(self, estimate: Estimate) -> None:
        self.line(describe_estimate(estimate), type="estimate", estimate=estimate)

    def person(self, person: Person) -> None:
        self.line(describe_person(person), type="person", person=person)

    def _retrying(self, details: stamina.instrumentation.RetryDetails) -> None:
        error = details.caused_by
        self.line(f"{error}; trying again", type="retry", error=error)


class PlainOutput(Output):
    """For logs: a job's progress only when there is news, not for each batch."""

    def __init__(self) -> None:
        self._said: tuple[Any, ...] = ()

    def event(self, event: JobEvent) -> None:
        progress = event.job.progress
        tenth = 10 * progress.done_frames // progress.total_frames if progress and progress.total_frames else 0
        news = (event.job.state, progress.phase if progress else None, tenth)
        if news != self._said or event.message:
            super().event(event)
        self._said = news


class TerminalOutput(Output):
    """A bar for each phase of a job and each transfer, the last one moving."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._current: Any = None
        self._name = ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()
        super().__exit__(kind, error, traceback)

    def line(self, text: str, **values: Any) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def transfer(self, name: str) -> OnProgress | None:
        from rich.filesize import decimal

        def on_progress(done: int, total: int) -> None:
            self._move(name, done, total, f"{decimal(done)} of {decimal(total)}")

        return on_progress

    def uploaded(self, path: Path, digest: str) -> None:
        """The bar has said it."""

    def written(self, path: Path, report: Path) -> None:
        self._bars.stop()  # the last word goes below the bars
        super().written(path, report)

    def event(self, event: JobEvent) -> None:
        progress = event.job.progress
        if progress is not None:
            self._move(str(progress.phase), progress.done_frames, progress.total_frames, describe_progress(progress))
        if event.message:
            self.line(event.message)
        if event.job.state is JobState.DONE:
            self._finish()

    def _move(self, name: str, done: int, total: int, text: str) -> None:
        if name != self._name:
            self._finish()
            self._bars.start()
            self._current = self._bars.add_task(name, total=None, text="")
            self._name = name
        self._bars.update(self._current, completed=done, total=total or None, text=text)

    def _finish(self) -> None:
        """The bar before is as full as it gets: a phase without frames has no last count to say so."""
        if self._current is not None:
            task = self._bars.tasks[self._current]
            self._bars.update(self._current, total=task.total or 1, completed=task.total or 1)
            self._bars.stop_task(self._current)
        self._current, self._name = None, ""


class JsonOutput(Output):
    """One object per line, each with a `type`."""

    def line(self, text: str, **values: Any) -> None:
        if values:
            print(json.dumps(values, default=_plain), flush=True)


def open_output(as_json: bool) -> Output:
    if as_json:
        return JsonOutput()
    return TerminalOutput() if sys.stdout.isatty() else PlainOutput()


def _plain(value: Any) -> Any:
    match value:
        case SynclineError():
            return {"reason": value.reason(), "message": value.message, "metadata": value.metadata}
        case Fraction():
            return f"{value.numerator}/{value.denominator}"  # exact, as FFmpeg's tools write it
        case datetime():
            return value.isoformat()
        case Path() | Exception():
            return str(value)
    if is_dataclass(value):
        return dict(_fields_of(value))
    raise TypeError(f"no JSON for {type(value)}")


def _fields_of(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        yield field.name, getattr(value, field.name)
