"""The five services, each with a certificate of its own, make a video for a client that trusts them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from syncline import Client
from syncline.local import SERVICES, STAGES, make_environment
from syncline.types import Tls
from tests.end_to_end.cluster import ROOT, await_serving, free_ports
from tests.tls import write_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, authority = tmp_path_factory.mktemp("keys"), trustme.CA(key_type=trustme.KeyType.ECDSA)
    for name in SERVICES:
        write_keys(authority, folder, name, "127.0.0.1")
    return folder


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The orchestrator's address. Stages take only clients with a certificate."""
    folder, ports = tmp_path_factory.mktemp("data"), dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    environment = make_environment(folder, ports, ROOT, os.environ) | {"ORCHESTRATOR_STAGES_CA": str(keys / "ca.pem")}
    health = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    for name in SERVICES:
        prefix = name.upper()
        environment[f"{prefix}_TLS_CERTIFICATE"] = str(keys / f"{name}.pem")
        environment[f"{prefix}_TLS_KEY"] = str(keys / f"{name}.key")
        environment[f"{prefix}_HEALTH_PORT"] = str(health[name])
        if name in STAGES:
            environment[f"{prefix}_TLS_CLIENT_CA"] = str(keys / "ca.pem")
    with ExitStack() as stack:
        for name in SERVICES:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            command = [sys.executable, "-P", "-m", f"services.{name}"]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
        for name in SERVICES:
            await_serving(f"127.0.0.1:{health[name]}", f"{name}, of {folder / f'{name}.log'},")
        yield f"127.0.0.1:{ports['orchestrator']}"


def test_a_job_over_tls(server: str, keys: Path, media: Path, tmp_path: Path) -> None:
    with Client(server, tls=Tls(keys / "ca.pem")) as client:
        done = client.run(media / "portrait.mp4", media / "speech.wav", tmp_path / "out.mp4", preset="ultrafast")
    assert done.result is not None
    assert (tmp_path / "out.mp4").stat().st_size == done.result.size_bytes
