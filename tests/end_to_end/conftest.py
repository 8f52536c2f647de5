"""Five real services for all tests of this folder, and media to feed them whose truth is known."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data

from examples.demo import speak
from syncline import Client
from syncline.local import LocalStack

RATE = Fraction(30000, 1001)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with LocalStack(tmp_path_factory.mktemp("data")) as stack:
        yield stack.server


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with portrait.png, speech.wav (about 2 s), long.wav (about 5 s) and portrait.mp4 (2 s, head sways)."""
    folder = tmp_path_factory.mktemp("media")
    photo = skimage.data.astronaut()
    cv2.imwrite(str(folder / "portrait.png"), photo[:, :, ::-1])
    speak("My mouth may open wide.", folder / "speech.wav")
    speak("Bob makes a movie, and everybody may speak in it for some seconds more.", folder / "long.wav")
    write_video(folder / "portrait.mp4", [sway(photo, frame) for frame in range(60)])
    return folder


def sway(photo: np.ndarray, frame: int) -> np.ndarray:
    """The photo moved by some pixels, as a head that sways. (480, 512, 3) uint8."""
    x, y = 6 * np.sin(frame / 10), 4 * np.sin(frame / 7)
    moved = cv2.warpAffine(photo, np.float32([[1, 0, x], [0, 1, y]]), (512, 512), borderMode=cv2.BORDER_REPLICATE)
    return moved[:480]


def write_video(
    path: Path, pictures: list[np.ndarray], rate: Fraction = RATE, pts: Callable[[int], int] = lambda frame: frame
) -> None:
    """H.264, nearly lossless; `pts` in frames of `rate`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / rate
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = pts(number), 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_video(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    """Luma of the frames, and their times in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [frame.to_ndarray(format="gray").copy() for frame in frames], [
        frame.pts * frame.time_base for frame in frames
    ]
