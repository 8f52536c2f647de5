"""Who is in a source: what brings shots together, what keeps people apart, and what a face is like."""

import cv2
import numpy as np
import pytest

from services.orchestrator.likeness import ARCFACE, SAME_PERSON, compare_faces, describe_face, join_descriptions
from services.orchestrator.persons import Person, choose_largest, find_persons, find_spans
from tests.orchestrator.test_faces import Seen, detect
from tests.stages import portrait, sway


def look(number: int) -> np.ndarray:
    """Somebody's description; each number is another person."""
    return np.eye(4096, dtype=np.float32)[number]


def find(seen: list[Seen], frames: int, cuts: list[int], looks: dict[int, int]) -> list[Person]:
    faces, _ = detect(seen, frames, cuts)
    return find_persons(faces, {track: look(number) for track, number in looks.items()})


def spans(persons: list[Person]) -> list[tuple[int, list[int]]]:
    return [(person.index, sorted({int(frame) // 10 for frame in person.frames})) for person in persons]


THREE_SHOTS = [Seen(1, 0, 10, (600, 200)), Seen(2, 10, 20, (200, 300)), Seen(3, 20, 30, (210, 200), size=60)]


def test_who_looks_alike_in_two_shots_is_one_person() -> None:
    persons = find(THREE_SHOTS, 30, [10, 20], {1: 7, 2: 8, 3: 7})
    assert spans(persons) == [(1, [0, 2]), (2, [1])]
    assert persons[0].likeness == pytest.approx(1)


def test_who_looks_otherwise_is_another_person() -> None:
    assert spans(find(THREE_SHOTS, 30, [10, 20], {1: 7, 2: 8, 3: 9})) == [(1, [0]), (2, [1]), (3, [2])]


def test_faces_without_a_description_stay_by_themselves() -> None:
    assert spans(find(THREE_SHOTS, 30, [10, 20], {})) == [(1, [0]), (2, [1]), (3, [2])]


def embed(*parts: tuple[int, float]) -> np.ndarray:
    """An embedding of length 1 with those numbers at those places."""
    embedding = np.zeros(512, np.float32)
    for place, value in parts:
        embedding[place] = value
    return embedding / np.linalg.norm(embedding)


def test_embeddings_bring_together_what_looks_would_not_and_keep_apart_who_takes_anothers_place() -> None:
    somebody, later, another = embed((0, 1)), embed((0, 0.5), (1, 0.8)), embed((2, 1))
    seen = [Seen(1, 0, 10, (600, 200)), Seen(2, 10, 20, (200, 200)), Seen(3, 20, 30, (200, 200))]
    faces, _ = detect(seen, 30, [10])
    persons = find_persons(faces, {1: somebody, 2: later, 3: another}, ARCFACE)
    assert spans(persons) == [(1, [0, 1]), (2, [2])]
    assert spans(find_persons(faces, {1: somebody, 2: later, 3: another})) == [(1, [0]), (2, [1, 2])]


def test_who_is_seen_at_the_same_time_is_not_the_same() -> None:
    twins = [Seen(1, 0, 20, (600, 200)), Seen(2, 0, 20, (200, 200))]
    assert len(find(twins, 20, [], {1: 7, 2: 7})) == 2


def test_persons_are_counted_by_first_appearance_then_from_left_to_right() -> None:
    seen = [Seen(4, 0, 20, (600, 200)), Seen(9, 0, 20, (200, 200)), Seen(1, 10, 20, (400, 200), size=140)]
    persons = find(seen, 20, [], {})
    faces, _ = detect(seen, 20)
    assert [int(faces.track[person.rows[person.frames[0]]]) for person in persons] == [9, 4, 1]


def test_a_glimpse_of_a_face_is_no_person_unless_nobody_else_is_seen() -> None:
    glimpse = Seen(1, 3, 6, (200, 200))
    assert len(find([glimpse, Seen(2, 0, 20, (600, 200))], 20, [], {})) == 1
    assert len(find([glimpse], 20, [], {})) == 1
    assert find([], 20, [], {}) == []


def test_spans_leave_out_short_gaps() -> None:
    (person,) = find([Seen(1, 0, 60, (200, 200), holes=(*range(5, 9), *range(20, 40)))], 60, [], {})
    assert find_spans(person, np.arange(60) / 25) == [(0.0, 19 / 25), (40 / 25, 59 / 25)]


def test_the_largest_of_each_shot() -> None:
    seen = [Seen(1, 0, 10, (200, 200)), Seen(2, 0, 10, (600, 200), size=150), Seen(3, 10, 20, (200, 200))]
    faces, _ = detect(seen, 20, [10])
    rows = choose_largest(faces, find_persons(faces, {1: look(1), 2: look(2), 3: look(1)}))
    assert faces.track[rows].tolist() == [2] * 10 + [3] * 10


def other_face(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The portrait made into somebody else: mirrored, dark, with a broad nose."""
    picture, mesh = sway(frame)
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    nose = mesh[1]
    near = np.exp(-(((x - nose[0]) / 30) ** 2 + ((y - nose[1]) / 40) ** 2))
    wider = cv2.remap(picture, x - 0.5 * near * (x - nose[0]), y, cv2.INTER_LINEAR)
    return np.ascontiguousarray(wider[:, ::-1] // 2 + np.array([10, 30, 0], np.uint8)), mesh_mirrored(mesh, width)


def mesh_mirrored(mesh: np.ndarray, width: int) -> np.ndarray:
    """Roughly the mesh that would be found in a mirrored picture: enough to look at the same places."""
    mirrored = mesh.copy()
    mirrored[:, 0] = width - mesh[:, 0]
    pairs = ((33, 263), (133, 362), (159, 386), (145, 374), (61, 291))
    for left, right in pairs:
        mirrored[[left, right]] = mirrored[[right, left]]
    return mirrored


def test_a_face_is_like_itself_at_another_size_and_light_and_not_like_another() -> None:
    photo, mesh = portrait()
    own = describe_face(photo, mesh)
    smaller = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    warmer = np.clip(smaller * np.array([1.2, 1.1, 1.0]), 0, 255).astype(np.uint8)
    assert compare_faces(own, describe_face(warmer, mesh * np.float32(0.6))) > SAME_PERSON
    assert compare_faces(own, describe_face(*other_face(0))) < SAME_PERSON - 0.03
    assert compare_faces(own, own) == pytest.approx(1)


def test_a_person_seen_often_is_described_by_the_mean() -> None:
    looks = [describe_face(*sway(frame)) for frame in range(3)]
    joined = join_descriptions(looks)
    assert joined.shape == looks[0].shape
    assert min(compare_faces(joined, one) for one in looks) > SAME_PERSON
    assert join_descriptions(looks[:1]) == pytest.approx(looks[0], abs=1e-6)


def test_a_face_of_no_size_is_described_all_the_same() -> None:
    photo, mesh = portrait()
    assert np.isfinite(describe_face(photo, np.zeros_like(mesh))).all()
    assert np.isfinite(describe_face(photo, mesh - 5000)).all()
    assert np.isfinite(describe_face(np.zeros_like(photo), mesh)).all()
