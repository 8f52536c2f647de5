"""A job's options as flags, with the proto's names: of every command that makes jobs."""

import functools
import inspect
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from syncline.types import Options

_PANEL = "Options of the job"
_OUTPUT = "The file made"


def _flag(kind: Any, words: str, panel: str = _PANEL, **limits: Any) -> Any:
    return Annotated[kind | None, typer.Option(help=words, rich_help_panel=panel, **limits)]


def check_rate(value: str | None) -> str | None:
    try:
        Fraction(value or 0)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{value!r} is no number of frames per second: 25, 29.97 or 30000/1001") from None
    return value


FLAGS: dict[str, Any] = {
    "sync_mode": _flag(
        Literal["cut_off", "loop", "bounce", "hold", "silence", "remap"],
        "When video and speech differ in length. Default: cut_off",
    ),
    "normalize": _flag(bool, "Make the video's standard mezzanine first, as `syncline normalize`, and work on that"),
    "output_uri": _flag(str, "s3://bucket/prefix where the server writes the result besides"),
    "start": _flag(float, "Second of the video from which it is used. Default: its begin", min=0.0),
    "end": _flag(float, "Second of the video until which it is used. Default: its end", min=0.0),
    "mouth_intensity": _flag(float, "How far the mouth goes from rest. Default: 1", min=0.5, max=1.5),
    "smoothing": _flag(float, "How calmly the mouth moves. Default: 0.2", min=0.0, max=1.0),
    "closure_strength": _flag(float, "How readily lips close, as on m, b and p. Default: 0.5", min=0.0, max=1.0),
    "padding": _flag(float, "How far the new part reaches round mouth and jaw. Default: 1", min=0.5, max=1.5),
    "idle_motion": _flag(float, "How much a photo's head moves, and blinks. Default: 0", min=0.0, max=1.0),
    "restorer_strength": _flag(float, "How far the restorer may go. Default: 1", min=0.0, max=1.0),
    "lipsync_engine": _flag(str, "One of those the server has. Default: its first"),
    "restorer_engine": _flag(str, "One of those the server has. Default: its first"),
    "profile": _flag(
        Literal["draft-720p", "standard", "publish-1080p", "master"],
        "What the options of the file are where they are not given. Default: standard",
        _OUTPUT,
    ),
    "container": _flag(Literal["mp4", "mov", "mkv", "webm"], "Default: as OUT is named, or mp4", _OUTPUT),
    "video_codec": _flag(
        Literal["h264", "hevc", "av1", "vp9", "ffv1"], "Default: h264; vp9 in webm. ffv1 loses nothing", _OUTPUT
    ),
    "crf": _flag(int, "Quality: lower is better and larger. Default: 18 for h264", _OUTPUT, min=0, max=63),
    "video_bit_rate": _flag(int, "Bits per second, instead of --crf", _OUTPUT, min=100_000, max=400_000_000),
    "preset": _flag(str, "How long to look for small files, as x264 names it. Default: veryfast", _OUTPUT),
    "max_lines": _flag(int, "Scale the shorter side down to so many pixels", _OUTPUT, min=144, max=8192),
    "hardware": _flag(
        Literal["auto", "off"], "Encode on the server's graphics card where it has one. Default: auto", _OUTPUT
    ),
    "fps_mode": _flag(Literal["passthrough", "cfr"], "Frames as in the source, or at a constant rate", _OUTPUT),
    "frame_rate": _flag(str, "The constant rate: 25, 30000/1001 ...", _OUTPUT, callback=check_rate),
    "audio_codec": _flag(
        Literal["aac", "opus", "flac", "pcm", "copy"], "Default: copy where that is exact, else aac or opus", _OUTPUT
    ),
    "background_audio": _flag(
        Path, "Sound that plays under the speech", _OUTPUT, exists=True, dir_okay=False, readable=True
    ),
    "background_gain": _flag(float, "How loud it plays, in decibels. Default: -18", _OUTPUT, min=-60.0, max=12.0),
    "source_gain": _flag(
        float,
        "How loud the video's own sound plays under the speech. Default: not at all",
        _OUTPUT,
        min=-60.0,
        max=12.0,
    ),
}


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a flag for every option of a job; what is given comes as its parameter `options`."""
    signature = inspect.signature(command)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in FLAGS.items()
    ]

    def with_flags(**arguments: Any) -> None:
        options = Options(**{name: arguments.pop(name) for name in FLAGS})  # type: ignore[typeddict-item]
        command(**arguments, options=options)

    functools.update_wrapper(with_flags, command)
    del with_flags.__wrapped__  # type: ignore[attr-defined]
    parameters = [*own, *flags]
    with_flags.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_flags
