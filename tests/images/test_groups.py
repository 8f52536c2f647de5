"""Each stage in a clean environment with nothing but its own dependency group: it starts and answers. `make groups`"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.channel import open_channel
from services.runtime.convert import from_crops
from services.runtime.faces import Crop
from services.runtime.wire import Packet
from syncline.v1 import (
    decoder_pb2,
    decoder_pb2_grpc,
    detector_pb2,
    detector_pb2_grpc,
    lipsync_pb2,
    lipsync_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    restorer_pb2,
    restorer_pb2_grpc,
)
from tests.end_to_end.conftest import write_video
from tests.stages import converse, run

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("decoder", "detector", "lipsync", "restorer", "orchestrator")

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]


@pytest.fixture(params=STAGES)
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A stage, and a folder with what its image holds: an environment, the stage's own code, the models."""
    stage: str = request.param
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    pip = [str(tmp_path / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "pip==26.3"], check=True)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "syncline", source / "syncline")
    constraints = ["--constraint", "constraints.txt", "--group", stage, "."]
    subprocess.run([*pip, *constraints], check=True, cwd=source)
    app = tmp_path / "app"
    for name in ("runtime", stage):
        shutil.copytree(ROOT / "services" / name, app / "services" / name)
    shutil.copy(ROOT / "services" / "__init__.py", app / "services")
    shutil.copy(ROOT / "models.toml", app)
    if (ROOT / "models").is_dir():
        shutil.copytree(ROOT / "models", app / "models")
    return stage, tmp_path


@contextlib.contextmanager
def started(stage: str, folder: Path) -> Iterator[str]:
    """The stage's address, once it is SERVING."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefix = stage.upper()
    own = {f"{prefix}_PORT": str(port), f"{prefix}_STORE": str(folder / "data")}
    environment = {"PATH": os.environ["PATH"], **own}
    (folder / "data").mkdir(exist_ok=True)
    command = [str(folder / "venv" / "bin" / "python"), "-m", f"services.{stage}"]
    process = subprocess.Popen(command, cwd=folder / "app", env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True
            )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(40) == 0


async def ask_decoder(channel: Any, folder: Path) -> None:
    write_video(folder / "video.mp4", [np.full((32, 48, 3), level, np.uint8) for level in range(5)])
    content = (folder / "video.mp4").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    stored = folder / "data" / "assets" / digest[:2] / digest
    stored.parent.mkdir(parents=True)
    stored.write_bytes(content)
    stub: Any = decoder_pb2_grpc.DecoderServiceStub(channel)
    answer = await stub.Inspect(decoder_pb2.InspectRequest(source=digest))
    assert answer.info.video.frame_count == 5


async def ask_restorer(channel: Any, folder: Path) -> None:
    stub: Any = restorer_pb2_grpc.RestorerServiceStub(channel)
    opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
    crops, payload = from_crops(0, [Crop(0, 0, np.zeros((64, 64, 4), np.uint8), np.zeros((468, 3), np.float32))])
    (answer,) = await converse(stub.Restore, opening, [Packet(restorer_pb2.RestoreRequest(crops=crops), payload)])
    assert len(answer.message.crops.crops) == 1


async def ask_detector(channel: Any, folder: Path) -> None:
    stub: Any = detector_pb2_grpc.DetectorServiceStub(channel)
    answer = await stub.GetCapabilities(detector_pb2.DetectorServiceGetCapabilitiesRequest())
    assert answer.engines


async def ask_lipsync(channel: Any, folder: Path) -> None:
    stub: Any = lipsync_pb2_grpc.LipsyncServiceStub(channel)
    answer = await stub.GetCapabilities(lipsync_pb2.LipsyncServiceGetCapabilitiesRequest())
    assert answer.engines


async def ask_orchestrator(channel: Any, folder: Path) -> None:
    stub: Any = orchestrator_pb2_grpc.OrchestratorServiceStub(channel)
    answer = await stub.ListJobs(orchestrator_pb2.ListJobsRequest())
    assert not answer.jobs


ASK: dict[str, Callable[[Any, Path], Any]] = {
    "decoder": ask_decoder,
    "detector": ask_detector,
    "lipsync": ask_lipsync,
    "restorer": ask_restorer,
    "orchestrator": ask_orchestrator,
}


def test_a_stages_own_group_is_enough(installed: tuple[str, Path]) -> None:
    stage, folder = installed

    async def ask(address: str) -> None:
        channel = open_channel(address)
        try:
            await ASK[stage](channel, folder)
        finally:
            await channel.close()

    with started(stage, folder) as address:
        run(ask(address))
