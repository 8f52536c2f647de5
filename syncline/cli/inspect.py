"""syncline inspect: what is in a file."""

from syncline.cli._options import Data, File, Json, ServerOrOwn
from syncline.cli._output import open_output
from syncline.cli._server import reach


def inspect(file: File, server: ServerOrOwn = None, data: Data = None, json: Json = False) -> None:
    """Show what is in a video, photo or sound file, and what is worth knowing before a job."""
    with open_output(json) as output, reach(server, data, output) as client:
        output.media(client.inspect(file))
