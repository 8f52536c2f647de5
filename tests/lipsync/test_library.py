"""The mouths that are kept, and that they come back as they were."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from services.lipsync.engines.rewrite import blob, shape
from services.lipsync.engines.rewrite.library import Library, LibraryBuilder, read_library
from services.runtime.faces import Crop
from services.runtime.refusal import Refusal

from .people import film, make_points, open_mouths, paint, pose


def build(crops: list[Crop], **limits: int) -> Library:
    builder = LibraryBuilder(**limits)
    for crop in crops:
        meshes = np.array([crop.landmarks])
        builder.add([crop], shape.measure_shapes(meshes), shape.measure_poses(meshes))
    return builder.finish()


def test_a_kept_mouth_looks_as_it_did() -> None:
    crop = film(np.array([0.2]))[0]
    library = build([crop])
    picture, mesh = library.read_picture(0), library.read_mesh(0)
    corner = np.rint(crop.landmarks[0, :2] - mesh[0, :2]).astype(int)
    np.testing.assert_allclose(mesh[:, :2] + corner, crop.landmarks[:, :2], atol=1 / 32)
    seen = crop.pixels[corner[1] : corner[1] + picture.shape[0], corner[0] : corner[0] + picture.shape[1]]
    assert np.abs(picture.astype(int) - seen).mean() < 2.5
    lips = mesh[np.concatenate([shape.LIPS, shape.JAW]), :2]
    assert (lips >= 0).all()
    assert (lips <= picture.shape[1::-1]).all()


def test_thinning_out_keeps_the_rare_mouths() -> None:
    openings = np.full(120, 0.01)
    openings[[17, 90]] = 0.22, 0.3
    library = build(film(openings), max_candidates=12)
    assert len(library) == 12
    assert {17, 90} <= set(library.source_frames.tolist())


def test_pictures_stay_within_their_bytes_while_crops_come() -> None:
    crop = film(np.array([0.1]))[0]
    size = len(build([crop]).pictures)
    builder = LibraryBuilder(max_picture_bytes=10 * size)
    meshes = np.array([crop.landmarks])
    for _ in range(60):
        builder.add([crop], shape.measure_shapes(meshes), shape.measure_poses(meshes))
        assert sum(candidate.size for candidate in builder._candidates) <= 13.5 * size
    assert len(builder.finish().pictures) <= 10 * size


def test_memory_does_not_hold_what_is_learned() -> None:
    """Neither while crops come, nor when they are made a blob, nor when that is read again."""
    crop = film(np.array([0.1]))[0]
    noisy = replace(crop, pixels=np.random.default_rng(0).integers(0, 256, crop.pixels.shape, np.uint8))
    meshes, builder = np.array([crop.landmarks]), LibraryBuilder()
    measures, poses = shape.measure_shapes(meshes), shape.measure_poses(meshes)
    tracemalloc.start()
    try:
        for frame in range(300):
            builder.add([replace(noisy, frame=frame)], measures, poses)
        packed = blob.pack("prepared", builder.finish().to_arrays())
        library = read_library(blob.unpack("prepared", packed))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert library.read_picture(299) is not None
    assert packed.size > 10 * 2**20
    assert peak < 6 * 2**20


def test_faces_turned_away_or_cut_off_are_left_out() -> None:
    points = make_points(open_mouths(np.array([0.1])))
    turned, outside = pose(points, yaw=55)[0], pose(points, centre=(128, 230))[0]
    crops = [Crop(0, 0, paint(turned), turned), Crop(1, 0, paint(outside), outside)]
    assert len(build(crops)) == 0


def test_arrays_give_the_same_library() -> None:
    library = build(film(np.linspace(0, 0.3, 5)))
    again = read_library(library.to_arrays())
    np.testing.assert_array_equal(again.read_picture(3), library.read_picture(3))


@pytest.mark.parametrize("name", ["library_ends", "library_meshes", "library_poses", "library_pictures"])
def test_damaged_libraries_are_refused(name: str) -> None:
    arrays = build(film(np.linspace(0, 0.3, 5))).to_arrays()
    damages = {
        "library_ends": lambda array: array[::-1],
        "library_meshes": lambda array: array[:-1],
        "library_poses": lambda array: array * np.nan,
        "library_pictures": lambda array: array[:100],
    }
    with pytest.raises(Refusal) as refused:
        read_library(arrays | {name: damages[name](arrays[name])})
    assert refused.value.reason == "BLOB_UNUSABLE"


def test_a_picture_that_lies_about_its_size_is_not_decoded() -> None:
    library = build(film(np.array([0.1])))
    pictures = np.array(library.pictures)
    place = bytes(pictures).index(b"\xff\xc0") + 5
    pictures[place : place + 4] = [0xFF, 0xFF, 0xFF, 0xFF]
    lying = read_library(library.to_arrays() | {"library_pictures": pictures})
    assert lying.read_picture(0) is None
    garbage = read_library(library.to_arrays() | {"library_pictures": np.zeros_like(pictures)})
    assert garbage.read_picture(0) is None
