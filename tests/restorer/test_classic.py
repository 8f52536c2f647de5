"""The classic restorer on crops whose faults are known."""

import cv2
import numpy as np
import pytest

from services.restorer.engines.classic import ClassicRestorer
from services.runtime.faces import Crop, CropOutcome

SIZE = 256


def draw_skin(grain: float = 2.0) -> np.ndarray:
    """Skin as a camera sees it: shading, fine texture of one strength everywhere."""
    random = np.random.default_rng(7)
    shading = cv2.resize(random.normal(0, 10, (4, 4)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    texture = cv2.GaussianBlur(random.normal(0, 1, (SIZE, SIZE)), (0, 0), 1.0)
    light = shading + texture * 3 + random.normal(0, grain, (SIZE, SIZE))
    return np.clip(np.array([190, 150, 130]) + light[..., None], 0, 255).astype(np.uint8)


def soft_mask() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(mask, (128, 140), (70, 55), 0, 0, 360, 255, -1)
    return cv2.blur(mask, (9, 9))


def make_crop(source: np.ndarray, changed: np.ndarray, frame: int = 3) -> Crop:
    mask = soft_mask()
    colour = np.where(mask[..., None] > 0, changed, source)
    return Crop(frame, 120, np.dstack([colour, mask]), None, CropOutcome.SYNCED)


def measure_detail(picture: np.ndarray) -> float:
    light = cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = light - cv2.GaussianBlur(light, (0, 0), 1.2)
    return float(fine[picture[..., 3] == 255].std())


def restore(crop: Crop, strength: float = 1.0) -> Crop:
    return ClassicRestorer().restore([crop], strength)[0]


def test_strength_0_changes_nothing() -> None:
    crop = make_crop(draw_skin(), cv2.GaussianBlur(draw_skin(), (0, 0), 2))
    assert (restore(crop, 0).pixels == crop.pixels).all()


def test_only_the_replaced_part_changes_and_its_weight_never() -> None:
    source = draw_skin()
    crop = make_crop(source, cv2.add(cv2.GaussianBlur(source, (0, 0), 1.5), (12, 6, 6, 0)))
    before = crop.pixels.copy()
    restored = restore(crop)
    assert (crop.pixels == before).all()
    assert (restored.pixels[..., 3] == before[..., 3]).all()
    outside = before[..., 3] == 0
    assert (restored.pixels[outside] == before[outside]).all()
    assert (restored.pixels != before).any()
    assert (restored.frame, restored.pts, restored.outcome) == (crop.frame, crop.pts, crop.outcome)


def test_what_matches_already_is_left_alone() -> None:
    source = draw_skin()
    crop = make_crop(source, source)
    assert np.abs(restore(crop).pixels.astype(int) - crop.pixels).mean() < 0.3


def test_a_colour_step_shrinks() -> None:
    source = draw_skin().astype(int)
    crop = make_crop(source.astype(np.uint8), np.clip(np.add(source, [10, 0, -10]), 0, 255).astype(np.uint8))
    inside = crop.pixels[..., 3] == 255
    error = (restore(crop).pixels[..., :3].astype(int) - source)[inside].mean(axis=0)
    assert abs(error[0]) < 6
    assert abs(error[1]) < 2
    assert abs(error[2]) < 6


def test_a_face_before_another_background_is_not_recoloured() -> None:
    source = draw_skin()
    source[140:] = (30, 60, 120)
    crop = make_crop(source, source)
    error = (restore(crop).pixels[..., :3].astype(int) - source)[crop.pixels[..., 3] == 255]
    assert np.abs(error.mean(axis=0)).max() < 1


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_soft_part_gets_nearer_to_its_surroundings_sharpness(strength: float) -> None:
    source = draw_skin()
    true_detail = measure_detail(make_crop(source, source).pixels)
    crop = make_crop(source, cv2.GaussianBlur(source, (0, 0), 0.7))
    soft, restored = measure_detail(crop.pixels), measure_detail(restore(crop, strength).pixels)
    assert soft * 1.1 < restored < true_detail * 1.1


def test_a_part_that_is_too_sharp_is_softened() -> None:
    source = draw_skin()
    sharp = cv2.addWeighted(source, 1.5, cv2.GaussianBlur(source, (0, 0), 1.2), -0.5, 0)
    crop = make_crop(source, sharp)
    assert measure_detail(restore(crop).pixels) < 0.9 * measure_detail(crop.pixels)


def test_grain_is_the_same_for_a_frame_and_another_for_the_next() -> None:
    source = draw_skin(grain=3)
    soft = cv2.GaussianBlur(source, (0, 0), 1.5)
    first, again, following = (restore(make_crop(source, soft, frame)).pixels for frame in (8, 8, 9))
    assert (first == again).all()
    assert (first != following).any()


@pytest.mark.parametrize("size", [(16, 16), (17, 240), (512, 512)])
@pytest.mark.parametrize("weight", [0, 1, 255])
def test_any_size_and_weight(size: tuple[int, int], weight: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 4), np.uint8)
    pixels[..., 3] = weight
    restored = restore(Crop(0, 0, pixels, None))
    assert restored.pixels.shape == pixels.shape
    assert (restored.pixels[..., 3] == weight).all()
