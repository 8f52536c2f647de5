"""Options that several commands share. A job's options have the proto's names."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from syncline.cli._faces import FORMS

DEFAULT_PORT = 50050
DEFAULT_SERVER = f"localhost:{DEFAULT_PORT}"

_SERVER = {"envvar": "SYNCLINE_SERVER", "metavar": "HOST:PORT"}
_INPUT = {"exists": True, "dir_okay": False, "readable": True}
_OF_THE_JOB = "Options of the job"

Server = Annotated[str, typer.Option("--server", help="The orchestrator to talk to.", **_SERVER)]
ServerOrOwn = Annotated[
    str | None,
    typer.Option("--server", help="The orchestrator to talk to. Default: services started for this.", **_SERVER),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", file_okay=False, help="Folder of those services. Default: ~/.local/share/syncline"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on standard output.")]
File = Annotated[Path, typer.Argument(metavar="FILE", **_INPUT)]
Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, or a photo, of the person.", **_INPUT)]
Audio = Annotated[
    Path | None,
    typer.Argument(metavar="[AUDIO]", help="The speech; of a video, its sound. Not with --speaker.", **_INPUT),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help='"jobs/" and an identifier; the identifier is enough.')]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT", dir_okay=False, help="Video to write; its report goes beside it.")
]

SyncMode = Annotated[
    Literal["cut_off", "loop", "bounce"] | None,
    typer.Option(rich_help_panel=_OF_THE_JOB, help="When video and speech differ in length. Default: cut_off"),
]
Crf = Annotated[
    int | None,
    typer.Option(min=0, max=51, rich_help_panel=_OF_THE_JOB, help="x264 rate factor: lower is better. Default: 18"),
]
Preset = Annotated[str | None, typer.Option(rich_help_panel=_OF_THE_JOB, help="x264 preset. Default: veryfast")]
RestorerStrength = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, rich_help_panel=_OF_THE_JOB, help="How far the restorer may go. Default: 1"),
]
MouthIntensity = Annotated[
    float | None,
    typer.Option(min=0.5, max=1.5, rich_help_panel=_OF_THE_JOB, help="How far the mouth goes from rest. Default: 1"),
]
Smoothing = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, rich_help_panel=_OF_THE_JOB, help="How calmly the mouth moves. Default: 0.2"),
]
ClosureStrength = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, rich_help_panel=_OF_THE_JOB, help="How readily lips close, as on m, b and p. Default: 0.5"
    ),
]
Padding = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=1.5,
        rich_help_panel=_OF_THE_JOB,
        help="How far the new part reaches round mouth and jaw. Default: 1",
    ),
]
IdleMotion = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, rich_help_panel=_OF_THE_JOB, help="How much a photo's head moves, and blinks. Default: 0"
    ),
]
Face = Annotated[
    str, typer.Option("--face", metavar="FACE", rich_help_panel=_OF_THE_JOB, help=f"Whose lips: {FORMS}. Default: auto")
]
Speakers = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker",
        metavar="FACE=AUDIO",
        rich_help_panel=_OF_THE_JOB,
        help="A face and its own speech, instead of AUDIO; may be repeated. AUDIO@SECONDS begins later.",
    ),
]


def full_name(job: str) -> str:
    return job if job.startswith("jobs/") else f"jobs/{job}"


def check_out(out: Path) -> Path:
    """Before minutes are spent on what could not be written."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    return out


def report_path(out: Path) -> Path:
    return out.with_suffix(".report.json")
