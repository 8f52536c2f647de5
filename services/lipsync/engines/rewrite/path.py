"""The cheapest sequence of mouths: which candidate each output frame shows, or its own mouth moved.

Each frame weighs its best few candidates by how far shape and pose are off, and one state more: its own pixels, moved.
A Viterbi pass over the whole job adds what each step from one to the next costs. Consecutive source frames are cheap.
"""

from dataclasses import dataclass

import numpy as np

from services.lipsync.engines.rewrite.fit import Range
from services.lipsync.engines.rewrite.library import Library
from services.lipsync.engines.rewrite.shape import Measure
from services.runtime.faces import CropOutcome

BEST = 30  # candidates weighed per frame; under 256, as back pointers are bytes
OWN = -1  # candidate number of the frame's own mouth
# Weights of the measures, each taken in spans of the person's range.
_SHAPE = np.array([3.0, 1.0, 0.6, 1.5, 0.8, 0.3]) ** 0.5
_POSE = np.array([1 / 10, 1 / 10, 1 / 0.25])  # yaw and pitch in degrees, logarithm of scale
_LIGHT = 1 / 30  # of 255
MAX_TURN = np.array([14.0, 12.0])  # degrees of yaw and pitch between a candidate and its frame
MAX_SCALE = np.log(1.8)
MAX_OPENING_ERROR = 0.4  # spans by which a mouth may be too far open; lips part more easily than they shut
_OWN_COST = 0.02  # of showing the frame's own mouth at all
_OWN_CHANGE = 2.5  # of moving it, against the shape error of a candidate
_SWITCH = 1.5  # between own and candidate
_JUMP = 1.5  # between candidates that do not follow one another in the source
_STAY = 0.1  # with one candidate
_STEP = {-1: 0.4, 1: 0.0, 2: 0.1}  # of source frames going on by so many
_CHANGE = 1.0  # weight of what looks different after a jump, or the same after staying, and should not
_BLOCK = 32  # frames weighed at a time: each with every candidate
_CLOSED = 0.035  # opening, in eye distances, under which lips show nothing of the mouth's inside
_FEWEST = 8  # mouths worth choosing among
_SPEAKS = 0.035  # opening that a library of a speaking mouth reaches


@dataclass(frozen=True, slots=True)
class Wish:
    """What each of n output frames wants, and the face it has. NaN where there is no usable face."""

    measures: np.ndarray  # (n, measures) wanted
    own: np.ndarray  # (n, measures) of the frame's own mouth
    poses: np.ndarray  # (n, 4)
    source_frames: np.ndarray  # (n,)

    @property
    def visible(self) -> np.ndarray:
        return np.isfinite(self.poses).all(axis=1)


@dataclass(frozen=True, slots=True)
class Path:
    candidates: np.ndarray  # (n,) int32, OWN where the frame's own mouth is moved or left
    outcomes: np.ndarray  # (n,) uint8, CropOutcome


def find_path(wish: Wish, library: Library, known: Range) -> Path:
    visible = wish.visible
    candidates = np.full(len(visible), OWN, np.int32)
    outcomes = np.full(len(visible), CropOutcome.PASSED_THROUGH, np.uint8)
    if shows_inside(library):
        for first, last in _find_runs(visible):
            candidates[first:last] = _find_run_path(_cut(wish, first, last), library, known)
    own = visible & (candidates == OWN)
    shut = (wish.own[:, Measure.OPENING] < _CLOSED) & (wish.measures[:, Measure.OPENING] > _CLOSED + 0.015)
    outcomes[visible & (candidates != OWN)] = CropOutcome.SYNCED
    outcomes[own] = CropOutcome.WARPED
    outcomes[own & (shut | (not shows_inside(library)))] = CropOutcome.DRAWN
    return Path(candidates, outcomes)


def shows_inside(library: Library) -> bool:
    """Whether the library has open mouths enough to speak with; of a photo's one mouth the frames have the same."""
    opening = library.measures[:, Measure.OPENING]
    return len(library) >= _FEWEST and bool(np.percentile(opening, 95) > _SPEAKS)


def _find_run_path(wish: Wish, library: Library, known: Range) -> np.ndarray:
    """Candidate of each frame of a run in which the face is always visible."""
    scale = _SHAPE / known.span
    looks = np.concatenate([library.measures * scale, _pose_terms(library.poses), library.lights * _LIGHT], axis=1)
    wanted = wish.measures * scale
    drift = np.diff(np.concatenate([wanted, _pose_terms(wish.poses)], axis=1), axis=0, prepend=0)
    drift = np.concatenate([drift, np.zeros((len(drift), 3))], axis=1)
    best, costs = _weigh(wish, library, known)
    own_costs = _OWN_COST + _OWN_CHANGE * (((wish.own - wish.measures) * scale) ** 2).sum(axis=1)
    states = best.shape[1] + 1
    total = np.append(costs[0], own_costs[0])
    back = np.zeros((len(best), states), np.uint8)
    steps = np.zeros((states, states))
    steps[:-1, -1] = steps[-1, :-1] = _SWITCH
    for frame in range(1, len(best)):
        steps[:-1, :-1] = _weigh_steps(best[frame - 1], best[frame], looks, drift[frame], library.source_frames)
        through = total[:, None] + steps
        back[frame] = through.argmin(axis=0)
        total = through.min(axis=0) + np.append(costs[frame], own_costs[frame])
        total -= total.min()
    path = np.empty(len(best), np.int32)
    state = int(total.argmin())
    for frame in range(len(best) - 1, -1, -1):
        path[frame] = best[frame, state] if state < states - 1 else OWN
        state = int(back[frame, state])
    return path


def _weigh(wish: Wish, library: Library, known: Range) -> tuple[np.ndarray, np.ndarray]:
    """Candidate numbers and costs (n, best) of the cheapest candidates of each frame; inf outside the limits."""
    frames, mouths = len(wish.poses), len(library)
    best = np.zeros((frames, min(BEST, mouths)), np.int32)
    costs = np.zeros(best.shape)
    scale = _SHAPE / known.span
    there = np.concatenate([library.measures * scale, _pose_terms(library.poses)], axis=1)
    for first in range(0, frames if mouths else 0, _BLOCK):
        rows = slice(first, min(first + _BLOCK, frames))
        poses = wish.poses[rows]
        here = np.concatenate([wish.measures[rows] * scale, _pose_terms(poses)], axis=1)
        cost = np.maximum((here**2).sum(axis=1)[:, None] + (there**2).sum(axis=1) - 2 * here @ there.T, 0)
        turn = np.abs(poses[:, None, :2] - library.poses[None, :, :2])
        size = np.abs(np.log(poses[:, None, 3] / library.poses[None, :, 3]))
        open_by = (library.measures[None, :, 0] - wish.measures[rows, None, 0]) / known.span[Measure.OPENING]
        # Light and dress change over a long source: of two equal mouths the one filmed nearer in time is better.
        away = np.abs(wish.source_frames[rows, None] - library.source_frames[None])
        cost += 0.02 * np.log1p(away / 25)
        cost[(turn > MAX_TURN).any(axis=2) | (size > MAX_SCALE) | (open_by > MAX_OPENING_ERROR)] = np.inf
        best[rows] = np.argpartition(cost, best.shape[1] - 1, axis=1)[:, : best.shape[1]]
        costs[rows] = np.take_along_axis(cost, best[rows].astype(np.int64), axis=1)
    return best, costs


def _weigh_steps(
    before: np.ndarray, after: np.ndarray, looks: np.ndarray, drift: np.ndarray, source_frames: np.ndarray
) -> np.ndarray:
    """Costs (before, after) of going from one candidate to the next, beyond the change that is wanted."""
    unwanted = looks[after][None] - looks[before][:, None] - drift
    apart = source_frames[after][None] - source_frames[before][:, None]
    unnatural = _CHANGE * np.minimum((unwanted**2).sum(axis=2), 2.0)
    moves = np.where(apart == 0, _STAY, _JUMP) + unnatural
    for frames, cost in _STEP.items():
        moves[apart == frames] = cost  # what the person once did is natural, wanted or not
    return np.asarray(moves)


def _pose_terms(poses: np.ndarray) -> np.ndarray:
    """Yaw, pitch and size so that a distance of 1 costs 1. (n, 3)"""
    return np.stack([poses[:, 0], poses[:, 1], np.log(poses[:, 3])], axis=1) * _POSE


def _find_runs(visible: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], visible.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _cut(wish: Wish, first: int, last: int) -> Wish:
    rows = slice(first, last)
    return Wish(wish.measures[rows], wish.own[rows], wish.poses[rows], wish.source_frames[rows])
