"""The output timeline: which source frame is shown when. Exact: times are integers in a rational time base."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from itertools import pairwise

import numpy as np

from services.runtime.refusal import Refusal

PHOTO_RATE = 25  # frames per second of a video made from a photo
MAX_RATE = 1000  # frames per second; beyond it a file's clock is broken, and looping it would never end


class SyncMode(IntEnum):
    """As `SyncMode` in orchestrator.proto, number for number."""

    CUT_OFF = 1
    LOOP = 2
    BOUNCE = 3


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


def build_photo_timeline(speech_duration: Fraction) -> Timeline:
    """One picture for as long as the speech lasts."""
    return _repeat(np.zeros(1, np.int64), np.zeros(1, np.int64), 1, Fraction(1, PHOTO_RATE), speech_duration)


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
    frame's start: the frame at a turning point is shown once, for as long as its neighbour on the way back.

    Raises Refusal NO_VIDEO, EMPTY_AUDIO, UNSUPPORTED_MEDIA.
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
