"""The commands on jobs of a running server."""

from syncline.cli._job_options import takes_job_options
from syncline.cli._options import (
    DEFAULT_SERVER,
    Audio,
    Face,
    JobName,
    Json,
    Out,
    Server,
    Speakers,
    Video,
    check_out,
    full_name,
)
from syncline.cli._output import open_output
from syncline.cli._transfers import queue_job, save
from syncline.client import Client
from syncline.types import Options


@takes_job_options
def submit(
    video: Video,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    *,
    options: Options,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Queue a job and return at once."""
    with open_output(json) as output, Client(server) as client:
        output.job(queue_job(client, video, audio, face, speaker or (), options, output))


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


def list_(server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Show all jobs, newest first."""
    with open_output(json) as output, Client(server) as client:
        for job in client.list():
            output.row(job)


def cancel(job: JobName, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Stop a job."""
    with open_output(json) as output, Client(server) as client:
        output.job(client.cancel(full_name(job)))


def download(job: JobName, out: Out, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Write a done job's video to OUT and its report beside it."""
    check_out(out)
    with open_output(json) as output, Client(server) as client:
        save(client, client.get(full_name(job)), out, output)
