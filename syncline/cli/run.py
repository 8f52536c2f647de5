"""syncline run: a video and speech in, a video out."""

from syncline.cli._options import (
    Audio,
    Crf,
    Data,
    Face,
    Json,
    Out,
    Preset,
    RestorerStrength,
    ServerOrOwn,
    Speakers,
    SyncMode,
    Video,
    check_out,
    job_options,
)
from syncline.cli._output import open_output
from syncline.cli._server import reach
from syncline.cli._transfers import queue_job, save


def run(
    video: Video,
    out: Out,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    sync_mode: SyncMode = None,
    crf: Crf = None,
    preset: Preset = None,
    restorer_strength: RestorerStrength = None,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make OUT: the person in VIDEO (or a photo) says AUDIO, or each --speaker its own. Ctrl-C cancels the job."""
    check_out(out)
    with open_output(json) as output, reach(server, data, output) as client:
        options = job_options(sync_mode, crf, preset, restorer_strength)
        job = queue_job(client, video, audio, face, speaker or (), options, output)
        with client.cancelling(job):
            for event in client.watch(job):
                output.event(event)
        save(client, client.get(job), out, output)
