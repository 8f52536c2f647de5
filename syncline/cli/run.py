"""syncline run: a video and speech in, a video out."""

from syncline.cli._options import (
    Audio,
    ClosureStrength,
    Crf,
    Data,
    Face,
    IdleMotion,
    Json,
    MouthIntensity,
    Out,
    Padding,
    Preset,
    RestorerStrength,
    ServerOrOwn,
    Smoothing,
    Speakers,
    SyncMode,
    Video,
    check_out,
)
from syncline.cli._output import open_output
from syncline.cli._server import reach
from syncline.cli._transfers import queue_job, save
from syncline.types import Options


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
    mouth_intensity: MouthIntensity = None,
    smoothing: Smoothing = None,
    closure_strength: ClosureStrength = None,
    padding: Padding = None,
    idle_motion: IdleMotion = None,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make OUT: the person in VIDEO (or a photo) says AUDIO, or each --speaker its own. Ctrl-C cancels the job."""
    check_out(out)
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
    with open_output(json) as output, reach(server, data, output) as client:
        job = queue_job(client, video, audio, face, speaker or (), options, output)
        with client.cancelling(job):
            for event in client.watch(job):
                output.event(event)
        save(client, client.get(job), out, output)
