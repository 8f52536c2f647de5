"""The rewrite engine's pixels, on drawn faces whose every motion is known."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lipsync.engines.rewrite import shape, warp
from services.lipsync.engines.rewrite.masks import (
    FACE_OVAL,
    all_corners_on_lips,
    inner_lip_ring,
    outer_lip_ring,
    skin_triangles,
)
from services.lipsync.engines.rewrite.mouth import measure_gap
from services.lipsync.engines.rewrite.render import render_candidate, render_own

SIZE = 384
SKIN, LIP = (205, 160, 135), (170, 90, 90)
CHIN, LOWER_LIP = 152, 17


def place_mesh(eye_distance: float = 110.0, center: tuple[float, float] = (192, 160), turn: float = 0.0) -> np.ndarray:
    """The reference face in pixels, turned about the vertical axis by `turn` degrees."""
    reference = shape.load_face_model().reference
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return (reference @ rotation.T * eye_distance + [*center, 0]).astype(np.float32)


def open_mouth(mesh: np.ndarray, amount: float) -> np.ndarray:
    """The mesh with its mouth opened by `amount` of the eye distance, the jaw going along."""
    change = np.zeros(shape.MEASURES)
    change[shape.Measure.OPENING] = amount
    change[shape.Measure.LOWER_LIP] = amount
    change[shape.Measure.JAW] = 0.8 * amount
    return shape.pose_mouth(mesh, None, change)


def draw_face(mesh: np.ndarray, size: int = SIZE, skin: tuple[int, int, int] = SKIN) -> np.ndarray:
    """A face with lips on a grey wall, lit from the left, with skin's fine texture."""
    picture = np.full((size, size, 3), 90, np.uint8)
    cv2.fillPoly(picture, [np.round(mesh[FACE_OVAL, :2]).astype(np.int32)], skin)
    cv2.fillPoly(picture, [np.round(outer_lip_ring(mesh)).astype(np.int32)], LIP)
    light = np.linspace(1.08, 0.92, size)[:, None] + np.random.default_rng(1).normal(0, 0.012, (size, size, 1))
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8) * light, 0, 255).astype(np.uint8)


def blend(target: np.ndarray, rendered: np.ndarray) -> np.ndarray:
    weight = rendered[..., 3:] / 255
    return np.round(target * (1 - weight) + rendered[..., :3] * weight).astype(np.uint8)


def mean_at(picture: np.ndarray, point: np.ndarray, radius: int = 2) -> np.ndarray:
    x, y = (int(value) for value in point[:2])
    return picture[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 3).mean(axis=0)


def test_a_face_that_stays_is_left_alone() -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    rendered = render_own(target, mesh, mesh, True)
    assert rendered[..., 3].max() == 0
    assert (rendered[..., :3] == target).all()


def test_its_own_mouth_laid_over_it_changes_nothing_visible() -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    rendered = render_candidate(target, mesh, target, mesh, mesh)
    assert rendered[..., 3].max() == 255
    difference = np.abs(blend(target, rendered).astype(int) - target)
    assert difference.mean() < 0.5
    assert difference.max() <= 12


@pytest.mark.parametrize("turn", [0, 18, -25])
def test_only_the_lower_face_and_what_is_below_it_changes(turn: float) -> None:
    mesh = place_mesh(turn=turn)
    target = draw_face(mesh)
    rendered = render_own(target, mesh, open_mouth(mesh, 0.25), True)
    weight = rendered[..., 3]
    assert (rendered[weight == 0][:, :3] == target[weight == 0]).all()
    eyes = int(mesh[[33, 263], 1].max())
    assert weight.max() == 255
    assert weight[:eyes].max() == 0
    assert weight[[0, -1]].max() == 0
    assert weight[:, [0, -1]].max() == 0


def test_the_chin_goes_where_the_mesh_says() -> None:
    mesh = place_mesh()
    wanted = open_mouth(mesh, 0.2)
    target = draw_face(mesh)
    cv2.circle(target, tuple(int(value) for value in mesh[199, :2]), 4, (20, 40, 200), -1, cv2.LINE_AA)
    result = blend(target, render_own(target, mesh, wanted, True)).astype(int)
    rows, columns = np.nonzero(result[..., 2] - result[..., 0] > 60)
    assert abs(rows.mean() - wanted[199, 1]) < 1.5
    assert abs(columns.mean() - wanted[199, 0]) < 1.5
    assert wanted[199, 1] - mesh[199, 1] > 8


def test_the_recorded_mouth_appears_in_the_light_of_the_target() -> None:
    mesh, recorded_mesh = place_mesh(), place_mesh(140, (250, 200), turn=6)
    recorded_mesh = open_mouth(recorded_mesh, 0.25)
    recorded = draw_face(recorded_mesh, 512, skin=tuple(round(0.85 * value) for value in SKIN))
    cv2.fillPoly(recorded, [np.round(inner_lip_ring(recorded_mesh)).astype(np.int32)], (30, 60, 190))
    target = draw_face(mesh)
    points = shape.find_frames(recorded_mesh[None]).to_face(recorded_mesh[None])[0]
    wanted = shape.pose_mouth(mesh, points)
    result = blend(target, render_candidate(target, mesh, recorded, recorded_mesh, wanted))
    inside = mean_at(result, (wanted[13] + wanted[14]) / 2)
    assert inside[2] - inside[0] > 100
    beside = mean_at(result, wanted[164])  # between nose and upper lip
    assert np.abs(beside - mean_at(target, mesh[164])).max() < 10


def test_opening_lips_show_dark_and_teeth() -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    wanted = open_mouth(mesh, 0.3)
    result = blend(target, render_own(target, mesh, wanted, True)).astype(int)
    upper, lower = wanted[13, :2], wanted[14, :2]
    assert mean_at(result, upper + 0.65 * (lower - upper)).max() < 80
    column = result[int(upper[1]) : int(lower[1]), int(upper[0]) - 3]
    assert column.sum(axis=1).max() > 1.2 * np.array(LIP).sum()


def test_what_is_drawn_is_as_blurred_as_its_picture() -> None:
    mesh = place_mesh()
    wanted = open_mouth(mesh, 0.3)
    steepest = []
    for blur in (0.6, 3.0):
        target = cv2.GaussianBlur(draw_face(mesh), (0, 0), blur)
        result = blend(target, render_own(target, mesh, wanted, True)).astype(np.float32)
        window = warp.frame_window(inner_lip_ring(wanted), target.shape, -6).slices
        steepest.append(np.abs(np.diff(result[window].sum(axis=2), axis=0)).max())
    assert steepest[1] < 0.8 * steepest[0]


def test_a_drawn_mouth_ends_in_points() -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    wanted = open_mouth(mesh, 0.3)
    result = blend(target, render_own(target, mesh, wanted, True)).astype(int).sum(axis=2)
    start, end = wanted[78, :2], wanted[308, :2]
    rows = slice(int(wanted[13, 1]) - 6, int(wanted[14, 1]) + 6)
    heights = [int((result[rows, int(start[0] + share * (end[0] - start[0]))] < 150).sum()) for share in (0.06, 0.15)]
    middle = int((result[rows, int(start[0] + 0.3 * (end[0] - start[0]))] < 150).sum())
    assert heights[0] < heights[1] <= middle


def test_without_drawing_closed_lips_stay_closed() -> None:
    mesh = place_mesh()
    assert measure_gap(mesh) < 0.1
    target = draw_face(mesh)
    result = blend(target, render_own(target, mesh, open_mouth(mesh, 0.3), False))
    assert np.abs(result.astype(int) - target).mean() < 2


def test_closing_lips_hide_the_teeth() -> None:
    closed, mesh = open_mouth(place_mesh(), -0.05), open_mouth(place_mesh(), 0.06)
    target = draw_face(mesh)
    cv2.fillPoly(target, [np.round(inner_lip_ring(mesh)).astype(np.int32)], (250, 250, 250))
    result = blend(target, render_own(target, mesh, closed, True)).astype(int)
    mouth = warp.frame_window(outer_lip_ring(closed), target.shape, 0).slices
    assert result[mouth].min(axis=2).max() < 200


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reach=st.floats(0, 3), turn=st.floats(-50, 50))
def test_no_motion_folds_the_skin(seed: int, reach: float, turn: float) -> None:
    mesh = place_mesh(turn=turn)[:, :2].astype(np.float64)
    wild = mesh + np.random.default_rng(seed).normal(0, 110 * reach, mesh.shape)
    moved = warp.limit_motion(mesh, wild)
    triangles = skin_triangles()[~all_corners_on_lips()]
    before, after = (warp.measure_areas(points, triangles) for points in (mesh, moved))
    visible = np.abs(before) > 0.5
    assert (after[visible] / before[visible] > 0).all()


def test_points_that_are_not_numbers_stay() -> None:
    mesh = place_mesh()[:, :2].astype(np.float64)
    wanted = mesh.copy()
    wanted[CHIN] = np.nan
    assert (warp.limit_motion(mesh, wanted)[CHIN] == mesh[CHIN]).all()


def break_meshes() -> list[tuple[str, np.ndarray]]:
    mesh = place_mesh()
    partly_nan = mesh.copy()
    partly_nan[LOWER_LIP] = np.nan
    return [
        ("partly outside", mesh + np.float32([150, 180, 0])),
        ("all outside", mesh + np.float32([4000, -900, 0])),
        ("one point", np.zeros_like(mesh) + np.float32(50)),
        ("a line", mesh * np.float32([1, 0, 0])),
        ("upside down", mesh * np.float32([1, -1, 1]) + np.float32([0, SIZE, 0])),
        ("not numbers", partly_nan),
        ("huge", mesh * np.float32(40)),
    ]


@pytest.mark.parametrize(("name", "broken"), break_meshes())
def test_odd_meshes_never_fail(name: str, broken: np.ndarray) -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    wanted = open_mouth(mesh, 0.2)
    rendered = [
        render_own(target, broken, wanted, True),
        render_own(target, broken, broken, True),
        render_own(target, mesh, broken, True),
        render_candidate(target, broken, target, mesh, broken),
        render_candidate(target, mesh, target, broken, wanted),
        render_candidate(target, mesh, target, mesh, broken),
    ]
    for picture in rendered:
        assert picture.shape == (SIZE, SIZE, 4)
        assert picture.dtype == np.uint8
        unchanged = picture[..., 3] == 0
        assert (picture[unchanged][:, :3] == target[unchanged]).all()


@pytest.mark.parametrize(("size", "recorded_size"), [(16, 16), (16, 512), (33, 97), (512, 16)])
def test_any_size_of_crop(size: int, recorded_size: int) -> None:
    meshes = [place_mesh() * np.float32(side / SIZE) for side in (size, recorded_size)]
    pictures = [cv2.resize(draw_face(place_mesh()), (side, side)) for side in (size, recorded_size)]
    wanted = open_mouth(meshes[0], 0.2)
    for rendered in (
        render_candidate(pictures[0], meshes[0], pictures[1], meshes[1], wanted),
        render_own(pictures[0], meshes[0], wanted, True),
    ):
        assert rendered.shape == (size, size, 4)


def test_a_little_more_opening_is_a_little_different() -> None:
    mesh = place_mesh()
    target = draw_face(mesh)
    results = [
        blend(target, render_own(target, mesh, open_mouth(mesh, amount), True)).astype(np.float32)
        for amount in np.arange(0, 0.3, 0.02)
    ]
    steps = [np.abs(second - first).mean() for first, second in itertools.pairwise(results)]
    assert max(steps) < 4 * (np.median(steps) + 0.1)
