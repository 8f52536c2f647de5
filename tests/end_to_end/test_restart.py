"""Every service restarted, one after another, while a job of sixty segments runs: the result is the same."""

import signal
import time
import wave
from collections.abc import Callable
from pathlib import Path

import pytest

from syncline import Client
from syncline.types import Phase
from tests.end_to_end.cluster import Cluster
from tests.postgres import HOW, find_programs, running

SEGMENTS, SEGMENT_SECONDS = 60, 0.3


def repeat_sound(source: Path, target: Path, seconds: int) -> None:
    with wave.open(str(source)) as heard, wave.open(str(target), "wb") as written:
        written.setparams(heard.getparams())
        sound, rate = heard.readframes(heard.getnframes()), heard.getframerate()
        width = heard.getsampwidth() * heard.getnchannels()
        times = seconds * rate // heard.getnframes() + 1
        written.writeframes((sound * times)[: seconds * rate * width])


@pytest.mark.timeout(400)
def test_a_rolling_restart_changes_nothing(media: Path, tmp_path: Path) -> None:
    if find_programs() is None:
        pytest.skip(HOW)
    speech = tmp_path / "speech.wav"
    repeat_sound(media / "long.wav", speech, round(SEGMENTS * SEGMENT_SECONDS))
    with (
        running() as postgres,
        Cluster(tmp_path / "cluster", postgres.new_database(), 2, SEGMENT_SECONDS) as cluster,
        Client(cluster.server) as client,
    ):
        files = client.upload(media / "portrait.mp4"), client.upload(speech)
        job = client.create_job(*files, sync_mode="bounce", preset="ultrafast")

        def is_rendering() -> bool:
            progress = client.get(job).progress
            return progress is not None and progress.phase is Phase.RENDER and progress.done_segments > 0

        wait_until(is_rendering)
        for name in ("restorer", "lipsync", "worker1", "decoder", "api", "detector", "worker2"):
            cluster.strike(name, signal.SIGTERM)
        assert not client.get(job).state.ended  # it has lived through all of it
        restarted = client.result(job)
        assert restarted.progress is not None
        assert restarted.progress.total_segments == SEGMENTS
        again = client.create_job(*files, sync_mode="bounce", preset="ultrafast")
        undisturbed = client.result(again)
        assert restarted.result is not None
        assert undisturbed.result is not None
        assert restarted.result.digest == undisturbed.result.digest


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.05)
