"""Clients of a server that speaks TLS, in code and on the command line."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner

from services.runtime.config import ServerConfig
from services.runtime.tls import make_server_credentials
from syncline import AsyncClient, Client, errors
from syncline.cli import app
from syncline.types import Tls
from tests.sdk.fakes import FakeOrchestrator, serving
from tests.tls import write_keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and a client, and in `elsewhere` those of people whom nobody knows."""
    folder = tmp_path_factory.mktemp("keys")
    ours, foreign = (trustme.CA(key_type=trustme.KeyType.ECDSA) for _ in range(2))
    write_keys(ours, folder, "server", "127.0.0.1")
    write_keys(ours, folder, "client")
    write_keys(foreign, folder / "elsewhere", "client")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    files = (str(folder / name) for name in ("server.pem", "server.key", "ca.pem"))
    with serving(
        FakeOrchestrator(), credentials=make_server_credentials(ServerConfig(0, "", 1.0, 0, *files))
    ) as address:
        yield address


def tls(folder: Path) -> Tls:
    return Tls(folder / "ca.pem", folder / "client.pem", folder / "client.key")


def test_both_clients_speak_tls(server: str, folder: Path) -> None:
    async def ask() -> int:
        async with AsyncClient(server, tls=tls(folder)) as client:
            return len([job async for job in client.list()])

    with Client(server, tls=tls(folder)) as client:
        assert list(client.list()) == []
    assert asyncio.run(ask()) == 0


def test_an_untrusted_server_is_not_asked_twice(server: str, folder: Path) -> None:
    with (
        Client(server, tls=tls(folder / "elsewhere")) as client,
        pytest.raises(errors.TlsFailed, match="nobody whom the client trusts has signed the server's certificate"),
    ):
        client.get("jobs/1")


@pytest.mark.parametrize("given", [None, "ca alone"])
def test_a_client_without_a_certificate_learns_what_it_lacks(server: str, folder: Path, given: str | None) -> None:
    with (
        Client(server, tls=Tls(folder / "ca.pem") if given else None) as client,
        pytest.raises(errors.ServiceUnavailable, match="a server that wants TLS, or a certificate of the client"),
    ):
        client.get("jobs/1")


def test_files_that_are_missing() -> None:
    with pytest.raises(errors.InvalidOption, match="go together"):
        Tls(certificate="client.pem")
    with pytest.raises(FileNotFoundError):
        Client("localhost:1", tls=Tls("nowhere.pem"))


def test_the_command_line_speaks_tls(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*words, "list", "--server", server])
        return done.exit_code, done.stderr

    files = {"root-certificates": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    assert run(*(word for option, name in files.items() for word in (f"--{option}", str(folder / name)))) == (0, "")
    status, told = run("--tls", "--root-certificates", str(folder / "elsewhere" / "ca.pem"))
    assert (status, told.split(":")[0]) == (1, "TLS_FAILED")
    status, told = run("--certificate", str(folder / "client.pem"))
    assert (status, told) == (1, "INVALID_OPTION: a certificate and its key go together\n")
    for option, name in files.items():
        monkeypatch.setenv(f"SYNCLINE_{option.upper().replace('-', '_')}", str(folder / name))
    assert run() == (0, "")
