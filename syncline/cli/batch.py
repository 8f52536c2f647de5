"""syncline batch: many jobs, one folder of results. Run again, it goes on where it stopped."""

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from syncline import _protocol
from syncline.cli._faces import upload_face
from syncline.cli._job_options import takes_job_options
from syncline.cli._manifest import Item, make_matrix, read_manifest
from syncline.cli._options import Data, Json, ServerOrOwn, Tenant, Webhook, report_path
from syncline.cli._output import Output, open_output
from syncline.cli._server import reach
from syncline.cli._transfers import save, upload
from syncline.client import Client
from syncline.errors import Exhausted, SynclineError
from syncline.types import Asset, Job, JobState, Options

_LOOK_SECONDS = 1.0  # between looks at the jobs
_FILE = {"exists": True, "dir_okay": False, "readable": True}
# The same item makes the same request, so that the server finds the job it made of it before.
_REQUESTS = uuid.UUID("5a0c4f8e-6a39-4d36-9d5f-0b1d3f2f6c11")


@takes_job_options
def batch(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder of the results.")],
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="CSV with a header, or JSON lines (.jsonl).", **_FILE)
    ] = None,
    video: Annotated[
        list[Path] | None, typer.Option(help="Without a manifest: every video says every audio.", **_FILE)
    ] = None,
    audio: Annotated[list[Path] | None, typer.Option(help="See --video.", **_FILE)] = None,
    *,
    options: Options,
    webhook: Webhook = "",
    server: ServerOrOwn = None,
    tenant: Tenant = "",
    data: Data = None,
    json: Json = False,
) -> None:
    """Make many videos. Run again, it goes on where it stopped; Ctrl-C leaves the jobs with the server."""
    if (manifest is None) != bool(video and audio):
        raise typer.BadParameter("name a manifest, or at least one --video and one --audio")
    items = read_manifest(manifest, options) if manifest else make_matrix(video or [], audio or [], options)
    out.mkdir(parents=True, exist_ok=True)
    with open_output(json) as output, reach(server, data, output, tenant) as client:
        failed = _Batch(client, output, out, items, webhook).run()
    if failed:
        raise typer.Exit(1)


@dataclass
class _Entry:
    item: Item
    job: Job | None = None  # once it is queued
    ended: bool = False
    failed: bool = False


class _Batch:
    def __init__(self, client: Client, output: Output, folder: Path, items: list[Item], webhook: str) -> None:
        self._client = client
        self._output = output
        self._folder = folder
        self._webhook = webhook
        self._entries = [_Entry(item) for item in items]
        self._assets: dict[Path | str, Asset] = {}
        self._told = ""

    def run(self) -> int:
        """The number of jobs that failed."""
        while not all(entry.ended for entry in self._entries):
            self._queue()
            for entry in self._entries:
                if entry.job is not None and not entry.ended:
                    self._settle(entry, entry.job)
            self._tell()
            if not all(entry.ended for entry in self._entries):
                time.sleep(_LOOK_SECONDS)
        return sum(entry.failed for entry in self._entries)

    def _queue(self) -> None:
        """Queues what is not queued yet, as far as the server takes it in."""
        for entry in self._entries:
            if entry.job is not None or entry.ended:
                continue
            try:
                entry.job = self._create(entry.item)
            except Exhausted as error:
                self._output.line(f"{error.message}; the rest waits here", type="wait", error=error)
                return
            except SynclineError as error:
                self._fail(entry, error)

    def _create(self, item: Item) -> Job:
        video, audio = (self._upload(path) for path in (item.video, item.audio))
        options = item.options.copy()
        if item.face is not None:
            options["face"] = upload_face(item.face, lambda path, _: self._upload(path))
        if (background := options.get("background_audio")) is not None:
            options["background_audio"] = self._upload(Path(str(background)))
        about = [video.digest, audio.digest, item.out, item.priority, sorted(options.items())]
        about += [self._webhook] if self._webhook else []
        request = str(uuid.uuid5(_REQUESTS, json.dumps(about, default=str)))
        terms: Any = {"priority": item.priority, "webhook": self._webhook}
        job = self._client.create_job(video, audio, request, **terms, **options)
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            job = self._client.retry(job)
        return job

    def _upload(self, file: Path | str) -> Asset:
        if isinstance(file, str) and file not in self._assets:
            self._assets[file] = self._client.import_asset(file)
        elif isinstance(file, Path) and file not in self._assets:
            self._assets[file] = upload(self._client, file, f"upload {file.name}", self._output)
        return self._assets[file]

    def _settle(self, entry: _Entry, job: Job) -> None:
        """Looks at the job again, and writes down the result once it has ended."""
        target = self._folder / entry.item.out
        try:
            job = entry.job = self._client.get(job)
            if not job.state.ended:
                return
            _protocol.outcome(job)
            if _written_by(target) != job.name:
                target.parent.mkdir(parents=True, exist_ok=True)
                save(self._client, job, target, self._output)
            entry.ended = True
        except SynclineError as error:
            self._fail(entry, error)

    def _fail(self, entry: _Entry, error: SynclineError) -> None:
        entry.ended = entry.failed = True
        job = entry.job.name if entry.job else ""
        text = f"{entry.item.out}: {error.reason()}: {error.message}"
        self._output.line(text, type="failure", out=entry.item.out, job=job, error=error)

    def _tell(self) -> None:
        done = sum(entry.ended and not entry.failed for entry in self._entries)
        failed = sum(entry.failed for entry in self._entries)
        running = sum(entry.job is not None and entry.job.state is JobState.RUNNING for entry in self._entries)
        text = f"{done} of {len(self._entries)} done, {failed} failed, {running} running"
        if text != self._told:
            self._told = text
            counts = {"done": done, "failed": failed, "running": running, "total": len(self._entries)}
            self._output.line(text, type="batch", **counts)


def _written_by(target: Path) -> str | None:
    """The job whose result lies at `target`."""
    try:
        report = json.loads(report_path(target).read_text())
    except (OSError, ValueError):
        return None
    return str(report.get("job")) if target.is_file() else None
