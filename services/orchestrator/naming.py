"""Faces that a client names: by index, by a box at a time, by a reference photo. Says what there is when it is not."""

from collections.abc import Sequence

import numpy as np

from services.orchestrator.analysis import Analysis
from services.orchestrator.choice import FaceBox
from services.orchestrator.likeness import compare_faces
from services.orchestrator.persons import Person
from services.orchestrator.speakers import Chosen
from services.runtime.refusal import Refusal

_LISTED = 6  # persons that a message lists


def find_box(analysis: Analysis, row: int) -> tuple[float, float, float, float]:
    """x, y, width, height of the face in that row of DetectedFaces, pixels of the frame."""
    points = analysis.meshes[row][:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def choose_by_index(analysis: Analysis, persons: Sequence[Person], index: int) -> Chosen:
    """Raises Refusal FACE_NOT_FOUND."""
    if index > len(persons):
        message = f"face {index} is asked for; the video has {_describe(analysis, persons)}"
        raise Refusal("FACE_NOT_FOUND", message, index=index, faces=len(persons))
    return Chosen(persons[index - 1], persons[index - 1].rows, "index", 1.0)


def choose_by_box(analysis: Analysis, persons: Sequence[Person], box: FaceBox) -> Chosen:
    """Raises Refusal INVALID_OPTION for a time after the video, FACE_NOT_FOUND."""
    seconds = analysis.seconds
    last = float(seconds[-1])
    shown = last / max(len(seconds) - 1, 1)
    if box.time > last + shown + 1e-6:
        message = f"the face's box is for {box.time:g} s; the video's last frame is shown at {last:.3f} s"
        raise Refusal("INVALID_OPTION", message, field="face.box.time")
    frame = int(np.searchsorted(seconds, box.time + 1e-6, side="right")) - 1
    width, height = (analysis.format.width, analysis.format.height) if box.fractions else (1, 1)
    wanted = (box.x * width, box.y * height, box.width * width, box.height * height)
    here = [person for person in persons if person.rows[frame] >= 0]
    overlaps = [_overlap(wanted, find_box(analysis, int(person.rows[frame]))) for person in here]
    if not overlaps or max(overlaps) <= 0:
        places = "; ".join(f"face {person.index} at {_place(analysis, person, frame)}" for person in here[:_LISTED])
        message = f"no face meets the box at {box.time:g} s; there is {places or 'no face at all in that frame'}"
        raise Refusal("FACE_NOT_FOUND", message, time=box.time)
    best = int(np.argmax(overlaps))
    return Chosen(here[best], here[best].rows, "box", round(overlaps[best], 3))


def choose_by_photo(analysis: Analysis, persons: Sequence[Person], photo: Analysis) -> Chosen:
    """`photo`: the analysis of the reference.

    Raises Refusal NO_FACE, INVALID_OPTION, FACE_NOT_FOUND, SERVICE_UNAVAILABLE.
    """
    field = "face.reference"
    if len(photo.pts) != 1:
        raise Refusal("INVALID_OPTION", "the reference is a video; give a photo of the person", field=field)
    found = len(photo.faces.frame)
    if found == 0:
        raise Refusal("NO_FACE", "the reference photo shows no face; give one that shows the person's", field=field)
    if found > 1:
        message = f"the reference photo shows {found} faces; cut it to the one that is meant"
        raise Refusal("INVALID_OPTION", message, field=field, faces=found)
    measure = analysis.measure
    if photo.measure is not measure:
        message = f"the video's faces are known by {measure.name}, the photo's by {photo.measure.name}: "
        raise Refusal("SERVICE_UNAVAILABLE", message + "this deployment's detectors differ in the models they have")
    (look,) = photo.descriptions.values()
    likeness = [
        -1.0 if person.description is None else float(compare_faces(person.description, look)) for person in persons
    ]
    order = np.argsort([-value for value in likeness], kind="stable")
    best = int(order[0])
    unclear = len(order) > 1 and likeness[best] < likeness[int(order[1])] + measure.clearly
    if likeness[best] < measure.like_photo or unclear:
        told = ", ".join(f"face {persons[place].index} {max(likeness[place], 0):.2f}" for place in order[:_LISTED])
        message = (
            "nobody in the video looks clearly like the reference photo "
            f"(likeness: {told}; {measure.like_photo:g} is needed): "
            "give a frame of the video itself, or name the face by index or box"
        )
        raise Refusal("FACE_NOT_FOUND", message, best=round(likeness[best], 3))
    return Chosen(persons[best], persons[best].rows, "reference", float(np.clip(likeness[best], 0, 1)))


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over the smaller of two boxes (x, y, width, height)."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0) / max(min(one[2] * one[3], other[2] * other[3]), 1e-9)


def _describe(analysis: Analysis, persons: Sequence[Person]) -> str:
    """How many there are, and where each is first seen."""
    places = [
        f"face {person.index} from {analysis.seconds[person.frames[0]]:.2f} s at {_place(analysis, person)}"
        for person in persons[:_LISTED]
    ]
    count = "1 face" if len(persons) == 1 else f"{len(persons)} faces"
    return f"{count}: {'; '.join(places)}{'; ...' if len(persons) > _LISTED else ''}"


def _place(analysis: Analysis, person: Person, frame: int | None = None) -> str:
    row = int(person.rows[person.frames[0] if frame is None else frame])
    x, y, width, height = (round(value) for value in find_box(analysis, row))
    return f"x {x}, y {y}, {width} x {height} pixels"
