"""The mouths a person was filmed with: candidates for every output frame, compressed so that the eye sees no loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from services.lipsync.engines.rewrite import blob, shape
from services.lipsync.engines.rewrite.occlusion import (
    NOTHING,
    Looks,
    learn_looks,
    measure_inputs,
    read_colours,
    read_looks,
)
from services.runtime.blobs import Rows, Spool, StoredArray
from services.runtime.faces import LANDMARK_COUNT, Crop
from services.runtime.frames import view_bytes

MAX_CANDIDATES = 2000
MAX_PICTURE_BYTES = 52 * 2**20  # leaves the blob room for meshes under its 64 MiB
MAX_SIDE = 512  # pixels
JPEG_QUALITY = 95
MAX_TURN = np.array([40.0, 32.0])  # yaw and pitch in degrees; the mesh of a face turned further is guesswork
_JPEG_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
_JPEG_OPTIONS += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # lips are all colour
MARGIN = 0.15  # around the lower face, in eye distances
_MESH_UNIT = 1 / 32  # pixels per step of a stored mesh
_MESH_BYTES = LANDMARK_COUNT * 3 * 2
# Cells of equal worth when mouths must be thinned out: yaw and pitch in degrees, then opening, width, lower lip.
_CELL = np.array([6.0, 6.0, 0.025, 0.03, 0.04])
_SPARE = 400  # candidates held above the limit before thinning out
# The lower face to the middle of the nose; all that rendering a mouth may need.
_KEPT = np.concatenate([[5, 50, 280, 93, 323, 132, 361, 58, 288], shape.JAW])


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of one mouth. `start`: where its mesh, and its picture of `size` bytes after it, lie in a spool."""

    source_frame: int
    start: int
    size: int
    measures: np.ndarray
    pose: np.ndarray
    sharpness: float
    light: np.ndarray  # mean R, G, B
    colours: np.ndarray  # (points, 3), as occlusion.read_colours


@dataclass(frozen=True, slots=True)
class Library:
    """n candidates in order of their source frames, and how their lower face looks when nothing hides it.

    What there is much of stays in its file.
    """

    source_frames: np.ndarray  # (n,) int64
    meshes: Rows  # (n, 468, 3) int16, steps of 1/32 pixel of the picture, whose bounds they may be outside of
    measures: np.ndarray  # (n, measures) float32
    poses: np.ndarray  # (n, 4) float32, as shape.measure_poses
    sharpness: np.ndarray  # (n,) float32
    lights: np.ndarray  # (n, 3) float32
    ends: np.ndarray  # (n,) int64, where each picture ends in `pictures`
    pictures: Rows  # uint8, JPEG after JPEG
    looks: Looks = NOTHING

    def __len__(self) -> int:
        return len(self.source_frames)

    def read_mesh(self, index: int) -> np.ndarray:
        return self.meshes[index].astype(np.float32) * np.float32(_MESH_UNIT)

    def read_picture(self, index: int) -> np.ndarray | None:
        """(height, width, 3) RGB, None when it cannot be decoded."""
        start = int(self.ends[index - 1]) if index else 0
        encoded = np.asarray(self.pictures[start : int(self.ends[index])])
        size = _read_jpeg_size(encoded)
        if size is None or max(size) > MAX_SIDE:
            return None
        try:
            decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            return None
        return decoded if decoded is not None and decoded.shape[:2] == size else None

    def to_arrays(self) -> dict[str, Rows]:
        own = (name for name in self.__slots__ if name != "looks")
        return {f"library_{name}": getattr(self, name) for name in own} | self.looks.to_arrays()


def read_library(arrays: Mapping[str, Rows]) -> Library:
    """Raises Refusal BLOB_UNUSABLE for arrays that make no library."""
    frames = blob.require("prepared", arrays, "library_source_frames", "<i8", None)
    n = len(frames)
    library = Library(
        frames,
        blob.require_rows("prepared", arrays, "library_meshes", "<i2", n, LANDMARK_COUNT, 3),
        blob.require("prepared", arrays, "library_measures", "<f4", n, shape.MEASURES),
        blob.require("prepared", arrays, "library_poses", "<f4", n, 4),
        blob.require("prepared", arrays, "library_sharpness", "<f4", n),
        blob.require("prepared", arrays, "library_lights", "<f4", n, 3),
        blob.require("prepared", arrays, "library_ends", "<i8", n),
        blob.require_rows("prepared", arrays, "library_pictures", "|u1", None),
        read_looks(arrays),
    )
    bounds = np.concatenate([[0], library.ends, [len(library.pictures)]])
    if (np.diff(bounds) < 0).any() or (library.poses[:, 3] <= 0).any() or n > MAX_CANDIDATES:
        blob.refuse("prepared", "its mouths are damaged")
    return library


class LibraryBuilder:
    """Takes crops as they come and keeps the best; meshes and pictures in a file, so that memory hardly grows."""

    def __init__(self, max_candidates: int = MAX_CANDIDATES, max_picture_bytes: int = MAX_PICTURE_BYTES) -> None:
        self._max_candidates = max_candidates
        self._max_bytes = max_picture_bytes
        self._candidates: list[Candidate] = []
        self._spool = Spool()

    def add(self, crops: Sequence[Crop], measures: np.ndarray, poses: np.ndarray) -> None:
        """`measures` (n, measures) and `poses` (n, 4) of the crops' meshes."""
        for crop, crop_measures, pose in zip(crops, measures, poses, strict=True):
            made = make_candidate(crop, crop_measures, pose, self._spool.size)
            if made is not None:
                candidate, mesh, picture = made
                self._candidates.append(candidate)
                self._spool.append(view_bytes(mesh))
                self._spool.append(view_bytes(picture))
        count = len(self._candidates)
        if count > self._max_candidates + _SPARE or self._spool.size - count * _MESH_BYTES > 1.25 * self._max_bytes:
            self._thin_out()

    def finish(self) -> Library:
        """Of all that was added; the builder is empty after it."""
        looks = self._drop_hidden()
        kept = sorted(self._select(), key=lambda candidate: candidate.source_frame)
        meshes, pictures, spool = Spool(), Spool(), self._spool
        for candidate in kept:
            meshes.append(spool.read(candidate.start, _MESH_BYTES))
            pictures.append(spool.read(candidate.start + _MESH_BYTES, candidate.size))
        self._candidates, self._spool = [], Spool()
        return Library(
            np.array([candidate.source_frame for candidate in kept], np.int64),
            StoredArray(meshes, "<i2", (len(kept), LANDMARK_COUNT, 3)),
            np.array([candidate.measures for candidate in kept], np.float32).reshape(-1, shape.MEASURES),
            np.array([candidate.pose for candidate in kept], np.float32).reshape(-1, 4),
            np.array([candidate.sharpness for candidate in kept], np.float32),
            np.array([candidate.light for candidate in kept], np.float32).reshape(-1, 3),
            np.cumsum([candidate.size for candidate in kept], dtype=np.int64),
            StoredArray(pictures, "|u1", (pictures.size,)),
            looks,
        )

    def _drop_hidden(self) -> Looks:
        """Learns what this lower face looks like and forgets the mouths that something hides."""
        if not self._candidates:
            return NOTHING
        colours = np.array([candidate.colours for candidate in self._candidates])
        measures = np.array([candidate.measures for candidate in self._candidates])
        inputs = measure_inputs(measures, np.array([candidate.pose for candidate in self._candidates]))
        looks = learn_looks(colours, inputs)
        hidden = looks.find_hidden(colours, inputs)
        pairs = zip(self._candidates, hidden, strict=True)
        self._candidates = [candidate for candidate, is_hidden in pairs if not is_hidden]
        return looks

    def _thin_out(self) -> None:
        """Into a new file: there is no room for what nobody needs."""
        spool, self._spool = self._spool, Spool()
        kept, self._candidates = self._select(), []
        for candidate in kept:
            self._candidates.append(replace(candidate, start=self._spool.size))
            self._spool.append(spool.read(candidate.start, _MESH_BYTES + candidate.size))

    def _select(self) -> list[Candidate]:
        if not self._candidates:
            return []
        return [self._candidates[place] for place in select(self._candidates, self._max_candidates, self._max_bytes)]


def select(candidates: Sequence[Candidate], most: int, most_bytes: int) -> list[int]:
    """Places of the candidates to keep: every kind of mouth and pose first, then the sharper of each kind."""
    measures = np.array([candidate.measures for candidate in candidates])
    poses = np.array([candidate.pose for candidate in candidates])
    sharpness = np.array([candidate.sharpness for candidate in candidates])
    lips = measures[:, [shape.Measure.OPENING, shape.Measure.WIDTH, shape.Measure.LOWER_LIP]]
    kinds = np.concatenate([poses[:, :2], lips], axis=1)
    _, cell = np.unique(np.floor(kinds / _CELL).astype(np.int64), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    order = np.lexsort((-sharpness, cell))
    first_of_cell = np.searchsorted(cell[order], cell[order])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - first_of_cell
    best_first = np.lexsort((-sharpness, rank))[:most]
    sizes = np.array([candidates[place].size for place in best_first])
    return sorted(int(place) for place in best_first[np.cumsum(sizes) <= most_bytes])


def make_candidate(
    crop: Crop, measures: np.ndarray, pose: np.ndarray, start: int
) -> tuple[Candidate, np.ndarray, np.ndarray] | None:
    """The mouth, its mesh as a library has it, and its picture; None for a face turned too far away or cut off."""
    mesh = crop.landmarks
    if mesh is None or (np.abs(pose[:2]) > MAX_TURN).any():
        return None
    height, width = crop.pixels.shape[:2]
    lips = mesh[shape.LIPS, :2]
    if (lips < 0).any() or (lips > (width, height)).any():
        return None
    margin = MARGIN * pose[3]
    low = np.floor(np.maximum(mesh[_KEPT, :2].min(axis=0) - margin, 0)).astype(int)
    high = np.ceil(np.minimum(mesh[_KEPT, :2].max(axis=0) + margin, (width, height))).astype(int)
    picture = np.ascontiguousarray(crop.pixels[low[1] : high[1], low[0] : high[0], :3])
    encoded = cv2.imencode(".jpg", picture[..., ::-1], _JPEG_OPTIONS)[1].reshape(-1)
    shifted = np.float32(mesh - np.array([low[0], low[1], 0], np.float32))
    mouth_low = np.floor(lips.min(axis=0)).astype(int) - low
    mouth_high = np.ceil(lips.max(axis=0)).astype(int) - low + 1
    mouth = cv2.cvtColor(picture[mouth_low[1] : mouth_high[1], mouth_low[0] : mouth_high[0]], cv2.COLOR_RGB2GRAY)
    sharpness = float(cv2.Laplacian(mouth, cv2.CV_32F).std() / (mouth.mean() + 10))
    colours = read_colours(crop.pixels, mesh)
    light = picture.mean(axis=(0, 1))
    candidate = Candidate(crop.frame, start, len(encoded), measures, pose, sharpness, light, colours)
    return candidate, np.clip(np.rint(shifted / _MESH_UNIT), -32768, 32767).astype("<i2"), encoded


def _read_jpeg_size(encoded: np.ndarray) -> tuple[int, int] | None:
    """(height, width) a JPEG announces, so that a damaged one cannot ask for much memory."""
    content = encoded.tobytes()
    place = 2
    while content[:2] == b"\xff\xd8" and place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return (
                int.from_bytes(content[place + 5 : place + 7], "big"),
                int.from_bytes(content[place + 7 : place + 9], "big"),
            )
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
