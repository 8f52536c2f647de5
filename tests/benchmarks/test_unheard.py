"""Clips that taught the voice model are judged by models that they did not teach."""

from collections.abc import Iterator

import pytest

from benchmarks.quality.tables import GOOD_TRUTH
from benchmarks.quality.unheard import VOICES, choose_voice_model, use_unheard
from services.lipsync.engines.rewrite import voice

SHIPPED = voice.MODEL_FILE


@pytest.fixture(autouse=True)
def shipped() -> Iterator[None]:
    yield
    voice.MODEL_FILE = SHIPPED
    voice.load_voice_model.cache_clear()


def test_a_clip_is_judged_by_a_model_that_never_heard_it() -> None:
    assert {choose_voice_model(clip).parent for clip in GOOD_TRUTH} == {VOICES}
    assert choose_voice_model("latentsync_1") != choose_voice_model("latentsync_3")


def test_a_clip_that_taught_nothing_is_judged_by_the_engines_own() -> None:
    assert choose_voice_model("somebody_new") == SHIPPED


def test_the_engine_answers_with_the_model_chosen() -> None:
    own = voice.load_voice_model()
    use_unheard("latentsync_1")
    judge = voice.load_voice_model()
    assert judge is not own
    assert (judge.rest == own.rest).all(), "everybody's usual mouth is the same one"
    use_unheard("somebody_new")
    assert voice.MODEL_FILE == SHIPPED
