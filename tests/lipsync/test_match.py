"""Whose voice it is, among people whose mouths and voices are known exactly."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from services.lipsync.engines import SPEECH_RATE, Mouth, VoiceMatch, load_engine
from services.lipsync.engines.rewrite import RewriteEngine
from services.lipsync.engines.rewrite.match import RewriteMatching
from services.lipsync.servicer import LipsyncServicer
from services.runtime.convert import from_fraction, from_mesh, from_samples
from services.runtime.streams import MAX_BATCH_ITEMS
from services.runtime.wire import Packet
from syncline import errors
from syncline.v1 import lipsync_pb2 as pb
from syncline.v1 import lipsync_pb2_grpc
from tests.lipsync.people import make_points, open_mouths, pose, speak
from tests.stages import converse, is_packet, is_refused, run, serving

RATE = 25
SECONDS = 5.0


def say(openness: np.ndarray, mouth: int, lead: float = 0.0, size: float = 0.2) -> list[Mouth]:
    """The mouth of whoever says that, its lips `lead` seconds early."""
    times = np.arange(int(SECONDS * RATE)) / RATE + lead
    openings = size * np.interp(times * SPEECH_RATE, np.arange(len(openness)), openness)
    meshes = pose(make_points(open_mouths(openings)))
    return [Mouth(mouth, frame, mesh) for frame, mesh in enumerate(meshes)]


def match(voice: np.ndarray | None, mouths: list[Mouth]) -> dict[int, VoiceMatch]:
    matching = RewriteMatching(Fraction(1, RATE))
    if voice is not None:
        matching.add_speech(voice)
    for mouth in mouths:
        matching.add_mouths([mouth])
    return {found.mouth: found for found in matching.finish()}


@pytest.mark.parametrize("lead", [-0.12, 0.0, 0.12])
def test_the_mouth_that_says_it_fits_best(lead: float) -> None:
    voice, openness = speak(SECONDS, seed=1)
    _, other = speak(SECONDS, seed=2)
    found = match(voice, say(other, 4) + say(openness, 9, lead))
    assert list(found) == [4, 9]
    assert found[9].score > found[4].score + 0.15
    assert found[9].seconds == pytest.approx(found[4].seconds)
    assert 1.5 < found[9].seconds <= SECONDS


def test_a_mouth_at_rest_fits_nothing() -> None:
    voice, openness = speak(SECONDS, seed=1)
    found = match(voice, say(openness, 1) + say(np.zeros_like(openness), 2))
    assert abs(found[2].score) < 0.05
    assert found[1].score > 0.2


@pytest.mark.parametrize("voice", [None, np.zeros(int(SECONDS) * SPEECH_RATE, np.float32)], ids=["none", "silence"])
def test_without_a_voice_nothing_is_known(voice: np.ndarray | None) -> None:
    _, openness = speak(SECONDS, seed=1)
    assert match(voice, say(openness, 1)) == {1: VoiceMatch(1, 0.0, 0.0)}


def test_a_glimpse_says_nothing() -> None:
    voice, openness = speak(SECONDS, seed=1)
    assert match(voice, say(openness, 1)[20:26])[1].seconds == 0
    assert match(voice, []) == {}


TIME_BASE = from_fraction(Fraction(1, RATE))


def opening(**fields: Any) -> Packet:
    return Packet(pb.MatchRequest(open=pb.MatchOpen(**{"time_base": TIME_BASE} | fields)))


def mouths_of(mouths: list[Mouth], size: int = 32) -> list[Packet]:
    return [
        Packet(
            pb.MatchRequest(
                mouths=pb.MouthBatch(
                    sequence=sequence,
                    mouths=[
                        pb.Mouth(mouth=mouth.mouth, pts=mouth.pts, landmarks=from_mesh(mouth.landmarks))
                        for mouth in mouths[first : first + size]
                    ],
                )
            )
        )
        for sequence, first in enumerate(range(0, len(mouths), size))
    ]


def sound_of(voice: np.ndarray, first: int = 0) -> Packet:
    chunk, payload = from_samples(0, voice, SPEECH_RATE, first)
    return Packet(pb.MatchRequest(speech=chunk), payload)


def ask(opening: Packet, packets: list[Packet]) -> list[Any]:
    async def call() -> list[Any]:
        engine = load_engine("rewrite")
        assert isinstance(engine, RewriteEngine)
        async with serving(LipsyncServicer(engine)) as served:
            return await converse(lipsync_pb2_grpc.LipsyncServiceStub(served.channel).Match, opening, packets)

    return run(call())


def test_the_wire_tells_what_the_engine_finds() -> None:
    voice, openness = speak(SECONDS, seed=1)
    mouths = say(openness, 7)
    (answer,) = [
        answer for answer in ask(opening(), [sound_of(voice), *mouths_of(mouths)]) if is_packet(answer, "matches")
    ]
    (found,) = answer.message.matches.matches
    wanted = match(voice, mouths)[7]
    assert (found.mouth, found.seconds, found.score) == pytest.approx((7, wanted.seconds, wanted.score), abs=1e-5)


def one_mouth(numbers: int = 1404, count: int = 1, sequence: int = 0) -> Packet:
    mouth = pb.Mouth(mouth=1, landmarks={"xyz": [1.0] * numbers})
    return Packet(pb.MatchRequest(mouths=pb.MouthBatch(sequence=sequence, mouths=[mouth] * count)))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: (opening(engine="other"), []), errors.UnknownEngine),
        (lambda: (opening(time_base=None), []), errors.InvalidOption),
        (lambda: (opening(), [one_mouth(count=0)]), errors.InvalidBatch),
        (lambda: (opening(), [one_mouth(numbers=12)]), errors.InvalidBatch),
        (lambda: (opening(), [one_mouth(sequence=3)]), errors.OutOfOrder),
        (lambda: (opening(), [one_mouth(count=MAX_BATCH_ITEMS + 1)]), errors.BatchTooLarge),
        (lambda: (opening(), [sound_of(np.zeros(100, np.float32), first=7)]), errors.OutOfOrder),
    ],
)
def test_bad_messages_are_refused(
    make: Callable[[], tuple[Packet, list[Packet]]], error: type[errors.SynclineError]
) -> None:
    async def call() -> None:
        async with serving(LipsyncServicer(load_engine("rewrite"))) as served:
            method = lipsync_pb2_grpc.LipsyncServiceStub(served.channel).Match
            await is_refused(error, converse(method, *make()))

    run(call())
