"""syncline run: a video and speech in, a video out."""

from syncline.cli._job_options import takes_job_options
from syncline.cli._options import (
    Audio,
    Data,
    Face,
    Json,
    Out,
    ServerOrOwn,
    Speakers,
    Video,
    check_out,
    container_of,
)
from syncline.cli._output import open_output
from syncline.cli._server import reach
from syncline.cli._transfers import bring_job, queue_job, save
from syncline.types import Options


@takes_job_options
def run(
    video: Video,
    out: Out,
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    *,
    options: Options,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make OUT: the person in VIDEO (or a photo) says AUDIO, or each --speaker its own. Ctrl-C cancels the job."""
    check_out(out)
    options["container"] = options["container"] or container_of(out)
    with open_output(json) as output, reach(server, data, output) as client:
        job = queue_job(client, bring_job(client, video, audio, face, speaker or (), options, output))
        with client.cancelling(job):
            for event in client.watch(job):
                output.event(event)
        save(client, client.get(job), out, output)
