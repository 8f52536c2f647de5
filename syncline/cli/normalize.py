"""syncline normalize: a video's standard mezzanine."""

from pathlib import Path
from typing import Annotated

import typer

from syncline.cli._job_options import check_rate
from syncline.cli._options import Data, File, Json, ServerOrOwn, check_out
from syncline.cli._output import open_output
from syncline.cli._server import reach


def normalize(
    file: File,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", dir_okay=False, help="MP4 to write.")],
    width: Annotated[
        int | None,
        typer.Option(min=64, max=8192, help="With --height: exactly that size. Default: what fits 1920 x 1080."),
    ] = None,
    height: Annotated[int | None, typer.Option(min=64, max=8192)] = None,
    frame_rate: Annotated[
        str | None,
        typer.Option(help="25, 30000/1001 ... Default: the standard rate nearest to the file's", callback=check_rate),
    ] = None,
    bit_rate: Annotated[
        int | None,
        typer.Option(min=100_000, max=400_000_000, help="Of the pictures, bits per second. Default: 10000000"),
    ] = None,
    server: ServerOrOwn = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make OUT: FILE upright, at a constant frame rate, scaled and padded, as H.264 and AAC."""
    check_out(out)
    with open_output(json) as output, reach(server, data, output) as client:
        asset = client.upload(file, output.transfer("upload"))
        made = client.normalize(asset, out, width=width, height=height, frame_rate=frame_rate, bit_rate=bit_rate)
        output.normalized(out, made.digest)
