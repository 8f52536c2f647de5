"""Measure the lips on real clips: hide a part, drive it with its own sound, compare with what the mouth really did.

    python -m benchmarks.quality CLIPS [NAMES...]

CLIPS is a folder with the folders talking and silent in it; NAMES are clips' names without their ending, by default all
of them. Prints tables; writes out/quality.json and out/quality/<clip>.png, the truth above the result. What the
detector saw is kept in out/quality/cache. The clips' terms may forbid showing the sheets: they stay in out/.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.quality.clip import Engines, load_clip, load_engines, read_speech
from benchmarks.quality.figures import measure_trial
from benchmarks.quality.sheet import save_sheet
from benchmarks.quality.tables import ClipFigures, judge, print_tables
from benchmarks.quality.trial import run_trial
from benchmarks.quality.unheard import choose_voice_model, use_unheard
from services.runtime.process import stay_in_own_thread
from services.runtime.refusal import Refusal

OUT = Path("out")
_FOLDERS = ("talking", "silent", "several", "odd")
_BY_DEFAULT = ("talking", "silent")
_WIDTH = 210  # characters


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("names", nargs="*", metavar="NAMES")
    parser.add_argument("--restorer", default="classic", help="the engine beside whose results those without any are")
    arguments = parser.parse_args()
    if not arguments.clips.is_dir():
        sys.exit(f"There is no folder {arguments.clips}. Give the folder of real clips: make quality CLIPS=folder")
    paths = find_clips(arguments.clips, arguments.names)
    stay_in_own_thread()
    engines, console, begun = load_engines(arguments.restorer), Console(width=_WIDTH), time.monotonic()
    voices = find_voices(arguments.clips)
    found: dict[str, ClipFigures] = {}
    for path in paths:
        started = time.monotonic()
        try:
            found[path.stem] = measure_clip(path, engines, choose_voice(path, voices, engines))
        except Refusal as refusal:
            console.print(f"{path.stem}: left out: {refusal}")
            continue
        console.print(f"{path.stem}: {time.monotonic() - started:.0f} s", highlight=False)
    if not found:
        sys.exit("None of the clips could be measured.")
    print_tables(found, console)
    console.print(f"{len(found)} clips in {time.monotonic() - begun:.0f} s; sheets in {OUT / 'quality'}")
    save(found, engines, time.monotonic() - begun)


def find_clips(folder: Path, names: list[str]) -> list[Path]:
    """The clips of those names; all that talk or are silent when none is given."""
    folders = _FOLDERS if names else _BY_DEFAULT
    paths = [path for name in folders for path in sorted((folder / name).glob("*.*"))]
    unknown = set(names) - {path.stem for path in paths}
    if unknown or not paths:
        sys.exit(f"{folder} has no clip {', '.join(sorted(unknown)) or 'in talking/ or silent/'}.")
    return [path for path in paths if not names or path.stem in names]


def find_voices(folder: Path) -> list[Path]:
    """Whose speech drives other clips; each clip gets the one after its own."""
    return sorted((folder / "talking").glob("*.*"))


def choose_voice(path: Path, voices: list[Path], engines: Engines) -> np.ndarray | None:
    following = [voice for voice in voices if voice.stem > path.stem] + voices
    others = [voice for voice in following if voice.stem != path.stem]
    return read_speech(others[0], engines) if others else None


def measure_clip(path: Path, engines: Engines, voice: np.ndarray | None) -> ClipFigures:
    clip = load_clip(path, engines, OUT / "quality" / "cache")
    if not len(clip.track.seen_frames):
        raise Refusal("NO_FACE", "no frame shows a face")
    use_unheard(clip.name)
    trial = run_trial(clip, engines, voice)
    save_sheet(trial, OUT / "quality" / f"{clip.name}.png")
    return measure_trial(trial)


def save(found: dict[str, ClipFigures], engines: Engines, seconds: float) -> None:
    """out/quality.json; what a clip cannot say is null."""
    named = (engines.decoder, engines.detector, engines.lipsync, engines.restorer)
    document = {
        "engines": {engine.info.name: engine.info.version for engine in named},
        "models": {model.name: model.sha256 for engine in named for model in engine.info.models},
        "voices": {clip: choose_voice_model(clip).name for clip in found},
        "seconds": round(seconds, 1),
        "aims": [
            {"name": aim.name, "aim": aim.aim, "found": _plain(aim.value), "met": aim.met, "worst": aim.worst}
            for aim in judge(found)
        ],
        "clips": {
            clip: {drive: {name: _plain(value) for name, value in figures.items()} for drive, figures in parts.items()}
            for clip, parts in found.items()
        },
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "quality.json").write_text(json.dumps(document, indent=1) + "\n")


def _plain(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


if __name__ == "__main__":
    main()
