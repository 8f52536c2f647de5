"""The face frame: what the mouth does, whatever the head does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lipsync.engines.rewrite import shape
from services.lipsync.engines.rewrite.shape import Measure

from .people import make_points, open_mouths, pose

poses = st.fixed_dictionaries(
    {
        "yaw": st.floats(-60, 60),
        "pitch": st.floats(-45, 45),
        "roll": st.floats(-90, 90),
        "scale": st.floats(15, 400),
        "centre": st.tuples(st.floats(-100, 600), st.floats(-100, 600)),
    }
)


@settings(max_examples=40, deadline=None)
@given(poses, st.floats(0, 0.3))
def test_pose_and_size_do_not_change_the_shape(head: dict, opening: float) -> None:
    points = make_points(open_mouths(np.array([opening])))
    straight, turned = (shape.measure_shape(mesh) for mesh in (pose(points)[0], pose(points, **head)[0]))
    np.testing.assert_allclose(turned, straight, atol=2e-4)


@settings(max_examples=40, deadline=None)
@given(poses)
def test_pose_is_measured_as_it_was_made(head: dict) -> None:
    yaw, pitch, roll, scale = shape.measure_poses(pose(make_points(np.zeros((1, shape.MEASURES))), **head))[0]
    np.testing.assert_allclose([yaw, pitch, roll], [head["yaw"], head["pitch"], head["roll"]], atol=0.1)
    assert abs(scale / head["scale"] - 1) < 1e-3


def test_opening_is_the_gap_between_the_lips() -> None:
    mesh = pose(make_points(open_mouths(np.array([0.2]))), scale=100)[0]
    gap = np.linalg.norm(mesh[14] - mesh[13]) / np.linalg.norm(mesh[263] - mesh[33])
    assert abs(shape.measure_shape(mesh)[Measure.OPENING] - gap) < 0.02


def test_a_changed_shape_measures_as_asked() -> None:
    points = make_points(open_mouths(np.array([0.08])))
    change = np.zeros(shape.MEASURES)
    for measure, amount in ((Measure.OPENING, 0.05), (Measure.WIDTH, -0.05), (Measure.JAW, 0.04)):
        change[measure] = amount
    before, after = (
        shape.measure_points(which[None])[0] for which in (points[0], shape.change_shape(points[0], change))
    )
    np.testing.assert_allclose(after - before, change, atol=0.02)


def test_lips_pressed_together_do_not_pass_through_one_another() -> None:
    closed = make_points(open_mouths(np.array([0.1])))[0]
    pressed = shape.change_shape(closed, open_mouths(np.array([-0.3]))[0])
    assert (pressed[[14, 87, 317, 178, 402], 1] >= pressed[[13, 82, 312, 81, 311], 1] - 1e-9).all()


def test_another_mouth_moves_nothing_outside_the_lower_face() -> None:
    shut, wide = make_points(open_mouths(np.array([0.0, 0.25])))
    target = pose(shut[None], yaw=15, pitch=-5, roll=8)[0]
    posed = shape.pose_mouth(target, wide)
    kept = [10, 33, 263, 168, 6, 1, 2, 98, 327, 234, 454, 127, 356, 151]
    np.testing.assert_array_equal(posed[kept], target[kept])
    assert shape.measure_shape(posed)[Measure.OPENING] > 0.2


def test_another_mouth_comes_into_the_targets_pose() -> None:
    shut, wide = make_points(open_mouths(np.array([0.0, 0.25])))
    head = {"yaw": 20.0, "pitch": 10.0, "roll": -12.0, "scale": 60.0, "centre": (90.0, 140.0)}
    posed = shape.pose_mouth(pose(shut[None], **head)[0], wide)
    np.testing.assert_allclose(posed[shape.LIPS], pose(wide[None], **head)[0][shape.LIPS], atol=0.05)


def test_the_same_mouth_is_no_change() -> None:
    points = make_points(open_mouths(np.array([0.1])))
    target = pose(points, yaw=-10, roll=30)[0]
    np.testing.assert_allclose(shape.pose_mouth(target, points[0], np.zeros(shape.MEASURES)), target, atol=1e-2)
