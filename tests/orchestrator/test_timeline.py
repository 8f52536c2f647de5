"""Timelines against what their sync mode promises, for even and uneven frames."""

from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.timeline import (
    SPEEDS,
    SyncMode,
    Timeline,
    build_photo_timeline,
    build_timeline,
    cut_segments,
    keep_range,
    nearest_standard_rate,
    to_constant_rate,
)
from services.runtime.refusal import Refusal

NTSC = Fraction(1001, 30000)  # seconds per frame

frame_gaps = st.lists(st.integers(15, 120), min_size=0, max_size=60)  # milliseconds
durations = st.fractions(Fraction(1, 1000), 12, max_denominator=48000)
starts = st.integers(-5000, 5000)
REPEATING = [mode for mode in SyncMode if mode is not SyncMode.REMAP]  # which has bounds of its own


def build_uneven(gaps: list[int], start: int, duration: Fraction, mode: SyncMode) -> tuple[list[int], Timeline]:
    """A source in milliseconds whose last frame lasts 40 ms, moved to begin at 0, and its timeline."""
    relative = [sum(gaps[:index]) for index in range(len(gaps) + 1)]
    pts = [start + time for time in relative]
    return relative, build_timeline(pts, Fraction(1, 1000), Fraction(1, 25), duration, mode)


@given(frame_gaps, starts, durations, st.sampled_from(REPEATING))
def test_every_mode_keeps_the_rules_of_a_timeline(gaps, start, duration, mode):
    relative, timeline = build_uneven(gaps, start, duration, mode)
    end = Fraction(relative[-1] + 40, 1000)

    assert timeline.pts[0] == 0
    assert timeline.source[0] == 0
    assert (np.diff(timeline.pts) > 0).all()
    lasts = {SyncMode.CUT_OFF: min(duration, end), SyncMode.SILENCE: end}
    assert timeline.duration == lasts.get(mode, duration)
    last_start = int(timeline.pts[-1]) * timeline.time_base
    assert last_start < timeline.duration <= timeline.end
    assert timeline.durations.sum() * timeline.time_base == timeline.end
    assert timeline.frame_rate * timeline.end == timeline.frame_count
    assert timeline.source.min() >= 0
    assert timeline.source.max() < len(relative)


@given(frame_gaps, starts, durations)
def test_hold_goes_on_with_the_last_frame(gaps, start, duration):
    relative, timeline = build_uneven(gaps, start, duration, SyncMode.HOLD)

    held = timeline.source == len(relative) - 1
    played = timeline.pts[~held].tolist()
    assert played == relative[: len(played)]
    assert timeline.source[~held].tolist() == list(range(len(played)))
    assert set(np.diff(timeline.pts[held]).tolist()) <= {40}


@given(frame_gaps, starts)
def test_silence_shows_the_whole_video(gaps, start):
    relative, timeline = build_uneven(gaps, start, Fraction(1, 7), SyncMode.SILENCE)

    assert timeline.pts.tolist() == relative
    assert timeline.duration == timeline.end


@given(frame_gaps, starts, durations)
def test_remap_shows_every_frame_once_at_its_share_of_the_speech(gaps, start, duration):
    relative = [sum(gaps[:index]) for index in range(len(gaps) + 1)]
    end = Fraction(relative[-1] + 40, 1000)
    slowest, fastest = SPEEDS
    if not slowest <= end / duration <= fastest:
        with pytest.raises(Refusal, match="times its speed") as refused:
            build_uneven(gaps, start, duration, SyncMode.REMAP)
        assert refused.value.reason == "INVALID_OPTION"
        return
    relative, timeline = build_uneven(gaps, start, duration, SyncMode.REMAP)

    assert timeline.source.tolist() == list(range(len(relative)))
    tick = timeline.time_base
    assert tick <= Fraction(1, 10_000)
    for time, frame in zip(timeline.pts.tolist(), relative, strict=True):
        assert abs(time * tick - Fraction(frame, 1000) * duration / end) <= tick / 2
    assert abs(timeline.end - duration) <= tick


@given(frame_gaps, starts, durations, st.sampled_from(REPEATING), st.sampled_from([24, 25, 30, 60, 1 / NTSC]))
def test_a_constant_rate_shows_what_was_to_be_seen_at_each_frames_begin(gaps, start, duration, mode, rate):
    _, timeline = build_uneven(gaps, start, duration, mode)
    constant = to_constant_rate(timeline, Fraction(rate))

    begins = [time * timeline.time_base for time in timeline.pts.tolist()]
    for number, (time, source) in enumerate(zip(constant.pts.tolist(), constant.source.tolist(), strict=True)):
        assert time * constant.time_base == number / Fraction(rate)
        assert source == timeline.source[bisect_right(begins, number / Fraction(rate)) - 1]
    assert constant.frame_rate == rate
    assert constant.end - 1 / Fraction(rate) < min(timeline.duration, timeline.end) <= constant.end


def test_an_hour_at_a_constant_rate_does_not_drift():
    hour = build_timeline(range(108_000), NTSC, NTSC, Fraction(3600), SyncMode.LOOP)
    constant = to_constant_rate(hour, Fraction(25))

    assert constant.frame_count == 90_000
    offsets = constant.source * NTSC - np.arange(90_000) * Fraction(1, 25)
    assert min(offsets) > -NTSC
    assert max(offsets) <= 0


def test_a_mean_rate_is_taken_to_the_nearest_that_players_know():
    assert nearest_standard_rate(Fraction(2997, 100)) == 1 / NTSC
    assert nearest_standard_rate(Fraction(2503, 100)) == 25
    assert nearest_standard_rate(Fraction(97, 4)) == 24


@given(frame_gaps, starts, durations, durations)
def test_what_is_kept_of_a_video_lies_between_start_and_end(gaps, start, one, other):
    pts = start + np.cumsum([0, *gaps])
    low, high = min(one, other), max(one, other)
    kept = [number for number, time in enumerate((pts - start).tolist()) if low <= Fraction(time, 1000) < high]
    if kept:
        assert keep_range(pts, Fraction(1, 1000), low, high) == (kept[0], kept[-1] + 1)
    else:
        with pytest.raises(Refusal, match="No frame of the video lies between"):
            keep_range(pts, Fraction(1, 1000), low, high)
    assert keep_range(pts, Fraction(1, 1000), None, None) == (0, len(pts))


@given(frame_gaps, starts, durations)
def test_cut_off_is_the_beginning_of_the_source(gaps, start, duration):
    relative, timeline = build_uneven(gaps, start, duration, SyncMode.CUT_OFF)

    shown = [time for time in relative if Fraction(time, 1000) < duration]
    assert timeline.pts.tolist() == shown
    assert timeline.source.tolist() == list(range(len(shown)))


@given(frame_gaps, starts, durations)
def test_loop_shows_at_every_time_what_the_source_shows_at_that_time_of_its_period(gaps, start, duration):
    relative, timeline = build_uneven(gaps, start, duration, SyncMode.LOOP)

    period = relative[-1] + 40
    for time, frame in zip(timeline.pts.tolist(), timeline.source.tolist(), strict=True):
        assert relative[frame] == time % period


@given(frame_gaps.filter(bool), starts, durations)
def test_bounce_mirrors_the_source_and_never_stays(gaps, start, duration):
    relative, timeline = build_uneven(gaps, start, duration, SyncMode.BOUNCE)

    turn = relative[-1]
    for time, frame in zip(timeline.pts.tolist(), timeline.source.tolist(), strict=True):
        there = time % (2 * turn)
        assert relative[frame] == (there if there <= turn else 2 * turn - there)
    assert all(abs(after - before) == 1 for before, after in pairwise(timeline.source.tolist()))


@pytest.mark.parametrize("mode", REPEATING)
def test_ntsc_rates_stay_exact(mode):
    pts = [1001 * index for index in range(90)]
    timeline = build_timeline(pts, Fraction(1, 30000), NTSC, Fraction(3), mode)

    assert timeline.frame_rate == 30000 / Fraction(1001)
    assert timeline.pts.tolist() == [1001 * index for index in range(90)]  # frame 89 starts at 2.9696 s
    assert timeline.end == 90 * NTSC


def test_an_hour_of_loops_does_not_drift():
    pts = [1001 * index for index in range(100)]
    timeline = build_timeline(pts, Fraction(1, 30000), NTSC, Fraction(3600), SyncMode.LOOP)

    assert timeline.frame_count == -(-3600 // NTSC)
    assert timeline.pts[100_000] == 100_000 * 1001
    assert timeline.source[100_001] == 1


def test_a_frame_that_starts_at_the_end_of_the_speech_is_not_shown():
    timeline = build_timeline(range(50), Fraction(1, 25), Fraction(1, 25), Fraction(1), SyncMode.CUT_OFF)

    assert timeline.frame_count == 25
    assert timeline.end == 1


def test_the_last_frames_length_is_taken_to_the_nearest_tick():
    timeline = build_timeline([0, 33, 67], Fraction(1, 1000), NTSC, Fraction(10), SyncMode.LOOP)

    assert timeline.pts[:5].tolist() == [0, 33, 67, 100, 133]


@given(durations)
def test_a_photo_lasts_as_long_as_the_speech_at_25_frames_a_second(duration):
    timeline = build_photo_timeline(duration)

    assert timeline.frame_count == -(-duration // Fraction(1, 25))
    assert not timeline.source.any()
    assert timeline.frame_rate == 25


@given(frame_gaps, st.fractions(Fraction(1, 10), 60, max_denominator=100), st.sampled_from(REPEATING))
def test_segments_cover_the_timeline_in_runs_of_a_few_seconds(gaps, duration, mode):
    _, timeline = build_uneven(gaps, 0, duration, mode)
    spans = cut_segments(timeline)

    assert [span.index for span in spans] == list(range(len(spans)))
    assert [span.first_frame for span in spans[1:]] == [span.first_frame + span.frame_count for span in spans[:-1]]
    assert spans[0].first_frame == 0
    assert spans[-1].first_frame + spans[-1].frame_count == timeline.frame_count
    ends = np.append(timeline.pts, timeline.pts[-1] + timeline.last_duration) * timeline.time_base
    for span in spans:
        seconds = ends[span.first_frame + span.frame_count] - ends[span.first_frame]
        assert seconds <= 6 + Fraction(120, 1000)
        assert len(spans) == 1 or seconds >= 3 - Fraction(120, 1000)


def test_a_pause_longer_than_a_segment_makes_no_empty_segment():
    timeline = build_timeline([0, 1, 2, 1000, 1001], Fraction(1, 25), Fraction(1, 25), Fraction(60), SyncMode.CUT_OFF)
    spans = cut_segments(timeline)

    assert sum(span.frame_count for span in spans) == 5
    assert all(span.frame_count > 0 for span in spans)
    assert bisect_right([span.first_frame for span in spans], 3) == 2  # a segment begins after the pause


@pytest.mark.parametrize(
    ("pts", "duration", "reason"),
    [
        ([], Fraction(1), "NO_VIDEO"),
        ([0, 1], Fraction(0), "EMPTY_AUDIO"),
        ([0, 2, 2, 3], Fraction(1), "UNSUPPORTED_MEDIA"),
        ([0, 2, 1, 3], Fraction(1), "UNSUPPORTED_MEDIA"),
    ],
)
def test_what_makes_no_timeline_is_refused(pts, duration, reason):
    with pytest.raises(Refusal) as refused:
        build_timeline(pts, Fraction(1, 25), Fraction(1, 25), duration, SyncMode.LOOP)
    assert refused.value.reason == reason


def test_a_broken_clock_is_refused_rather_than_looped_for_ever():
    with pytest.raises(Refusal) as refused:
        build_timeline([0], Fraction(1, 90000), Fraction(1, 90000), Fraction(3600), SyncMode.LOOP)
    assert refused.value.reason == "UNSUPPORTED_MEDIA"
