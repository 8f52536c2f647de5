"""Every service restarted, one after another, while a job of sixty segments runs: the result is the same."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import grpc
import pytest
import skimage.data
from grpc_health.v1 import health_pb2, health_pb2_grpc

from syncline import Client
from syncline.local import SERVICES, make_environment
from syncline.types import JobState, Phase
from tests.end_to_end.conftest import sway, write_video

ROOT = Path(__file__).resolve().parents[2]
RATE = Fraction(2)  # frames a second: sixty segments of 4 s are not many frames


class Cluster:
    """The five services, and the orchestrator's worker apart from its api, each of which can be restarted."""

    def __init__(self, data: Path) -> None:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(len(SERVICES) + 1)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in sockets]
        self._ports = dict(zip((*SERVICES, "worker"), ports, strict=True))
        known = {name: self._ports[name] for name in SERVICES}
        base = make_environment(data, known, ROOT, os.environ) | {"ORCHESTRATOR_LEASE_SECONDS": "4"}
        self._environments = dict.fromkeys(SERVICES, base)
        self._environments["orchestrator"] = base | {"ORCHESTRATOR_ROLES": "api"}
        worker = {"ORCHESTRATOR_ROLES": "worker", "ORCHESTRATOR_PORT": str(self._ports["worker"])}
        self._environments["worker"] = base | worker
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._ports['orchestrator']}"

    def start(self, *names: str) -> None:
        for name in names:
            module = "orchestrator" if name == "worker" else name
            command = [sys.executable, "-m", f"services.{module}"]
            environment = self._environments[name]
            self._processes[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        for name in names:
            with grpc.insecure_channel(f"127.0.0.1:{self._ports[name]}") as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)

    def restart(self, name: str) -> None:
        """As a rollout does: SIGTERM, an end in peace, a new process."""
        self._processes[name].send_signal(signal.SIGTERM)
        assert self._processes[name].wait(30) == 0
        self.start(name)

    def kill(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        cluster.start(*SERVICES, "worker")
        yield cluster
    finally:
        cluster.kill()


def repeat_sound(source: Path, target: Path, seconds: int) -> None:
    with wave.open(str(source)) as heard, wave.open(str(target), "wb") as written:
        written.setparams(heard.getparams())
        sound, rate = heard.readframes(heard.getnframes()), heard.getframerate()
        width = heard.getsampwidth() * heard.getnchannels()
        times = seconds * rate // heard.getnframes() + 1
        written.writeframes((sound * times)[: seconds * rate * width])


def test_a_rolling_restart_changes_nothing(cluster: Cluster, media: Path, tmp_path: Path) -> None:
    photo = skimage.data.astronaut()
    video, speech = tmp_path / "slow.mp4", tmp_path / "speech.wav"
    write_video(video, [sway(photo, frame)[::2, ::2] for frame in range(60)], RATE)
    repeat_sound(media / "long.wav", speech, 240)
    with Client(cluster.server) as client:
        files = client.upload(video), client.upload(speech)
        job = client.create_job(*files, sync_mode="bounce")
        while (now := client.get(job)).progress.phase is not Phase.RENDER or now.progress.done_segments < 2:
            time.sleep(0.1)
        for name in ("restorer", "lipsync", "decoder", "detector", "worker", "orchestrator"):
            cluster.restart(name)
        assert client.get(job).state in (JobState.RUNNING, JobState.QUEUED)  # it had to live through all of it
        restarted = client.result(job)
        assert restarted.progress.total_segments == 60
        undisturbed = client.result(client.create_job(*files, sync_mode="bounce"))
        assert client.download(restarted, tmp_path / "a").read_bytes() == (
            client.download(undisturbed, tmp_path / "b").read_bytes()
        )
