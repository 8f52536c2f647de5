"""How often people are told apart and brought together across a cut.

    python -m benchmarks.persons CLIPS

CLIPS is a folder with the folders talking, silent and several in it. Together: each clip's beginning and its end, the
end seen as if by another camera (smaller, brighter, warmer). Apart: the beginnings of every two clips of different
people, and the faces seen at once in the clips of several. Two clips of one person are neither: those whose names begin
alike up to the first _, or up to the second in collections of many people.
"""

import itertools
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.clip import Engines, load_engines
from services.detector.engines import TrackSettings
from services.orchestrator.compositing import make_view
from services.orchestrator.likeness import SAME_PERSON, compare_faces, describe_face, join_descriptions

_EVERY = 5  # frames
_LOOKS = 8
_COLLECTIONS = ("hdtf", "latentsync", "retalking", "liveportrait")  # number their people
_SMALLER, _LIGHT = 0.6, np.array([1.2, 1.12, 1.05])


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.persons CLIPS")
    clips, engines = Path(sys.argv[1]), load_engines()
    beginnings, together = {}, []
    for path in sorted([*(clips / "talking").glob("*.*"), *(clips / "silent").glob("*.*")]):
        views = read_views(path, engines)
        begin, end = (find_faces(part, engines) for part in (views[:_LOOKS], list(map(change, views[-_LOOKS:]))))
        if begin and end:
            beginnings[path.stem] = begin[0]
            together.append(float(compare_faces(begin[0], end[0])))
    apart = [
        float(compare_faces(one, other))
        for (name, one), (another, other) in itertools.combinations(beginnings.items(), 2)
        if person_of(name) != person_of(another)
    ]
    for path in sorted((clips / "several").glob("*.*")):
        faces = find_faces(read_views(path, engines)[:_LOOKS], engines)
        apart += [float(compare_faces(one, other)) for one, other in itertools.combinations(faces, 2)]
    joined, confused = np.array(together) >= SAME_PERSON, np.array(apart) >= SAME_PERSON
    print(
        f"same person across a cut: brought together in {joined.sum()} of {len(joined)}; {np.sort(together).round(2)}"
    )
    print(f"different people: taken for one in {confused.sum()} of {len(confused)}; most alike {max(apart):.2f}")


def person_of(name: str) -> str:
    words = name.split("_")
    return "_".join(words[:2]) if words[0] in _COLLECTIONS else words[0]


def read_views(path: Path, engines: Engines) -> list[np.ndarray]:
    frames = engines.decoder.decode_frames(path, None, None).frames
    return [make_view(frame) for number, frame in enumerate(frames) if number % _EVERY == 0]


def change(view: np.ndarray) -> np.ndarray:
    """The view as another camera has it."""
    smaller = cv2.resize(view, None, fx=_SMALLER, fy=_SMALLER, interpolation=cv2.INTER_AREA)
    return np.clip(smaller * _LIGHT, 0, 255).astype(np.uint8)


def find_faces(views: list[np.ndarray], engines: Engines) -> list[np.ndarray]:
    """The description of each track, largest face first."""
    size = (views[0].shape[1], views[0].shape[0])
    tracker = engines.detector.open_tracker(TrackSettings(size, size))
    looks: dict[int, list[np.ndarray]] = {}
    for view in views:
        for face in tracker.track(view).faces:
            looks.setdefault(face.track, []).append(describe_face(view, face.landmarks))
    return [join_descriptions(found) for found in looks.values() if len(found) >= _LOOKS // 2]


if __name__ == "__main__":
    main()
