"""The commands on jobs of a running server."""

from itertools import islice
from typing import Annotated

import typer

from syncline.cli._job_options import takes_job_options
from syncline.cli._options import (
    DEFAULT_SERVER,
    Audio,
    Deadline,
    Face,
    JobName,
    JobOrBatch,
    Json,
    Out,
    Priority,
    Server,
    Speakers,
    Tenant,
    Video,
    Webhook,
    check_out,
    full_name,
    is_batch,
    parse_deadline,
)
from syncline.cli._output import open_output
from syncline.cli._server import connect
from syncline.cli._transfers import bring_job, queue_job, save
from syncline.types import Options


@takes_job_options
def submit(
    video: Video,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    *,
    options: Options,
    priority: Priority = 0,
    deadline: Deadline = None,
    webhook: Webhook = "",
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Tell what is wrong with options and files; queue nothing.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    tenant: Tenant = "",
    json: Json = False,
) -> None:
    """Queue a job and return at once."""
    with open_output(json) as output, connect(server, tenant) as client:
        ends = parse_deadline(deadline)
        new = bring_job(client, video, audio, face, speaker or (), options, output, priority, ends, webhook)
        if validate_only:
            client.check(new)
            output.line("the job can be queued", type="valid")
        else:
            output.job(queue_job(client, new))


@takes_job_options
def estimate(
    video: Video,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    *,
    options: Options,
    priority: Priority = 0,
    server: Server = DEFAULT_SERVER,
    tenant: Tenant = "",
    json: Json = False,
) -> None:
    """Tell what a job would cost, and what is wrong with its files, without queueing it."""
    with open_output(json) as output, connect(server, tenant) as client:
        new = bring_job(client, video, audio, face, speaker or (), options, output, priority)
        output.estimate(client.estimate(new))


def watch(
    job: JobName,
    after: Annotated[int, typer.Option(min=0, help="Number of the last event seen: go on behind it.")] = 0,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Follow a job to its end; fails as the job does."""
    with open_output(json) as output, connect(server) as client:
        for event in client.watch(full_name(job), after):
            output.event(event)
        client.result(full_name(job))


def get(job: JobOrBatch, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show a job as it is now; of a batch, how many of its jobs there are in each state."""
    with open_output(json) as output, connect(server) as client:
        if is_batch(job):
            output.batch(client.get_batch(job))
        else:
            output.job(client.get(full_name(job)))


def list_(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be given again.")] = None,
    tenant: Annotated[str, typer.Option(help="Only this tenant's jobs.")] = "",
    batch: Annotated[str, typer.Option(help="Only this batch's jobs.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Show jobs, newest first."""
    with open_output(json) as output, connect(server) as client:
        for job in islice(client.list(state or (), tenant, batch), limit):
            output.row(job)


def cancel(job: JobOrBatch, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Stop a job, or those of a batch that have not ended."""
    with open_output(json) as output, connect(server) as client:
        if is_batch(job):
            output.batch(client.cancel_batch(job))
        else:
            output.job(client.cancel(full_name(job)))


def retry(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Queue a job that failed or was cancelled once more; what it had finished stays so."""
    with open_output(json) as output, connect(server) as client:
        output.job(client.retry(full_name(job)))


def replay_webhook(
    job: JobName,
    after: Annotated[int, typer.Option(min=0, help="Number of the last event that need not be told again.")] = 0,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Have a job's webhook told of its changes of state once more, with the same ids."""
    with open_output(json) as output, connect(server) as client:
        client.replay_webhook(full_name(job), after)
        output.line(f"to be told again: {full_name(job)}", type="replayed", job=full_name(job))


def delete(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Make the server forget a job that has ended."""
    with open_output(json) as output, connect(server) as client:
        client.delete(full_name(job))
        output.line(f"deleted {full_name(job)}", type="deleted", job=full_name(job))


def import_(
    uri: Annotated[
        str, typer.Argument(metavar="URI", help="https://..., s3://..., gs://..., az://... or file:..., as it may.")
    ],
    server: Server = DEFAULT_SERVER,
    tenant: Tenant = "",
    json: Json = False,
) -> None:
    """Have the server fetch a file into its store; prints its digest."""
    with open_output(json) as output, connect(server, tenant) as client:
        asset = client.import_asset(uri)
        output.line(asset.digest, type="import", uri=uri, digest=asset.digest, size_bytes=asset.size_bytes)


def url(
    job: JobName,
    expires: Annotated[float, typer.Option(help="For how long, in seconds.", min=60.0, max=604800.0)] = 3600.0,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Print an address at which anyone can fetch a done job's video for a while."""
    with open_output(json) as output, connect(server) as client:
        signed = client.download_url(full_name(job), expires)
        output.line(signed.url, type="url", url=signed.url, expire_time=signed.expire_time)


def download(job: JobName, out: Out, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Write a done job's video to OUT and its report beside it."""
    check_out(out)
    with open_output(json) as output, connect(server) as client:
        save(client, client.get(full_name(job)), out, output)
