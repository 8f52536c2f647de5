"""How often the speaker is found: pairs of talking clips side by side, with one clip's sound.

    python -m benchmarks.speakers CLIPS

CLIPS is a folder with the folder talking in it. Every pair of clips is heard with the sound of each; the truth is
known. What the detector saw is kept in out/quality/cache. Clips of one person make no pair.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.persons import person_of
from benchmarks.quality.clip import load_clip, load_engines
from benchmarks.quality.unheard import use_unheard
from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import shape, voice
from services.lipsync.engines.rewrite.match import match_mouth
from services.orchestrator.speakers import SURE, confide

SECONDS = (2, 3, 4, 6, 8)
_MOST_SECONDS = 16  # of a clip


@dataclass(frozen=True)
class Talker:
    name: str
    times: np.ndarray  # (n,) seconds
    measures: np.ndarray  # (n, measures) of the mouth
    features: np.ndarray  # of the clip's own sound
    loudness: np.ndarray  # of each of their rows, as a prediction of every measure
    predicted: np.ndarray  # what it asks of a mouth


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.speakers CLIPS")
    engines, talkers = load_engines(), []
    for path in sorted((Path(sys.argv[1]) / "talking").glob("*.*")):
        clip = load_clip(path, engines, Path("out/quality/cache"))
        if clip.speech is None or not len(clip.track.seen_frames):
            continue
        frames = clip.track.seen_frames[clip.times[clip.track.seen_frames] < _MOST_SECONDS]
        measures = shape.measure_shapes(np.array([clip.track.crop_mesh(frame) for frame in frames]))
        mel = voice.mel_of(clip.speech[: _MOST_SECONDS * SPEECH_RATE])
        features = voice.make_features(mel)
        loudness = mel[:: voice.MEL_PER_STEP].mean(axis=1, keepdims=True).repeat(shape.MEASURES, axis=1)
        use_unheard(clip.name)
        predicted = voice.load_voice_model().predict(features)
        talkers.append(Talker(clip.name, clip.times[frames], measures, features, loudness, predicted))
    table = Table("seconds", "pairs", "right", "right by loudness", "sure", "right when sure", title="who speaks")
    for seconds in SECONDS:
        table.add_row(str(seconds), *measure(talkers, seconds))
    Console().print(table)


def measure(talkers: list[Talker], seconds: float) -> list[str]:
    """Over all pieces so long of all pairs."""
    right, loud, sure = [], [], []
    for heard, other in itertools.permutations(talkers, 2):
        if person_of(heard.name) == person_of(other.name):
            continue
        end = min(heard.times[-1], other.times[-1])
        for start in np.arange(0, end - seconds + 0.2, seconds):
            scores = [score(heard, mouth, start, seconds, heard.predicted) for mouth in (heard, other)]
            louds = [score(heard, mouth, start, seconds, heard.loudness) for mouth in (heard, other)]
            if np.isnan([*scores, *louds]).any():
                continue
            right.append(scores[0] > scores[1])
            loud.append(louds[0] > louds[1])
            winner = int(scores[1] > scores[0])
            sure.append(confide(dict(enumerate(scores)), winner, seconds) >= SURE)
    hits, certain = np.array(right), np.array(sure)
    shares = [hits.mean(), np.mean(loud), certain.mean(), hits[certain].mean()]
    return [str(len(hits)), *(f"{share:.1%}" for share in shares)]


def score(heard: Talker, mouth: Talker, start: float, seconds: float, predicted: np.ndarray) -> float:
    """NaN where nobody is heard or seen for long enough."""
    part = (mouth.times >= start) & (mouth.times < start + seconds)
    match = match_mouth(0, heard.features, predicted, mouth.times[part], mouth.measures[part])
    return match.score if match.seconds else np.nan


if __name__ == "__main__":
    main()
