"""Options that several commands share. A job's options have the proto's names."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from syncline.cli._faces import FORMS

CONTAINERS = ("mp4", "mov", "mkv", "webm")
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
Tenant = Annotated[
    str, typer.Option("--tenant", envvar="SYNCLINE_TENANT", help="On whose behalf, for a server shared by several.")
]
Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first.")]
Deadline = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Fails unless done by then: 2026-12-24T18:00, local unless it says: ...+01:00"),
]
Webhook = Annotated[
    str, typer.Option(metavar="URL", help="Https address told of the job's changes of state, as the server allows.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on standard output.")]
File = Annotated[Path, typer.Argument(metavar="FILE", **_INPUT)]
Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, or a photo, of the person.", **_INPUT)]
Audio = Annotated[
    Path | None,
    typer.Argument(metavar="[AUDIO]", help="The speech; of a video, its sound. Not with --speaker.", **_INPUT),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help='"jobs/" and an identifier; the identifier is enough.')]
JobOrBatch = Annotated[
    str,
    typer.Argument(metavar="JOB", help='"jobs/" or "batches/" and an identifier, which is enough for a job.'),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT", dir_okay=False, help="Video to write; its report goes beside it.")
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


def is_batch(name: str) -> bool:
    return name.startswith("batches/")


def full_name(job: str) -> str:
    return job if job.startswith("jobs/") else f"jobs/{job}"


def parse_deadline(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: 2026-12-24T18:00", param_hint="--deadline") from None


def check_out(out: Path) -> Path:
    """Before minutes are spent on what could not be written."""
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    return out


def container_of(out: Path) -> str | None:
    """What a file of this name is taken to be."""
    suffix = out.suffix.lower().removeprefix(".")
    return suffix if suffix in CONTAINERS else None


def report_path(out: Path) -> Path:
    return out.with_suffix(".report.json")
