"""Who speaks in a source: the lipsync engine judges whose mouth its sound fits; else the largest face."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.orchestrator.analysis import Analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.faces import find_shots
from services.orchestrator.persons import Person, cover
from services.orchestrator.source import SPEECH_RATE, speech_packets
from services.orchestrator.stages import Metadata, Stages
from services.runtime.blobs import Rows
from services.runtime.convert import from_fraction, from_mesh
from services.runtime.streams import in_thread
from services.runtime.wire import Packet
from syncline.v1 import lipsync_pb2

_VERSION = "1"  # changes when the same analysis and engine may be judged otherwise
_MATCH_SECONDS = 180  # of the source; who speaks there speaks
_MATCH_RATE = 30  # frames a second; more tell nothing new
_MOUTH_BATCH = 32

# Confidence that the better of two is the speaker, from the difference of their scores: fitted to pairs of talking
# clips with one clip's sound (benchmarks/speakers.py).
_SLOPE = 6.0  # per unit of score and square root of a second
SURE = 0.75  # confidence from which the sound decides
_FITS = 0.1  # score below which nobody's mouth fits
_LISTENS = 0.05  # score below which somebody who is alone in a shot is taken to listen to another's voice
_LISTENS_SECONDS = 1.5  # of speech, below which nobody is taken to
MOST_DRIVEN = 8  # persons; the rest of a crowd stays as it is


@dataclass(frozen=True, slots=True)
class VoiceFit:
    """How well one person's mouth in one shot fits the source's sound."""

    person: int  # index
    shot: int
    seconds: float
    score: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """A person to be driven in the frames of `rows` (frames,) int64, -1 elsewhere.

    `how`: only, speaker, largest, index, box or reference. `confidence`: that this is who was meant, 0 to 1; for
    largest, that this is who speaks.
    """

    person: Person
    rows: np.ndarray
    how: str
    confidence: float


async def find_voice_fits(
    stages: Stages,
    artifacts: ArtifactStore,
    key: str,
    analysis: Analysis,
    persons: Sequence[Person],
    speech: Rows,
    metadata: Metadata,
) -> list[VoiceFit]:
    """What the lipsync engine says of every person in every shot; asked now unless it was before.

    `key`: of the analysis; `speech`: the source's own, (n,) float32 at SPEECH_RATE.
    """
    engine = await stages.engine("lipsync")
    models = [model.sha256 for model in engine.models]
    fits_key = json.dumps([_VERSION, key, engine.name, engine.version, models])
    kept = await in_thread(artifacts.get_artifact, "voices", fits_key)
    if kept is None:
        fits = await _match(stages, analysis, persons, speech, metadata)
        kept = json.dumps([[fit.person, fit.shot, fit.seconds, fit.score] for fit in fits]).encode()
        await in_thread(artifacts.put_artifact, "voices", fits_key, [kept])
    return [VoiceFit(*values) for values in json.loads(kept)]


async def _match(
    stages: Stages, analysis: Analysis, persons: Sequence[Person], speech: Rows, metadata: Metadata
) -> list[VoiceFit]:
    shots = find_shots(analysis.faces)
    mouths = [(person, shot) for person in persons for shot in range(len(shots))]
    opening = lipsync_pb2.MatchRequest(open=lipsync_pb2.MatchOpen(time_base=from_fraction(analysis.time_base)))
    # The sound's time 0 is the file's; frames keep their own pts.
    heard = speech[: int(float(analysis.pts[0] * analysis.time_base + _MATCH_SECONDS) * SPEECH_RATE)]

    async def packets() -> AsyncIterator[Packet]:
        for chunk, payload in speech_packets(heard):
            yield Packet(lipsync_pb2.MatchRequest(speech=chunk), payload)
        seen = [
            (number, frame)
            for number, (person, shot) in enumerate(mouths)
            for frame in _some_frames(analysis, person, *shots[shot])
        ]
        for sequence, first in enumerate(range(0, len(seen), _MOUTH_BATCH)):
            message = lipsync_pb2.MouthBatch(sequence=sequence)
            for number, frame in seen[first : first + _MOUTH_BATCH]:
                mesh = analysis.meshes[mouths[number][0].rows[frame]]
                message.mouths.add(mouth=number, pts=int(analysis.pts[frame]), landmarks=from_mesh(mesh))
            yield Packet(lipsync_pb2.MatchRequest(mouths=message))

    fits = []
    async with stages.stream("lipsync", "Match", Packet(opening), metadata) as stream:
        async for packet in stream.exchange(packets()):
            for match in packet.message.matches.matches:
                person, shot = mouths[match.mouth]
                fits.append(VoiceFit(person.index, shot, match.seconds, match.score))
    return fits


def _some_frames(analysis: Analysis, person: Person, first: int, end: int) -> np.ndarray:
    """Frames of the shot in which the person is seen, not more than are worth looking at."""
    seconds = analysis.seconds
    rate = len(seconds) / max(float(seconds[-1]), 1e-3)
    step = max(1, round(rate / _MATCH_RATE))
    frames = person.frames
    frames = frames[(frames >= first) & (frames < end) & (frames % step == 0)]
    return frames[seconds[frames] < _MATCH_SECONDS]


def score_persons(persons: Sequence[Person], fits: Sequence[VoiceFit]) -> dict[int, float]:
    """By index: how much of the voice heard in those shots each mouth explains."""
    heard: dict[int, float] = {}
    for fit in fits:
        heard[fit.shot] = max(heard.get(fit.shot, 0.0), fit.seconds)
    total = max(sum(heard.values()), 1e-6)
    return {
        person.index: sum(fit.seconds * fit.score for fit in fits if fit.person == person.index) / total
        for person in persons
    }


def choose_speakers(analysis: Analysis, persons: Sequence[Person], fits: Sequence[VoiceFit]) -> list[Chosen]:
    """Who is driven when nobody was named: one person wherever he or she is seen; in other shots, that shot's own.

    The first is the one for the source as a whole. Who listens to the first one's voice in a shot alone is left alone.
    """
    if len(persons) == 1:
        return [Chosen(persons[0], persons[0].rows, "only", 1.0)]
    end = len(analysis.pts)
    first, how, confidence = _choose(analysis, persons, fits, 0, end)
    rows = {first.index: first.rows.copy()}
    found = {first.index: (how, confidence)}
    for number, (begin, stop) in enumerate(find_shots(analysis.faces)):
        here = [person for person in persons if (person.rows[begin:stop] >= 0).any()]
        if not here or first in here:
            continue
        own = [fit for fit in fits if fit.shot == number]
        person, how_here, confidence_here = _choose(analysis, here, own, begin, stop)
        if how == "speaker" and _only_listens(person, own):
            continue
        rows.setdefault(person.index, np.full(end, -1, np.int64))[begin:stop] = person.rows[begin:stop]
        found.setdefault(person.index, (how_here, confidence_here))
    chosen = [Chosen(person, rows[person.index], *found[person.index]) for person in persons if person.index in rows]
    chosen.sort(key=lambda one: (one.person is not first, -int((one.rows >= 0).sum())))
    return chosen[:MOST_DRIVEN]


def _choose(
    analysis: Analysis, persons: Sequence[Person], fits: Sequence[VoiceFit], begin: int, end: int
) -> tuple[Person, str, float]:
    """Person, how, confidence among those seen in the frames from `begin` to before `end`."""
    by_size = max(persons, key=lambda person: cover(analysis.faces, person, begin, end))
    seconds = sum(max(fit.seconds for fit in fits if fit.shot == shot) for shot in {fit.shot for fit in fits})
    if len(persons) == 1:
        return by_size, "only", 1.0
    if seconds == 0:
        return by_size, "largest", 0.0
    scores = score_persons(persons, fits)
    best = max(persons, key=lambda person: scores[person.index])
    confidence = confide(scores, best.index, seconds)
    if confidence >= SURE and scores[best.index] >= _FITS:
        return best, "speaker", confidence
    return by_size, "largest", confide(scores, by_size.index, seconds)


def confide(scores: dict[int, float], index: int, seconds: float) -> float:
    """That this person speaks and none of the others."""
    margin = scores[index] - max(score for other, score in scores.items() if other != index)
    return float(1 / (1 + np.exp(-_SLOPE * margin * np.sqrt(seconds))))


def _only_listens(person: Person, fits: Sequence[VoiceFit]) -> bool:
    return any(fit.person == person.index and fit.seconds >= _LISTENS_SECONDS and fit.score < _LISTENS for fit in fits)
