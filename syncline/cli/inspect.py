"""syncline inspect: what is in a file, and who."""

from typing import Annotated

import typer

from syncline.cli._options import Data, File, Json, ServerOrOwn
from syncline.cli._output import open_output
from syncline.cli._server import reach


def inspect(
    file: File,
    faces: Annotated[
        bool, typer.Option("--faces", help="Also list the persons seen; analyses the whole video.")
    ] = False,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show what is in a video, photo or sound file, and what is worth knowing before a job."""
    with open_output(json) as output, reach(server, data, output) as client:
        asset = client.upload(file)
        output.media(client.inspect(asset))
        for person in client.persons(asset) if faces else ():
            output.person(person)
