"""Faces and speakers as words of the command line."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from syncline.types import Asset, Face, FaceBox, FaceUnit

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_BOX = re.compile(rf"{_NUMBER}(%?),{_NUMBER}(%?),{_NUMBER}(%?),{_NUMBER}(%?)(?:@{_NUMBER})?")
_START = re.compile(rf"(.+)@{_NUMBER}")
FORMS = "auto, a number, X,Y,WIDTH,HEIGHT@SECONDS (pixels, or each with %), or a photo's file"

Upload = Callable[[Path, str], Asset]


@dataclass(frozen=True, slots=True)
class SpokenFile:
    """A speaker before the files are uploaded."""

    face: int | FaceBox | Path
    audio: Path
    start: float


def parse_face(text: str) -> int | FaceBox | Path | None:
    """None: auto. Raises typer.BadParameter for what is no face."""
    if text == "auto":
        return None
    if text.isdecimal():
        return int(text)
    if found := _BOX.fullmatch(text):
        *edges, time = found.groups()
        values, marks = [float(edge) for edge in edges[::2]], set(edges[1::2])
        if len(marks) > 1:
            raise typer.BadParameter(f"{text}: give all four of a box in pixels, or all with %")
        fractions = marks == {"%"}
        x, y, width, height = (value / 100 if fractions else value for value in values)
        return FaceBox(x, y, width, height, float(time or 0), FaceUnit.FRACTIONS if fractions else FaceUnit.PIXELS)
    if Path(text).is_file():
        return Path(text)
    raise typer.BadParameter(f"{text!r} is neither a face nor a file; a face is {FORMS}")


def parse_speaker(text: str) -> SpokenFile:
    """FACE=AUDIO or FACE=AUDIO@SECONDS. Raises typer.BadParameter."""
    name, _, audio = text.partition("=")
    start = 0.0
    if not Path(audio).is_file() and (found := _START.fullmatch(audio)):
        audio, start = found[1], float(found[2])
    face = parse_face(name)
    if face is None:
        raise typer.BadParameter(f"{text}: a speaker must name a face")
    if not Path(audio).is_file():
        raise typer.BadParameter(f"{text}: there is no file {audio or 'named'}; write FACE=AUDIO or FACE=AUDIO@SECONDS")
    return SpokenFile(face, Path(audio), start)


def upload_face(face: int | FaceBox | Path, upload: Upload) -> Face:
    return upload(face, "upload photo") if isinstance(face, Path) else face
