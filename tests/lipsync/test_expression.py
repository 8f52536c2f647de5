"""How the person is to speak: every option does what it says, on faces and voices whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest

from services.lipsync.engines import SPEECH_RATE, Expression, PrepareSettings, TrackPoint
from services.lipsync.engines.rewrite import RewriteEngine, blob, voice
from services.lipsync.engines.rewrite.fit import Range
from services.lipsync.engines.rewrite.shape import MEASURES, Measure
from services.lipsync.engines.rewrite.wish import press_lips, smooth_over_time
from services.runtime.blobs import Blob
from services.runtime.faces import Crop
from services.runtime.refusal import Refusal

from .people import film, open_mouths, speak

RATE = 25
SECONDS = 2
KNOWN = Range(np.zeros(MEASURES), np.full(MEASURES, 0.2))


@dataclass(frozen=True)
class Job:
    """A source learned, and frames of it that are to say something new."""

    engine: RewriteEngine
    prepared: Blob
    targets: list[Crop]

    def plan(self, expression: Expression) -> Blob:
        planning = self.engine.open_planning(self.prepared, len(self.targets), Fraction(1, RATE), expression)
        planning.add_speech(speak(SECONDS, seed=3)[0])
        planning.add_track([TrackPoint(crop.frame, crop.frame, crop.frame, crop.landmarks) for crop in self.targets])
        return planning.finish()

    def wanted(self, expression: Expression) -> np.ndarray:
        """Openings (n,)."""
        return np.asarray(blob.unpack("plan", self.plan(expression))["wanted"])[:, Measure.OPENING]

    def sync(self, expression: Expression, every: int = 1) -> list[Crop]:
        rendering = self.engine.open_rendering(self.prepared, self.plan(expression), expression)
        return [rendering.sync(crop) for crop in self.targets[::every]]

    def pictures(self, answers: Sequence[Crop]) -> list[np.ndarray]:
        weights = [answer.pixels[..., 3:] / 255 for answer in answers]
        return [
            target.pixels * (1 - weight) + answer.pixels[..., :3] * weight
            for target, answer, weight in zip(self.targets, answers, weights, strict=True)
        ]

    def darkness(self, answers: Sequence[Crop]) -> np.ndarray:
        """Pixels of each frame's lower face as dark as the mouth's inside. (n,)"""
        half = int(self.targets[0].landmarks[1, 1])
        return np.array([int((picture[half:].max(axis=2) < 90).sum()) for picture in self.pictures(answers)])


def learn(source: list[Crop], sound: np.ndarray) -> Job:
    engine = RewriteEngine()
    preparation = engine.open_preparation(PrepareSettings(Fraction(1, RATE), 1.0))
    preparation.add_speech(sound)
    preparation.add_crops(source)
    frames = range(SECONDS * RATE)
    targets = [replace(source[frame % len(source)], frame=frame, pts=frame) for frame in frames]
    return Job(engine, preparation.finish().blob, targets)


@pytest.fixture(scope="module")
def film_job() -> Job:
    speech, openness = speak(5)
    places = np.arange(5 * RATE) * SPEECH_RATE // RATE
    return learn(film(0.3 * openness[places]), speech)


@pytest.fixture(scope="module")
def photo_job() -> Job:
    return learn(film(np.zeros(1)), np.zeros(0, np.float32))


def test_intensity_opens_a_filmed_mouth_further(film_job: Job) -> None:
    answers = [film_job.sync(Expression(mouth_intensity=value)) for value in (0.5, 1.0, 1.5)]
    little, usual, much = (film_job.darkness(frames) for frames in answers)
    widest = usual > np.percentile(usual, 80)
    assert little[widest].mean() < 0.8 * usual[widest].mean()
    assert much[widest].mean() > 1.1 * usual[widest].mean()
    # What was filmed sets a limit: beyond it mouths would have to be drawn.
    assert {answer.outcome for answer in answers[2]} == {answer.outcome for answer in answers[1]}


def test_intensity_opens_a_photos_mouth_further(photo_job: Job) -> None:
    photo = photo_job.targets[0].pixels
    answers = [photo_job.sync(Expression(mouth_intensity=value)) for value in (0.5, 1.0, 1.5)]
    little, usual, much = (
        max(float(np.abs(picture - photo).mean()) for picture in photo_job.pictures(frames)) for frames in answers
    )
    assert 1.2 * little < usual < much / 1.2


def test_smoothing_calms_the_mouth(film_job: Job) -> None:
    wanted = [film_job.wanted(Expression(smoothing=value)) for value in (0.0, 0.2, 1.0)]
    at_once, usual, calm = (np.abs(np.diff(opening)).mean() for opening in wanted)
    assert at_once > usual > 1.7 * calm


@pytest.mark.parametrize("kind", ["film_job", "photo_job"])
def test_padding_makes_the_new_part_larger(kind: str, request: pytest.FixtureRequest) -> None:
    job = request.getfixturevalue(kind)
    tight, usual, wide = (
        np.mean([(answer.pixels[..., 3] > 0).mean() for answer in job.sync(Expression(padding=value), every=6)])
        for value in (0.5, 1.0, 1.5)
    )
    assert 1.05 * tight < usual < wide / 1.05


def test_lips_are_pressed_where_they_are_likely_closed_and_nowhere_else() -> None:
    wanted = open_mouths(np.full(100, 0.5) * KNOWN.span[Measure.OPENING])
    opening = wanted[:, Measure.OPENING]
    closing = 0.05 + 0.35 * np.exp(-0.5 * ((np.arange(100) - 30) / 1.5) ** 2)
    half, whole = (press_lips(wanted, closing, KNOWN, strength)[:, Measure.OPENING] for strength in (0.4, 1.0))
    assert 0.2 * opening[30] < half[30] < 0.8 * opening[30]
    assert whole[30] == pytest.approx(0, abs=0.002)
    for pressed in (half, whole):
        np.testing.assert_array_equal(pressed[:20], opening[:20])
        np.testing.assert_array_equal(pressed[40:], opening[40:])
    np.testing.assert_array_equal(press_lips(wanted, closing, KNOWN, 0.0), wanted)
    np.testing.assert_array_equal(press_lips(wanted[:1], closing[:1], KNOWN, 1.0), wanted[:1])


def test_closure_reaches_the_lips(film_job: Job) -> None:
    loose, pressed = (film_job.wanted(Expression(closure_strength=value)) for value in (0.0, 1.0))
    assert (pressed <= loose + 1e-6).all()
    closer = loose - pressed > 0.02
    assert closer.any()
    shown = [film_job.darkness(film_job.sync(Expression(closure_strength=value)))[closer] for value in (0.0, 1.0)]
    assert shown[1].mean() < 0.9 * shown[0].mean()


def test_no_smoothing_leaves_every_step_and_the_most_takes_a_quarter_of_a_second() -> None:
    blink = np.zeros((101, 1))
    blink[50] = 1
    np.testing.assert_array_equal(smooth_over_time(blink, 0.0), blink)
    blurred = smooth_over_time(blink, 1.0)[:, 0]
    assert (blurred > blurred.max() / 2).sum() / voice.MOUTH_RATE == pytest.approx(0.25, abs=0.03)
    assert blurred.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mouth_intensity", 0.4),
        ("mouth_intensity", 1.6),
        ("smoothing", -0.1),
        ("smoothing", 1.1),
        ("closure_strength", 2.0),
        ("closure_strength", float("nan")),
        ("padding", 0.0),
        ("padding", float("inf")),
    ],
)
def test_what_is_out_of_range_is_refused(field: str, value: float) -> None:
    with pytest.raises(Refusal, match=f"{field} is .*; the range is") as refused:
        Expression(**{field: value})
    assert (refused.value.reason, refused.value.metadata) == ("INVALID_OPTION", {"field": field})
