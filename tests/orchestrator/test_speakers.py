"""Who is driven, and what is said when the face named is not there."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from services.orchestrator.analysis import Analysis
from services.orchestrator.choice import FaceBox, FaceChoice, Speaker
from services.orchestrator.likeness import ARCFACE, LANDMARKS
from services.orchestrator.naming import choose_by_box, choose_by_index, choose_by_photo
from services.orchestrator.options import JobOptions
from services.orchestrator.persons import Person, find_persons
from services.orchestrator.speakers import Chosen, VoiceFit, choose_speakers, score_persons
from services.runtime.frames import FrameFormat, PixelFormat
from services.runtime.refusal import Refusal
from tests.orchestrator.test_faces import Seen, detect
from tests.orchestrator.test_persons import look

RATE = 25


def analyse(
    seen: list[Seen], frames: int, cuts: list[int] | None = None, looks: dict[int, int] | None = None
) -> Analysis:
    faces, meshes = detect(seen, frames, cuts or [])
    descriptions = {track: look(number) for track, number in (looks or {}).items()}
    frame_format = FrameFormat(800, 400, PixelFormat.YUV420P)
    return Analysis(frame_format, Fraction(1, RATE), np.arange(frames), faces, meshes, descriptions, {})


def cast(analysis: Analysis) -> list[Person]:
    return find_persons(analysis.faces, analysis.descriptions)


def tracks(analysis: Analysis, chosen: Chosen) -> list[int]:
    """By frame; 0: not driven."""
    return [int(analysis.faces.track[row]) if row >= 0 else 0 for row in chosen.rows]


SIDE_BY_SIDE = [Seen(1, 0, 50, (200, 200), size=90), Seen(2, 0, 50, (600, 200), size=140)]


def choose(analysis: Analysis, *fits: tuple[int, int, float, float]) -> list[Chosen]:
    return choose_speakers(analysis, cast(analysis), [VoiceFit(*fit) for fit in fits])


def test_the_only_face_needs_no_judge() -> None:
    analysis = analyse(SIDE_BY_SIDE[:1], 50)
    (chosen,) = choose(analysis)
    assert (chosen.how, chosen.confidence, tracks(analysis, chosen)) == ("only", 1.0, [1] * 50)


def test_who_fits_the_voice_speaks_though_another_is_larger() -> None:
    analysis = analyse(SIDE_BY_SIDE, 50)
    (chosen,) = choose(analysis, (1, 0, 2.0, 0.6), (2, 0, 2.0, 0.1))
    assert (chosen.how, chosen.person.index) == ("speaker", 1)
    assert 0.95 < chosen.confidence < 1


@pytest.mark.parametrize(
    "fits",
    [
        (),
        ((1, 0, 0.0, 0.0), (2, 0, 0.0, 0.0)),  # a silent source
        ((1, 0, 2.0, 0.31), (2, 0, 2.0, 0.3)),  # no clear winner
        ((1, 0, 9.0, 0.05), (2, 0, 9.0, -0.5)),  # nobody's voice
    ],
)
def test_without_a_clear_winner_the_largest_is_driven(fits: tuple[tuple[int, int, float, float], ...]) -> None:
    (chosen,) = choose(analyse(SIDE_BY_SIDE, 50), *fits)
    assert (chosen.how, chosen.person.index) == ("largest", 2)
    assert chosen.confidence < 0.75


SHOTS = [
    *(Seen(track, 0, 50, at) for track, at in ((1, (200, 200)), (2, (600, 200)))),
    Seen(3, 50, 100, (400, 200), size=180),
    Seen(4, 100, 150, (300, 200)),
]
LOOKS = {1: 7, 2: 8, 3: 9, 4: 7}  # the last shot shows the first one's left person


def test_the_speaker_keeps_the_part_and_other_shots_have_their_own() -> None:
    analysis = analyse(SHOTS, 150, [50, 100], LOOKS)
    fits = ((1, 0, 2.0, 0.6), (2, 0, 2.0, 0.0), (3, 1, 1.0, 0.2), (1, 2, 2.0, 0.5))
    first, other = choose(analysis, *fits)
    assert (first.person.index, first.how, tracks(analysis, first)) == (1, "speaker", [1] * 50 + [0] * 50 + [4] * 50)
    assert tracks(analysis, other) == [0] * 50 + [3] * 50 + [0] * 50


def test_who_listens_to_anothers_voice_is_left_alone() -> None:
    analysis = analyse(SHOTS, 150, [50, 100], LOOKS)
    (chosen,) = choose(analysis, (1, 0, 2.0, 0.6), (2, 0, 2.0, 0.0), (3, 1, 2.0, 0.0), (1, 2, 2.0, 0.5))
    assert chosen.person.index == 1


def test_without_sound_every_shot_has_its_largest() -> None:
    analysis = analyse(SHOTS, 150, [50, 100], LOOKS)
    driven = choose(analysis)
    together = [max(frame) for frame in zip(*(tracks(analysis, chosen) for chosen in driven), strict=True)]
    assert together == [1] * 50 + [3] * 50 + [4] * 50


def test_a_voice_heard_longer_counts_more() -> None:
    analysis = analyse(SHOTS, 150, [50, 100], {1: 7, 2: 8, 3: 9, 4: 8})
    fits = [VoiceFit(*fit) for fit in ((1, 0, 1.0, 0.5), (2, 0, 1.0, 0.4), (3, 1, 1.0, 0.0), (2, 2, 8.0, 0.5))]
    scores = score_persons(cast(analysis), fits)
    assert scores == pytest.approx({1: 0.05, 2: 0.44, 3: 0.0})


def test_a_face_by_its_number() -> None:
    analysis = analyse(SIDE_BY_SIDE, 50)
    assert choose_by_index(analysis, cast(analysis), 2).person.index == 2
    with pytest.raises(Refusal, match=r"face 3 .* 2 faces: face 1 from 0.00 s at x 155, .* face 2 from 0.00 s") as told:
        choose_by_index(analysis, cast(analysis), 3)
    assert told.value.reason == "FACE_NOT_FOUND"


@pytest.mark.parametrize(
    ("box", "index"),
    [
        (FaceBox(550, 150, 100, 100), 2),
        (FaceBox(0, 0, 400, 400, time=1.99), 1),
        (FaceBox(0, 0, 800, 400), 1),  # both are wholly inside: the first
        (FaceBox(0.7, 0.4, 0.05, 0.05, fractions=True), 2),
    ],
)
def test_a_face_by_a_box(box: FaceBox, index: int) -> None:
    analysis = analyse(SIDE_BY_SIDE, 50)
    assert choose_by_box(analysis, cast(analysis), box).person.index == index


@pytest.mark.parametrize(
    ("box", "reason", "told"),
    [
        (FaceBox(380, 380, 10, 10), "FACE_NOT_FOUND", "no face meets the box at 0 s; there is face 1 at x 150"),
        (FaceBox(150, 150, 90, 90, time=0.2), "FACE_NOT_FOUND", "no face at all in that frame"),
        (FaceBox(150, 150, 90, 90, time=99), "INVALID_OPTION", "99 s; the video's last frame is shown at 1.960 s"),
    ],
)
def test_a_box_without_a_face(box: FaceBox, reason: str, told: str) -> None:
    analysis = analyse([Seen(track.track, 0, 50, track.at, holes=(5,)) for track in SIDE_BY_SIDE], 50)
    with pytest.raises(Refusal, match=told) as refusal:
        choose_by_box(analysis, cast(analysis), box)
    assert refusal.value.reason == reason


def test_a_face_by_a_photo() -> None:
    analysis = analyse(SIDE_BY_SIDE, 50, looks={1: 7, 2: 8})
    chosen = choose_by_photo(analysis, cast(analysis), analyse([Seen(1, 0, 1, (300, 200))], 1, looks={1: 8}))
    assert (chosen.person.index, chosen.how, chosen.confidence) == (2, "reference", pytest.approx(1))


ONE, TWO = [Seen(1, 0, 1, (300, 200))], [Seen(1, 0, 1, (300, 200)), Seen(2, 0, 1, (600, 200))]


def test_a_face_by_a_photo_of_another_day() -> None:
    """Embeddings that agree by half are one person's; nobody else comes near."""
    near, far = (np.float32([[1, 0, 0], [0, 1, 0]])), np.float32([[0.5, 0.1, 0.86]])
    analysis = replace(analyse(SIDE_BY_SIDE, 20), descriptions=dict(enumerate(near, 1)), measure=ARCFACE)
    photo = replace(analyse(ONE, 1), descriptions={1: far[0]}, measure=ARCFACE)
    persons = find_persons(analysis.faces, analysis.descriptions, analysis.measure)
    chosen = choose_by_photo(analysis, persons, photo)
    assert (chosen.person.index, chosen.how, chosen.confidence) == (1, "reference", pytest.approx(0.5, abs=0.01))
    with pytest.raises(Refusal, match="known by arcface, the photo's by landmarks") as told:
        choose_by_photo(analysis, persons, replace(photo, measure=LANDMARKS))
    assert told.value.reason == "SERVICE_UNAVAILABLE"


@pytest.mark.parametrize(
    ("photo", "reason", "told"),
    [
        (analyse([], 1), "NO_FACE", "shows no face"),
        (analyse(TWO, 1, looks={1: 7, 2: 8}), "INVALID_OPTION", "shows 2 faces"),
        (analyse(SIDE_BY_SIDE, 50), "INVALID_OPTION", "is a video"),
        (analyse(ONE, 1, looks={1: 99}), "FACE_NOT_FOUND", "nobody .* looks clearly like .* face 1 0.00, face 2 0.00"),
    ],
)
def test_a_photo_that_does_not_help(photo: Analysis, reason: str, told: str) -> None:
    analysis = analyse(SIDE_BY_SIDE, 50, looks={1: 7, 2: 8})
    with pytest.raises(Refusal, match=told) as refusal:
        choose_by_photo(analysis, cast(analysis), photo)
    assert refusal.value.reason == reason


def test_a_photo_of_one_of_twins_is_refused() -> None:
    analysis = analyse(SIDE_BY_SIDE, 50, looks={1: 7, 2: 7})
    with pytest.raises(Refusal, match="nobody in the video looks clearly like"):
        choose_by_photo(analysis, cast(analysis), analyse(ONE, 1, looks={1: 7}))


A, B = "a" * 64, "b" * 64


def test_choices_survive_the_store() -> None:
    speakers = (
        Speaker(FaceChoice(index=2), A),
        Speaker(FaceChoice(box=FaceBox(0.1, 0.2, 0.3, 0.4, 1.5, True)), B, 2.5),
    )
    for options in (JobOptions(speakers=speakers), JobOptions(face=FaceChoice(reference=A)), JobOptions()):
        assert JobOptions.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FaceChoice(index=0), "count from 1"),
        (lambda: FaceBox(0, 0, 0, 10), "above 0"),
        (lambda: FaceBox(0, 0, 10, 10, time=-1), "counts from 0"),
        (lambda: FaceBox(float("nan"), 0, 10, 10), "finite"),
        (lambda: Speaker(FaceChoice(), A), "must name a face"),
        (lambda: Speaker(FaceChoice(index=1), A, -1), "0 to 86400"),
        (lambda: JobOptions(speakers=(Speaker(FaceChoice(index=1), A),) * 9), "up to 8"),
        (lambda: JobOptions(speakers=(Speaker(FaceChoice(index=1), A),), face=FaceChoice(index=1)), "leave the option"),
    ],
)
def test_choices_that_make_no_sense_are_refused(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(Refusal, match=told) as refusal:
        make()
    assert refusal.value.reason == "INVALID_OPTION"
