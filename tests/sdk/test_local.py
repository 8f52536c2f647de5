import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from syncline import Client, errors, local
from syncline.local import LocalStack
from tests.sdk.fakes import VIDEO

from .stand_ins import SERVICES, write_stand_ins

HERE = Path(__file__).parent


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_stand_ins(tmp_path)
    monkeypatch.setattr(local, "find_services", lambda: root)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def told(data: Path, service: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((data / f"{service}.json").read_text())
    return document


def is_running(data: Path, service: str) -> bool:
    try:
        os.kill(told(data, service)["pid"], 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(data: Path) -> bool:
    for _ in range(200):
        if not any(is_running(data, name) for name in SERVICES):
            return True
        time.sleep(0.05)
    return False


def test_services_start_know_one_another_and_stop(services: Path, data: Path) -> None:
    ready: list[str] = []
    with LocalStack(data, on_ready=lambda name, address, seconds: ready.append(name)) as stack:
        assert sorted(ready) == sorted(SERVICES)
        assert all(is_running(data, name) for name in SERVICES)
        environment = told(data, "orchestrator")["environment"]
        assert stack.server == f"127.0.0.1:{environment['ORCHESTRATOR_PORT']}"
        for stage in SERVICES[:4]:
            assert environment[f"ORCHESTRATOR_{stage.upper()}"] == f"127.0.0.1:{environment[f'{stage.upper()}_PORT']}"
        assert environment["DECODER_STORE"] == environment["ORCHESTRATOR_STORE"] == str(data)
        with Client(stack.server) as client:
            assert list(client.list()) == []
        with pytest.raises(errors.FailedPrecondition, match="--server"):
            LocalStack(data).__enter__()
    assert not any(is_running(data, name) for name in SERVICES)


def test_service_that_cannot_start_is_named_with_its_reason(
    services: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "lipsync")
    message = "the lipsync ended with status 1: model .* run make models"
    with pytest.raises(errors.ServiceUnavailable, match=message) as caught:
        LocalStack(data).__enter__()
    assert "cannot start" in caught.value.metadata["tail"]
    assert (data / "logs" / "lipsync.log").exists()
    monkeypatch.delenv("BROKEN")
    with LocalStack(data):  # the folder is free again
        pass


def test_service_that_ends_later_is_noticed(services: Path, data: Path) -> None:
    with LocalStack(data) as stack:
        os.kill(told(data, "restorer")["pid"], signal.SIGKILL)
        with pytest.raises(errors.ServiceUnavailable, match="the restorer ended with signal 9"):
            stack.wait()


def test_service_that_will_not_stop_is_killed(services: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUBBORN", "detector")
    monkeypatch.setattr(local, "_STOP_SECONDS", 0.5)
    with LocalStack(data):
        pass
    assert not any(is_running(data, name) for name in SERVICES)


def test_taken_port_is_said_before_anything_starts(services: Path, data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(errors.FailedPrecondition, match="is taken"):
            LocalStack(data, taken.getsockname()[1]).__enter__()
    assert list(data.glob("*.json")) == []


def test_client_alone_asks_for_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(local, "__file__", str(tmp_path / "site-packages" / "syncline" / "local.py"))
    with pytest.raises(errors.FailedPrecondition, match="--server HOST:PORT"):
        LocalStack(tmp_path).__enter__()


def test_data_folder_follows_the_xdg_variable() -> None:
    assert local.default_data_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/syncline")
    assert local.default_data_folder({}) == Path.home() / ".local" / "share" / "syncline"


def start(services: Path, cwd: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (services, HERE, HERE.parents[1])))}
    environment.pop("SYNCLINE_SERVER", None)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "syncline.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
    )


def test_run_without_a_server_brings_its_own(tmp_path: Path, data: Path, video: Path, audio: Path) -> None:
    services = write_stand_ins(tmp_path)
    (tmp_path / "elsewhere" / "services").mkdir(parents=True)  # somebody else's; not to be started
    (tmp_path / "elsewhere" / "services" / "__init__.py").touch()
    out = tmp_path / "out.mp4"
    process = start(services, tmp_path / "elsewhere", "run", video, audio, "-o", out, "--data", data)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert out.read_bytes() == VIDEO
    assert sorted(line.split()[0] for line in stdout.splitlines() if " ready on " in line) == sorted(SERVICES)
    assert wait_until_gone(data)


def test_up_serves_until_ctrl_c(tmp_path: Path, data: Path) -> None:
    port = _free_port()
    process = start(write_stand_ins(tmp_path), tmp_path, "up", "--port", port, "--data", data)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("serving on"):
            break
    with Client(f"127.0.0.1:{port}") as client:
        assert list(client.list()) == []
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "stopped\n", "")
    assert wait_until_gone(data)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ties them together")
def test_services_end_with_a_killed_parent(tmp_path: Path, data: Path) -> None:
    process = start(write_stand_ins(tmp_path), tmp_path, "up", "--port", _free_port(), "--data", data)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("serving on"):
            break
    process.kill()
    process.communicate()
    assert wait_until_gone(data)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
