"""Every service restarted, in three waves, while a job of sixty segments runs: the result is the same."""

import signal
import time
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
import skimage.data

from syncline import Client
from syncline.types import Phase
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.conftest import sway, write_video
from tests.postgres import HOW, find_programs, running

SEGMENTS, SEGMENT_SECONDS, RATE = 60, 0.1, Fraction(20)
# Each with the segments that are done by then. One worker is always there; the last wave takes a stage that no segment
# can do without, so that the job cannot end before it.
WAVES = ((1, ("restorer", "worker1")), (10, ("lipsync", "detector")), (20, ("decoder", "worker2", "api")))


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
    speech, portrait = tmp_path / "speech.wav", tmp_path / "portrait.mp4"
    write_video(portrait, [sway(skimage.data.astronaut(), frame)[::2, ::2] for frame in range(40)], RATE)
    repeat_sound(media / "long.wav", speech, round(SEGMENTS * SEGMENT_SECONDS))
    with (
        running() as postgres,
        Cluster(tmp_path / "cluster", postgres.new_database(), 2, SEGMENT_SECONDS) as cluster,
        Client(cluster.server) as client,
    ):
        files = client.upload(portrait), client.upload(speech)
        job = client.create_job(*files, sync_mode="bounce", preset="ultrafast")

        def done_segments() -> int:
            progress = client.get(job).progress
            return progress.done_segments if progress is not None and progress.phase is Phase.RENDER else 0

        for segments, names in WAVES:
            wait_until(lambda least=segments: done_segments() >= least)
            assert done_segments() < SEGMENTS  # there is work to be disturbed
            with ThreadPoolExecutor() as threads:
                list(threads.map(lambda name: cluster.strike(name, signal.SIGTERM), names))
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
