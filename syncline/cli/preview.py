"""syncline preview: one frame, or the first seconds, of what a job would make."""

from pathlib import Path
from typing import Annotated

import typer

from syncline.cli._job_options import takes_job_options
from syncline.cli._options import (
    Audio,
    Data,
    Face,
    Json,
    ServerOrOwn,
    Speakers,
    Tenant,
    Video,
    check_out,
    container_of,
)
from syncline.cli._output import open_output
from syncline.cli._server import reach
from syncline.cli._transfers import bring_job
from syncline.types import Options


@takes_job_options
def preview(
    video: Video,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", dir_okay=False, help="Picture (.png) or video to write.")
    ],
    audio: Audio = None,
    face: Face = "auto",
    speaker: Speakers = None,
    *,
    options: Options,
    at: Annotated[float | None, typer.Option(min=0.0, help="Second of the result, of a picture. Default: 0")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, max=10.0, help="Length from the begin on, of a video. Default: 3")
    ] = None,
    server: ServerOrOwn = None,
    data: Data = None,
    tenant: Tenant = "",
    json: Json = False,
) -> None:
    """Show in OUT what a job would make: of OUT.png one frame, with masks and landmarks; else its first seconds."""
    check_out(out)
    picture = out.suffix.lower() == ".png"
    if (seconds if picture else at) is not None:
        raise typer.BadParameter("--at is for a picture (OUT.png), --seconds for a video")
    if not picture:
        seconds = seconds or 3.0
        options["container"] = options.get("container") or container_of(out)
    with open_output(json) as output, reach(server, data, output, tenant) as client:
        new = bring_job(client, video, audio, face, speaker or (), options, output)
        made = client.preview(new, out, at=at or 0.0, seconds=seconds)
        output.previewed(out, made)
