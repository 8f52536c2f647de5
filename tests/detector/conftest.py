"""The engine and a picture whose truth is known: a free portrait, moved by a known map."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from services.detector.engines.blazeface import BlazeFace
from services.runtime.models import load_manifest, models_folder

VIEW = (640, 360)  # width, height
FACE = (222.0, 125.0)  # middle of the face in the portrait, pixels


@dataclass(frozen=True)
class Portrait:
    """The photo of Eileen Collins (public domain) and its mesh as found upright at full size."""

    photo: np.ndarray
    mesh: np.ndarray

    def place(self, x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """A view with the face's middle at x, y, turned clockwise by degrees, and where its landmarks (468, 2) are."""
        cosine, sine = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
        linear = np.array([[cosine, -sine], [sine, cosine]])
        offset = np.array([x, y]) - linear @ FACE
        # cv2 counts from pixel centres, landmarks from corners.
        centres = np.column_stack([linear, offset + linear @ [0.5, 0.5] - 0.5])
        view = cv2.warpAffine(self.photo, centres, VIEW, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_CONSTANT)
        return view, self.mesh[:, :2] @ linear.T + offset


@pytest.fixture(scope="session")
def blazeface() -> BlazeFace:
    """Raises a Refusal that says `make models` when the model files are not there."""
    return BlazeFace()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the default models, for others beside them; the environment that names it is put back after."""
    for model in load_manifest().models.values():
        if model.default:
            (tmp_path / model.file).symlink_to(models_folder() / model.file)
    for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
        monkeypatch.setenv(variable, "")
    return tmp_path


@pytest.fixture(scope="session")
def portrait(blazeface: BlazeFace) -> Portrait:
    photo = data.astronaut()
    found = blazeface.landmark(photo[:300, 100:360], None)
    assert found is not None
    return Portrait(photo, found[1] + np.array([100, 0, 0], np.float32))


def read_views(path: Path, count: int, longest: int = 640) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """The first frames of a clip as views, with the size (width, height) of their source."""
    with av.open(path) as container:
        for _, frame in zip(range(count), container.decode(video=0), strict=False):
            scale = min(1.0, longest / max(frame.width, frame.height))
            pixels = frame.to_ndarray(format="rgb24")
            size = (round(frame.width * scale), round(frame.height * scale))
            yield cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), (frame.width, frame.height)
