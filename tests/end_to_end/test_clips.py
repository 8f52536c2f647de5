"""Real talking clips with other clips' speech."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from syncline import Client
from tests.end_to_end.conftest import read_video


@pytest.mark.parametrize(
    ("video", "audio"),
    [
        ("talking/hdtf_2.mp4", "speech/es_1.wav"),
        ("talking/retalking_3.mp4", "speech/noisy_audio_cafeter_snr_0.wav"),
        ("talking/beard_vfr.mp4", "speech/es_1.wav"),
        ("odd/rotated_face.mov", "speech/es_1.wav"),
    ],
)
def test_a_real_clip_says_something_else(client: Client, clips: Path, tmp_path: Path, video: str, audio: str) -> None:
    job = client.run(clips / video, clips / audio, tmp_path / "out.mp4")
    report = client.report(job)
    frames, times = read_video(tmp_path / "out.mp4")
    assert len(frames) == report["result"]["frames"]
    assert all(after > before for before, after in pairwise(times))
    left_alone = ("no_face", "passed_through", "failed")
    assert sum(report["frames"]["by_outcome"].get(outcome, 0) for outcome in left_alone) < 0.1 * len(frames)
    assert np.isfinite([frame.mean() for frame in frames]).all()
