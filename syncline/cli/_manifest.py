"""A batch's manifest: CSV with a header, or one JSON object per line (.jsonl).

video, audio     paths, relative to the manifest; required
out              name of the video to write, within the batch's folder; default: VIDEO-AUDIO.mp4
priority         whole number; higher goes first
crf, preset, ... a job's options, by the names that the SDK has for them
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import typer

from syncline.cli._faces import parse_face
from syncline.types import FaceBox, Options

_OWN = ("video", "audio", "out", "priority", "face")
_NUMBERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
}


@dataclass(frozen=True)
class Item:
    video: Path | str  # a path, or what the server fetches by itself
    audio: Path | str
    out: str
    priority: int
    options: Options
    face: int | FaceBox | Path | None = None  # None: auto


def read_manifest(path: Path, options: Options) -> list[Item]:
    """`options` are those of the jobs whose lines have none of their own. Raises typer.BadParameter naming the line."""
    rows = _read_json_lines(path) if path.suffix == ".jsonl" else _read_csv(path)
    return _check([_to_item(path, line, row, options) for line, row in rows])


def make_matrix(videos: Iterable[Path], audios: Iterable[Path], options: Options) -> list[Item]:
    """Every speech for every video. Raises typer.BadParameter."""
    pairs = product(videos, audios)
    return _check([Item(video, audio, _default_out(video, audio), 0, options) for video, audio in pairs])


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row or None in row.values():
                raise _wrong(path, reader.line_num, "it has more or fewer values than the header has names")
            yield reader.line_num, {name.strip(): _read_value(name.strip(), text) for name, text in row.items() if text}


def _read_value(name: str, text: str) -> Any:
    """As the option's type has it; text that is no such value goes to the server's check."""
    hint = "int" if name == "priority" else "str" if name in _OWN else str(Options.__annotations__.get(name))
    for kind, read in _NUMBERS.items():
        if kind in hint:
            try:
                return read(text)
            except (KeyError, ValueError):
                continue
    return text


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise _wrong(path, line, f"it is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise _wrong(path, line, "it is not an object")
        yield line, row


def _to_item(path: Path, line: int, row: Mapping[str, Any], options: Options) -> Item:
    known = dict.fromkeys((*_OWN, *Options.__annotations__))
    for name in row:
        if name not in known:
            raise _wrong(path, line, f"there is no {name!r}; there are {', '.join(known)}")
    video, audio = (_to_file(path, line, name, str(row.get(name, ""))) for name in ("video", "audio"))
    out, priority = str(row.get("out") or _default_out(video, audio)), row.get("priority", 0)
    if PurePath(out).is_absolute() or ".." in PurePath(out).parts:
        raise _wrong(path, line, f"out is {out!r}; it must lie within the batch's folder")
    if not isinstance(priority, int):
        raise _wrong(path, line, f"priority is {priority!r}, not a whole number")
    own: Any = {name: value for name, value in row.items() if name not in _OWN}
    if background := own.get("background_audio"):
        own["background_audio"] = path.parent / str(background)
    photo = path.parent / str(row.get("face", ""))
    face = photo if photo.is_file() else parse_face(str(row.get("face", "auto")))
    return Item(video, audio, out, priority, {**options, **own}, face)


def _to_file(path: Path, line: int, name: str, text: str) -> Path | str:
    if text.startswith(("https://", "s3://", "gs://", "az://", "file:")):
        return text
    file = path.parent / text
    if not file.is_file():
        raise _wrong(path, line, f"{name}: there is no file {text!r}")
    return file


def _check(items: list[Item]) -> list[Item]:
    seen: set[str] = set()
    for item in items:
        if item.out in seen:
            raise typer.BadParameter(f"two of the jobs would write {item.out}: give them names of their own")
        seen.add(item.out)
    if not items:
        raise typer.BadParameter("there is nothing to do: the batch has no job")
    return items


def _default_out(video: Path | str, audio: Path | str) -> str:
    stems = [PurePosixPath(urlsplit(file).path).stem if isinstance(file, str) else file.stem for file in (video, audio)]
    return f"{'-'.join(stems)}.mp4"


def _wrong(path: Path, line: int, what: str) -> typer.BadParameter:
    return typer.BadParameter(f"line {line} of {path}: {what}")
