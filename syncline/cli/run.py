"""syncline run: two files in, a video out."""

from syncline.cli._options import (
    Audio,
    Crf,
    Data,
    Json,
    Out,
    Preset,
    RestorerStrength,
    ServerOrOwn,
    SyncMode,
    Video,
    check_out,
    job_options,
)
from syncline.cli._output import open_output
from syncline.cli._server import reach
from syncline.cli._transfers import save, upload_both


def run(
    video: Video,
    audio: Audio,
    out: Out,
    sync_mode: SyncMode = None,
    crf: Crf = None,
    preset: Preset = None,
    restorer_strength: RestorerStrength = None,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make OUT: the person in VIDEO (or a photo) says AUDIO. Ctrl-C cancels the job."""
    check_out(out)
    with open_output(json) as output, reach(server, data, output) as client:
        assets = upload_both(client, video, audio, output)
        job = client.create_job(*assets, **job_options(sync_mode, crf, preset, restorer_strength))
        with client.cancelling(job):
            for event in client.watch(job):
                output.event(event)
        save(client, client.get(job), out, output)
