"""The commands on jobs of a running server."""

from pathlib import Path
from typing import Annotated

import typer

from syncline.cli._job_options import takes_job_options
from syncline.cli._options import (
    DEFAULT_SERVER,
    Audio,
    Face,
    JobName,
    Json,
    Out,
    Priority,
    Server,
    Speakers,
    Speech,
    Tenant,
    Video,
    check_out,
    full_name,
)
from syncline.cli._output import open_output
from syncline.cli._transfers import queue_job, save, upload
from syncline.client import Client
from syncline.types import NewJob, Options


@takes_job_options
def submit(
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
    """Queue a job and return at once."""
    with open_output(json) as output, Client(server, tenant) as client:
        output.job(queue_job(client, video, audio, face, speaker or (), options, output, priority))


@takes_job_options
def estimate(
    video: Video,
    audio: Speech,
    *,
    options: Options,
    server: Server = DEFAULT_SERVER,
    tenant: Tenant = "",
    json: Json = False,
) -> None:
    """Tell what a job would cost, and what is wrong with its files, without queueing it."""
    with open_output(json) as output, Client(server, tenant) as client:
        uploaded, heard = (upload(client, path, f"upload {path.name}", output) for path in (video, audio))
        if (background := options.get("background_audio")) is not None:
            options["background_audio"] = upload(client, Path(str(background)), "upload background audio", output)
        output.estimate(client.estimate(NewJob(uploaded, heard, options)))


def watch(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Follow a job to its end; fails as the job does."""
    with open_output(json) as output, Client(server) as client:
        for event in client.watch(full_name(job)):
            output.event(event)
        client.result(full_name(job))


def get(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show a job as it is now."""
    with open_output(json) as output, Client(server) as client:
        output.job(client.get(full_name(job)))


def list_(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be given again.")] = None,
    tenant: Annotated[str, typer.Option(help="Only this tenant's jobs.")] = "",
    batch: Annotated[str, typer.Option(help="Only this batch's jobs.")] = "",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Show jobs, newest first."""
    with open_output(json) as output, Client(server) as client:
        for job in client.list(state or (), tenant, batch):
            output.row(job)


def cancel(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Stop a job."""
    with open_output(json) as output, Client(server) as client:
        output.job(client.cancel(full_name(job)))


def retry(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Queue a job that failed or was cancelled once more; what it had finished stays so."""
    with open_output(json) as output, Client(server) as client:
        output.job(client.retry(full_name(job)))


def delete(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Make the server forget a job that has ended."""
    with open_output(json) as output, Client(server) as client:
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
    with open_output(json) as output, Client(server, tenant) as client:
        asset = client.import_asset(uri)
        output.line(asset.digest, type="import", uri=uri, digest=asset.digest, size_bytes=asset.size_bytes)


def url(
    job: JobName,
    expires: Annotated[float, typer.Option(help="For how long, in seconds.", min=60.0, max=604800.0)] = 3600.0,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Print an address at which anyone can fetch a done job's video for a while."""
    with open_output(json) as output, Client(server) as client:
        signed = client.download_url(full_name(job), expires)
        output.line(signed.url, type="url", url=signed.url, expire_time=signed.expire_time)


def download(job: JobName, out: Out, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Write a done job's video to OUT and its report beside it."""
    check_out(out)
    with open_output(json) as output, Client(server) as client:
        save(client, client.get(full_name(job)), out, output)
