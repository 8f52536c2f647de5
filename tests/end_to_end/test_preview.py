"""What a job would make, seen before it is queued, is what it then makes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from syncline import Client, errors
from syncline.types import Asset, NewJob, Options
from tests.end_to_end.conftest import read_video


@pytest.fixture(scope="module")
def files(client: Client, media: Path) -> tuple[Asset, Asset]:
    return client.upload(media / "portrait.mp4"), client.upload(media / "speech.wav")


def test_the_begin_of_a_short_video_is_the_job(client: Client, files: tuple[Asset, Asset], tmp_path: Path) -> None:
    made = client.preview(NewJob(*files), tmp_path / "preview.mp4", seconds=10)
    assert made.outcomes == ()
    job = client.result(client.create_job(*files))
    assert job.result == made.asset


def test_a_frame_beside_what_was_done_to_it(client: Client, files: tuple[Asset, Asset], tmp_path: Path) -> None:
    job = client.create_job(*files, crf=10)
    made = client.preview(NewJob(*files), tmp_path / "frame.png", at=0.5)
    assert set(made.outcomes) < {"synced", "warped"}
    picture = cv2.imread(str(tmp_path / "frame.png"))
    assert picture.shape == (480, 2 * 512, 3)
    plain, drawn = picture[:, :512].astype(int), picture[:, 512:].astype(int)
    marked = np.abs(plain - drawn).max(axis=2) > 0
    assert 0.02 < marked.mean() < 0.2
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    assert (columns[0] > 130, columns[-1] < 310, rows[-1] < 240) == (True, True, True)  # the face and its surroundings
    client.download(client.result(job), tmp_path / "job.mp4")
    frames, times = read_video(tmp_path / "job.mp4")
    shown = frames[max(number for number, time in enumerate(times) if time <= 0.5)]
    gray = cv2.cvtColor(picture[:, :512], cv2.COLOR_BGR2GRAY).astype(int)
    assert np.abs(gray - shown).mean() < 2


@pytest.mark.parametrize(
    ("part", "field"),
    [({"at": 2.5}, "time"), ({"at": -1.0}, "time"), ({"seconds": 10.5}, "seconds"), ({"seconds": 0.0}, "seconds")],
)
def test_what_cannot_be_shown(
    client: Client, files: tuple[Asset, Asset], tmp_path: Path, part: dict[str, float], field: str
) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        client.preview(NewJob(*files), tmp_path / "never", **part)
    assert refused.value.metadata["field"] == field
    assert not (tmp_path / "never").exists()


def test_options_are_checked_as_a_jobs(client: Client, files: tuple[Asset, Asset], tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidOption):
        client.preview(NewJob(*files, Options(crf=99)), tmp_path / "never.png")
