"""Who is in a source: the faces of all its shots brought together, each person counted once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.orchestrator.faces import DetectedFaces, find_appearances, find_shots
from services.orchestrator.likeness import LANDMARKS, Measure, compare_faces, join_descriptions

_GLIMPSE = 5  # frames: a face seen for less is no person, unless nobody else is seen
_GAP = 0.5  # seconds for which a person who was lost is still listed as seen
_MOST_COMPARED = 400  # appearances: the longest; others stay by themselves


@dataclass(frozen=True, slots=True)
class Person:
    """`index` counts from 1, by first appearance, then from left to right.

    `rows` (frames,) int64: the person's row of DetectedFaces in each frame, -1 where not seen.
    """

    index: int
    rows: np.ndarray
    description: np.ndarray | None
    likeness: float = 1.0  # the least with which shots were brought together; 1: nothing was

    @property
    def frames(self) -> np.ndarray:
        """Those in which the person is seen, in order."""
        return np.flatnonzero(self.rows >= 0)


@dataclass
class _Group:
    """Appearances of one person."""

    rows: np.ndarray
    frames: frozenset[int]
    description: np.ndarray | None
    likeness: float = 1.0


def find_persons(
    faces: DetectedFaces, descriptions: Mapping[int, np.ndarray], measure: Measure = LANDMARKS
) -> list[Person]:
    """`descriptions`: by track, compared by `measure`; a track without one is a person of its own."""

    def differ(one: int, other: int) -> bool:
        if one not in descriptions or other not in descriptions:
            return False
        return float(compare_faces(descriptions[one], descriptions[other])) < measure.another

    groups = [_describe(faces, rows, descriptions) for rows in find_appearances(faces, differ)]
    groups = _join(groups, measure.same_person)
    lasting = [group for group in groups if len(group.rows) >= _GLIMPSE]
    persons = lasting or groups
    persons.sort(key=lambda group: (faces.frame[group.rows[0]], faces.centre[group.rows[0], 0]))
    return [
        Person(index, _spread(faces, group.rows), group.description, group.likeness)
        for index, group in enumerate(persons, 1)
    ]


def find_spans(person: Person, seconds: np.ndarray) -> list[tuple[float, float]]:
    """When the person is seen: (first, last) in seconds, short gaps left out. `seconds` (frames,): of each frame."""
    seen = seconds[person.frames]
    breaks = np.flatnonzero(np.diff(seen) > _GAP)
    firsts, lasts = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(seen) - 1]])
    return [(float(seen[first]), float(seen[last])) for first, last in zip(firsts, lasts, strict=True)]


def choose_largest(faces: DetectedFaces, persons: list[Person]) -> np.ndarray:
    """The row of the person in each shot who covers most pixels over time, -1 where not seen. (frames,) int64."""
    rows = np.full(len(faces.cuts), -1, np.int64)
    for first, end in find_shots(faces):
        covered = [cover(faces, person, first, end) for person in persons]
        if covered and max(covered) > 0:
            rows[first:end] = persons[int(np.argmax(covered))].rows[first:end]
    return rows


def cover(faces: DetectedFaces, person: Person, first: int = 0, end: int | None = None) -> float:
    """Pixels that the person's face covers, summed over those frames."""
    rows = person.rows[first:end]
    return float(faces.area[rows[rows >= 0]].sum())


def _describe(faces: DetectedFaces, rows: np.ndarray, descriptions: Mapping[int, np.ndarray]) -> _Group:
    tracks, counts = np.unique(faces.track[rows], return_counts=True)
    pairs = zip(tracks.tolist(), counts.tolist(), strict=True)
    known = [(descriptions[track], count) for track, count in pairs if track in descriptions]
    description = join_descriptions([look for look, _ in known], [count for _, count in known]) if known else None
    return _Group(rows, frozenset(faces.frame[rows].tolist()), description)


def _join(groups: list[_Group], least: float) -> list[_Group]:
    """The two most alike become one, again and again, until nobody is alike enough."""
    ranked = sorted(groups, key=lambda group: -len(group.rows))
    compared: list[_Group | None] = list(ranked[:_MOST_COMPARED])
    likeness = np.array([[_compare(one, other) for other in compared] for one in compared])
    while likeness.size and likeness.max() >= least:
        one, other = np.unravel_index(int(likeness.argmax()), likeness.shape)
        compared[one], compared[other] = _merge(compared[one], compared[other], likeness[one, other]), None
        likeness[other, :] = likeness[:, other] = -np.inf
        likeness[one, :] = likeness[:, one] = [_compare(compared[one], group) for group in compared]
    return [group for group in compared if group is not None] + ranked[_MOST_COMPARED:]


def _compare(one: _Group | None, other: _Group | None) -> float:
    """Likeness; none at all between faces that share a frame, or that nobody looked at."""
    if one is None or other is None or one.description is None or other.description is None:
        return -np.inf
    return -np.inf if one.frames & other.frames else float(compare_faces(one.description, other.description))


def _merge(one: _Group | None, other: _Group | None, likeness: float) -> _Group:
    assert one is not None
    assert other is not None
    descriptions = [group.description for group in (one, other) if group.description is not None]
    description = join_descriptions(descriptions, [len(one.rows), len(other.rows)])
    rows = np.sort(np.concatenate([one.rows, other.rows]))
    return _Group(rows, one.frames | other.frames, description, min(one.likeness, other.likeness, float(likeness)))


def _spread(faces: DetectedFaces, rows: np.ndarray) -> np.ndarray:
    spread = np.full(len(faces.cuts), -1, np.int64)
    spread[faces.frame[rows]] = rows
    return spread
