"""The whole engine: a filmed person learns nothing new, yet says what was never filmed."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from services.lipsync.engines import SPEECH_RATE, Prepared, PrepareSettings, Rendering, TrackPoint, load_engine
from services.lipsync.engines.rewrite import RewriteEngine, blob, shape
from services.runtime.blobs import Spool
from services.runtime.faces import Crop, CropOutcome
from services.runtime.refusal import Refusal

from .people import film, speak

RATE = 25
SILENCE = np.zeros(2 * SPEECH_RATE, np.float32)


@pytest.fixture(scope="module")
def engine() -> RewriteEngine:
    loaded = load_engine("rewrite")
    assert isinstance(loaded, RewriteEngine)
    return loaded


def prepare(engine: RewriteEngine, crops: Sequence[Crop], speech: np.ndarray) -> Prepared:
    preparation = engine.open_preparation(PrepareSettings(Fraction(1, RATE), 1.0))
    for first in range(0, len(speech), SPEECH_RATE):
        preparation.add_speech(speech[first : first + SPEECH_RATE])
    for first in range(0, len(crops), 16):
        preparation.add_crops(crops[first : first + 16])
    return preparation.finish()


def plan(engine: RewriteEngine, prepared: bytes, targets: Sequence[Crop], speech: np.ndarray) -> bytes:
    planning = engine.open_planning(prepared, len(targets), Fraction(1, RATE))
    planning.add_speech(speech)
    for first in range(0, len(targets), 10):
        points = enumerate(targets[first : first + 10], first)
        planning.add_track([TrackPoint(frame, frame, crop.frame, crop.landmarks) for frame, crop in points])
    return planning.finish()


def retell(targets: Sequence[Crop]) -> list[Crop]:
    """The crops numbered as output frames."""
    return [Crop(frame, frame, crop.pixels, crop.landmarks) for frame, crop in enumerate(targets)]


@pytest.fixture(scope="module")
def speaker() -> tuple[list[Crop], np.ndarray]:
    """Ten seconds of somebody who speaks."""
    speech, openness = speak(10)
    places = np.arange(10 * RATE) * SPEECH_RATE // RATE
    return film(0.3 * openness[places]), speech


@pytest.fixture(scope="module")
def prepared(engine: RewriteEngine, speaker: tuple[list[Crop], np.ndarray]) -> Prepared:
    return prepare(engine, *speaker)


@pytest.fixture(scope="module")
def rendering(engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray]) -> Rendering:
    """Four seconds of new speech over the speaker's first four seconds."""
    targets = speaker[0][: 4 * RATE]
    return engine.open_rendering(prepared.blob, plan(engine, prepared.blob, targets, speak(4, seed=3)[0]))


def blend(target: Crop, answer: Crop) -> np.ndarray:
    weight = answer.pixels[..., 3:] / 255
    return np.asarray(target.pixels * (1 - weight) + answer.pixels[..., :3] * weight)


def darkness(target: Crop, picture: np.ndarray) -> int:
    """Pixels of the lower face as dark as the mouth's inside is painted."""
    half = int(target.landmarks[1, 1])
    return int((picture[half:].max(axis=2) < 90).sum())


def test_it_learns_the_person(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray]
) -> None:
    assert prepared.candidates == len(speaker[0])
    assert prepared.fitted
    assert prepared.fit_correlation > 0.5
    assert prepared.blob.size < 64 * 2**20
    assert engine.info.name == "rewrite"
    assert engine.info.models[0].sha256


def test_the_mouth_says_the_new_speech(rendering: Rendering, speaker: tuple[list[Crop], np.ndarray]) -> None:
    _, openness = speak(4, seed=3)
    targets = retell(speaker[0][: 4 * RATE])
    answers = [rendering.sync(crop) for crop in targets]
    assert {answer.outcome for answer in answers} <= {CropOutcome.SYNCED, CropOutcome.WARPED, CropOutcome.DRAWN}
    assert sum(answer.outcome is CropOutcome.SYNCED for answer in answers) > len(answers) / 2
    shown = [darkness(crop, blend(crop, answer)) for crop, answer in zip(targets, answers, strict=True)]
    wanted = openness[np.arange(4 * RATE) * SPEECH_RATE // RATE]
    before = [darkness(crop, crop.pixels) for crop in targets]
    assert np.corrcoef(shown, wanted)[0, 1] > 0.5 > np.corrcoef(before, wanted)[0, 1]


def test_pixels_of_no_weight_are_the_sources_own(rendering: Rendering, speaker: tuple[list[Crop], np.ndarray]) -> None:
    for crop in retell(speaker[0][: 2 * RATE]):
        answer = rendering.sync(crop)
        assert answer.pixels.shape == (*crop.pixels.shape[:2], 4)
        untouched = answer.pixels[..., 3] == 0
        np.testing.assert_array_equal(answer.pixels[untouched][:, :3], crop.pixels[untouched])
        eyes = slice(0, int(crop.landmarks[6, 1]))
        assert (answer.pixels[eyes, :, 3] == 0).all()


def test_frames_do_not_depend_on_their_neighbours(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray]
) -> None:
    targets = retell(speaker[0][:40])
    made = plan(engine, prepared.blob, targets, speak(2, seed=4)[0])
    assert made.hash() == plan(engine, prepared.blob, targets, speak(2, seed=4)[0]).hash()
    whole = engine.open_rendering(prepared.blob, made)
    forwards = [whole.sync(crop).pixels for crop in targets]
    alone = engine.open_rendering(prepared.blob, made)
    for crop in reversed(targets[25:]):
        np.testing.assert_array_equal(alone.sync(crop).pixels, forwards[crop.frame])


@pytest.mark.parametrize("bounce", [False, True])
def test_no_twitch_where_the_source_starts_again_or_turns(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray], bounce: bool
) -> None:
    """Half a second of the source shown again and again, its mouth as unlike at both ends as it gets."""

    def measure_changes(targets: list[Crop]) -> np.ndarray:
        rendering = engine.open_rendering(prepared.blob, plan(engine, prepared.blob, targets, speak(4, seed=3)[0]))
        shown = [blend(crop, rendering.sync(crop)) for crop in targets]
        lower = int(targets[0].landmarks[1, 1])
        return np.array([np.abs(after[lower:] - before[lower:]).mean() for before, after in pairwise(shown)])

    opening = np.array([shape.measure_shape(crop.landmarks)[0] for crop in speaker[0]])
    first = int(np.abs(opening[: 4 * RATE] - opening[12 : 4 * RATE + 12]).argmax())
    once = speaker[0][first : first + 13]
    again = [*once, *once[-2:0:-1]] if bounce else once
    changes = measure_changes(retell((again * 8)[: 4 * RATE]))
    unbroken = measure_changes(retell(speaker[0][: 4 * RATE]))  # the same speech where nothing starts again
    borders = np.arange(12, len(changes), 12 if bounce else 13)
    assert changes[borders].mean() < 1.5 * unbroken.mean()
    assert changes[borders].max() < 1.1 * unbroken.max()


def test_silence_shuts_the_mouth(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray]
) -> None:
    targets = retell(speaker[0][: 2 * RATE])
    silent = engine.open_rendering(prepared.blob, plan(engine, prepared.blob, targets, SILENCE))
    open_before = [crop for crop in targets if shape.measure_shape(crop.landmarks)[0] > 0.12]
    assert len(open_before) > 5
    for crop in open_before:
        assert darkness(crop, blend(crop, silent.sync(crop))) < 0.35 * darkness(crop, crop.pixels)


def test_speech_that_ends_early_leaves_a_mouth_at_rest(engine: RewriteEngine, prepared: Prepared) -> None:
    targets = retell(film(np.full(60, 0.005)))
    made = plan(engine, prepared.blob, targets, speak(1)[0])
    wanted = np.asarray(blob.unpack("plan", made)["wanted"])
    assert wanted[:20, 0].max() > 0.05
    assert wanted[32:, 0].max() < 0.02


def test_a_photo_speaks(engine: RewriteEngine) -> None:
    photo = film(np.zeros(1))
    learned = prepare(engine, photo, np.zeros(0, np.float32))
    assert learned.candidates == 1
    assert not learned.fitted
    speech, openness = speak(3)
    targets = retell(photo * (3 * RATE))
    answers = engine.open_rendering(learned.blob, plan(engine, learned.blob, targets, speech))
    loudest = int(np.argmax(openness) * RATE / SPEECH_RATE)
    wide = answers.sync(targets[loudest])
    assert wide.outcome is CropOutcome.DRAWN
    assert np.abs(blend(photo[0], wide) - photo[0].pixels).max() > 20


def test_frames_without_a_face_pass_through(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray]
) -> None:
    targets = retell(speaker[0][:20])
    targets[7] = Crop(7, 7, targets[7].pixels, None)
    rendering = engine.open_rendering(prepared.blob, plan(engine, prepared.blob, targets, SILENCE))
    answer = rendering.sync(targets[7])
    assert answer.outcome is CropOutcome.PASSED_THROUGH
    assert (answer.pixels[..., 3] == 0).all()
    np.testing.assert_array_equal(answer.pixels[..., :3], targets[7].pixels)


@pytest.mark.parametrize("spoil", [lambda mesh: mesh * 0, lambda mesh: mesh * np.nan, lambda mesh: mesh + 5000])
def test_odd_faces_are_never_an_error(
    engine: RewriteEngine, prepared: Prepared, speaker: tuple[list[Crop], np.ndarray], spoil: object
) -> None:
    targets = retell(speaker[0][:12])
    rendering = engine.open_rendering(prepared.blob, plan(engine, prepared.blob, targets, SILENCE))
    odd = Crop(3, 3, targets[3].pixels, spoil(targets[3].landmarks))  # type: ignore[operator]
    answer = rendering.sync(odd)
    untouched = answer.pixels[..., 3] == 0
    np.testing.assert_array_equal(answer.pixels[untouched][:, :3], odd.pixels[untouched])


def test_a_source_without_a_face_can_be_prepared(engine: RewriteEngine) -> None:
    learned = prepare(engine, [Crop(0, 0, np.zeros((64, 64, 3), np.uint8), None)], SILENCE)
    assert learned.candidates == 0
    assert plan(engine, learned.blob, [Crop(0, 0, np.zeros((64, 64, 3), np.uint8), None)], SILENCE).size


def test_what_does_not_belong_together_is_refused(engine: RewriteEngine, prepared: Prepared) -> None:
    targets = retell(film(np.zeros(5)))
    made = plan(engine, prepared.blob, targets, SILENCE)
    small = prepare(engine, targets[:1], SILENCE).blob
    forged = blob.pack("plan", blob.unpack("plan", made) | {"candidates": np.full(5, 3, np.int32)})
    for arguments in (
        (made, made),
        (prepared.blob, prepared.blob),
        (Spool(), made),
        (prepared.blob, Spool.of(made.read(0, made.size - 1))),
        (small, forged),
    ):
        with pytest.raises(Refusal) as refused:
            engine.open_rendering(*arguments)
        assert refused.value.reason == "BLOB_UNUSABLE"


def test_a_track_must_be_whole_and_in_order(engine: RewriteEngine, prepared: Prepared) -> None:
    planning = engine.open_planning(prepared.blob, 3, Fraction(1, RATE))
    planning.add_track([TrackPoint(0, 0, 0, None)])
    with pytest.raises(Refusal) as refused:
        planning.add_track([TrackPoint(2, 2, 2, None)])
    assert refused.value.reason == "OUT_OF_ORDER"
    with pytest.raises(Refusal) as refused:
        planning.finish()
    assert refused.value.reason == "INVALID_BATCH"


def test_a_frame_beyond_the_plan_is_refused(rendering: Rendering, speaker: tuple[list[Crop], np.ndarray]) -> None:
    crop = speaker[0][0]
    with pytest.raises(Refusal) as refused:
        rendering.sync(Crop(4 * RATE, 0, crop.pixels, crop.landmarks))
    assert refused.value.reason == "INVALID_BATCH"
