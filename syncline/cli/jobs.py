"""The commands on jobs of a running server."""

from syncline.cli._options import (
    DEFAULT_SERVER,
    Audio,
    ClosureStrength,
    Crf,
    Face,
    IdleMotion,
    JobName,
    Json,
    MouthIntensity,
    Out,
    Padding,
    Preset,
    RestorerStrength,
    Server,
    Smoothing,
    Speakers,
    SyncMode,
    Video,
    check_out,
    full_name,
)
from syncline.cli._output import open_output
from syncline.cli._transfers import queue_job, save
from syncline.client import Client
from syncline.types import Options


def submit(
    video: Video,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    sync_mode: SyncMode = None,
    crf: Crf = None,
    preset: Preset = None,
    restorer_strength: RestorerStrength = None,
    mouth_intensity: MouthIntensity = None,
    smoothing: Smoothing = None,
    closure_strength: ClosureStrength = None,
    padding: Padding = None,
    idle_motion: IdleMotion = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Queue a job and return at once."""
    options = Options(
        sync_mode=sync_mode,
        crf=crf,
        preset=preset,
        restorer_strength=restorer_strength,
        mouth_intensity=mouth_intensity,
        smoothing=smoothing,
        closure_strength=closure_strength,
        padding=padding,
        idle_motion=idle_motion,
    )
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
