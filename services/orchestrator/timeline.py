"""The output timeline: which source frame is shown when. Exact: times are integers in a rational time base."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from itertools import pairwise

import numpy as np

from services.runtime.refusal import Refusal

PHOTO_RATE = 25  # frames per second of a video made from a photo
MAX_RATE = 1000  # frames per second; beyond it a file's clock is broken, and looping it would never end
SPEEDS = (Fraction(1, 2), Fraction(2))  # slowest and fastest that a remapped video may play
_FINE_RATE = 10_000  # ticks per second, from which a frame can be moved by any factor unseen
STANDARD_RATES = tuple(
    Fraction(*rate)
    for rate in (
        (10,), (12,), (15,), (24000, 1001), (24,), (25,), (30000, 1001), (30,), (48,), (50,), (60000, 1001), (60,),
        (100,), (120000, 1001), (120,),
    )
)  # frames per second  # fmt: skip


class SyncMode(IntEnum):
    """As `SyncMode` in orchestrator.proto, number for number."""

    CUT_OFF = 1
    LOOP = 2
    BOUNCE = 3
    HOLD = 4
    SILENCE = 5
    REMAP = 6


@dataclass(frozen=True, slots=True)
class Timeline:
    """Output frames in order. The arrays have one int64 per frame.

    `duration` is what the sync mode asks for, in seconds: the sound is cut there. The last frame starts before it and
    keeps its natural length, so the pictures end less than one frame after it.
    """

    pts: np.ndarray  # starts of the frames, strictly increasing from 0; unit: time_base
    source: np.ndarray  # index of the source frame each shows
    time_base: Fraction  # seconds
    last_duration: int  # natural length of the last frame; unit: time_base
    duration: Fraction  # seconds

    @property
    def frame_count(self) -> int:
        return len(self.pts)

    @property
    def end(self) -> Fraction:
        """When the last frame ends, in seconds."""
        return (int(self.pts[-1]) + self.last_duration) * self.time_base

    @property
    def frame_rate(self) -> Fraction:
        """Mean frames per second, exact."""
        return self.frame_count / self.end

    @property
    def durations(self) -> np.ndarray:
        """How long each frame is shown; unit: time_base. (frame_count,) int64."""
        return np.diff(self.pts, append=self.pts[-1] + self.last_duration)


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """A run of output frames rendered as one piece."""

    index: int
    first_frame: int
    frame_count: int


def build_photo_timeline(speech_duration: Fraction, rate: Fraction | int = PHOTO_RATE) -> Timeline:
    """One picture for as long as the speech lasts, `rate` frames per second."""
    return _repeat(np.zeros(1, np.int64), np.zeros(1, np.int64), 1, 1 / Fraction(rate), speech_duration)


def build_timeline(
    pts: Sequence[int] | np.ndarray,
    time_base: Fraction,
    frame_duration: Fraction,
    speech_duration: Fraction,
    sync_mode: SyncMode,
) -> Timeline:
    """The timeline of a video with frames at `pts`, strictly increasing, in `time_base` seconds.

    The output keeps the source's time base and its frames' own spacing, moved to begin at 0. `frame_duration` (seconds,
    the mean) is the length of the source's last frame, taken to the nearest tick.

    A loop starts again where the last frame ends. A bounce mirrors the timestamps at the last frame's and at the first
    frame's start: the frame at a turning point is shown once, for as long as its neighbour on the way back. A hold
    goes on with the last frame, at the mean rate: lips still move on it. A remap plays the video slower or faster, to
    last as long as the speech. Silence shows the whole video, whatever the speech's length.

    Raises Refusal NO_VIDEO, EMPTY_AUDIO, UNSUPPORTED_MEDIA, INVALID_OPTION (a remap beyond SPEEDS).
    """
    if not len(pts):
        raise Refusal("NO_VIDEO", "The video has no frames.")
    starts = np.asarray(pts, np.int64)
    starts = starts - starts[0]
    if (np.diff(starts) <= 0).any():
        frame = int(np.argmax(np.diff(starts) <= 0)) + 1
        message = f"Frame {frame} of the video does not start after the one before it."
        raise Refusal("UNSUPPORTED_MEDIA", message, frame=frame)
    end = int(starts[-1]) + max(1, round(frame_duration / time_base))
    if len(starts) / (end * time_base) > MAX_RATE:
        raise Refusal("UNSUPPORTED_MEDIA", f"The video claims more than {MAX_RATE} frames per second.")

    order = np.arange(len(starts), dtype=np.int64)
    if speech_duration <= 0:
        raise Refusal("EMPTY_AUDIO", "The speech has no length.")
    match sync_mode:
        case SyncMode.CUT_OFF:
            return _repeat(starts, order, end, time_base, min(speech_duration, end * time_base))
        case SyncMode.LOOP:
            return _repeat(starts, order, end, time_base, speech_duration)
        case SyncMode.BOUNCE if len(starts) > 1:
            turn = 2 * starts[-1]
            there_and_back = np.concatenate([starts, turn - starts[-2:0:-1]])
            order = np.concatenate([order, order[-2:0:-1]])
            return _repeat(there_and_back, order, int(turn), time_base, speech_duration)
        case SyncMode.BOUNCE:
            return _repeat(starts, order, end, time_base, speech_duration)
        case SyncMode.HOLD:
            step = max(frame_duration / time_base, Fraction(1))  # ticks
            missing = max(0, -(-(speech_duration / time_base - end) // step))
            held = [end + int(number * step) for number in range(missing)]
            starts = np.concatenate([starts, np.array(held, np.int64)])
            order = np.concatenate([order, np.full(missing, order[-1])])
            return _repeat(starts, order, end + -(-missing * step // 1), time_base, speech_duration)
        case SyncMode.SILENCE:
            return _repeat(starts, order, end, time_base, end * time_base)
        case SyncMode.REMAP:
            return _remap(starts, order, end, time_base, speech_duration)


def _remap(starts: np.ndarray, order: np.ndarray, end: int, time_base: Fraction, duration: Fraction) -> Timeline:
    speed = end * time_base / duration
    slowest, fastest = SPEEDS
    if not slowest <= speed <= fastest:
        message = (
            f"The video would have to play at {float(speed):.2f} times its speed to last as long as the speech "
            f"({float(duration):.1f} s); sync_mode remap goes from {float(slowest):g} to {float(fastest):g}."
        )
        raise Refusal("INVALID_OPTION", message, field="sync_mode")
    finer = -(-_FINE_RATE * time_base // 1)  # whole, 1 or more
    scale = finer / speed  # fine ticks per tick
    moved = np.array([round(int(start) * scale) for start in starts], np.int64)
    return Timeline(moved, order, time_base / finer, max(1, round(end * scale) - int(moved[-1])), duration)


def keep_range(pts: np.ndarray, time_base: Fraction, start: Fraction | None, end: Fraction | None) -> tuple[int, int]:
    """First frame of the part of a video between `start` and `end`, and the first one after it.

    Both in seconds from the video's first frame on. Raises Refusal INVALID_OPTION where there is no frame.
    """
    ticks = pts - pts[0]
    first = 0 if start is None else int(np.searchsorted(ticks, -(-start // time_base)))
    after = len(pts) if end is None else int(np.searchsorted(ticks, -(-end // time_base)))
    if first >= after:
        length = float(int(ticks[-1]) * time_base)
        message = f"No frame of the video lies between start and end: its last one begins at {length:.2f} s."
        raise Refusal("INVALID_OPTION", message, field="start")
    return first, after


def to_constant_rate(timeline: Timeline, rate: Fraction) -> Timeline:
    """The timeline with frames every 1 / rate seconds, each showing what was to be seen when it begins."""
    time_base, step = Fraction(1, rate.numerator), rate.denominator
    count = max(1, -(-min(timeline.duration, timeline.end) * rate // 1))
    starts = np.arange(count, dtype=np.int64) * step
    # Exact: the place of k * step / numerator among the timeline's ticks.
    ticks = [int(start * time_base // timeline.time_base) for start in starts.tolist()]
    shown = np.searchsorted(timeline.pts, np.array(ticks, np.int64), side="right") - 1
    return replace(timeline, pts=starts, source=timeline.source[shown], time_base=time_base, last_duration=step)


def nearest_standard_rate(rate: Fraction) -> Fraction:
    """Frames per second that players and editors know."""
    return min(STANDARD_RATES, key=lambda standard: abs(standard / rate - 1))


def _repeat(starts: np.ndarray, order: np.ndarray, period: int, time_base: Fraction, duration: Fraction) -> Timeline:
    """Frames `order` at `starts`, again every `period` ticks; those that start before `duration` (seconds)."""
    if duration <= 0:
        raise Refusal("EMPTY_AUDIO", "The speech has no length.")
    ticks = -(-duration // time_base)  # a frame starts before the duration if it starts before this tick
    rounds, rest = divmod(int(ticks), period)
    count = rounds * len(starts) + int(np.searchsorted(starts, rest))
    repeat, frame = np.divmod(np.arange(count + 1, dtype=np.int64), len(starts))
    pts = starts[frame] + repeat * period
    return Timeline(pts[:-1], order[frame[:-1]], time_base, int(pts[-1] - pts[-2]), duration)


def cut_segments(timeline: Timeline, seconds: Fraction = Fraction(4)) -> list[SegmentSpan]:
    """Runs of equal length, give or take a frame: from three quarters of `seconds` to one and a half times.

    A video shorter than that is one run.
    """
    count = max(1, round(timeline.end / seconds))
    bounds = [-(-timeline.end * index // (count * timeline.time_base)) for index in range(count)]  # ticks
    firsts = np.unique(np.searchsorted(timeline.pts, np.array(bounds, np.int64)))
    firsts = firsts[firsts < timeline.frame_count]
    edges = [*firsts.tolist(), timeline.frame_count]
    return [SegmentSpan(index, first, after - first) for index, (first, after) in enumerate(pairwise(edges))]
