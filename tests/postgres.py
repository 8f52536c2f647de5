"""A PostgreSQL server of one's own, from the programs that are installed."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg

HOW = "PostgreSQL's server is not installed (apt install postgresql, dnf install postgresql-server, brew install ...)"
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


def find_programs() -> Path | None:
    """The folder that holds initdb and postgres."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern[1:]))]
    return next((folder for folder in folders if (folder / "postgres").exists() and (folder / "initdb").exists()), None)


class Postgres:
    """Serves on loopback and in a folder of its own; `durable`: what it confirms outlives a power cut."""

    def __init__(self, folder: Path, programs: Path, durable: bool = False) -> None:
        self._durable = durable
        self._folder = folder
        self._programs = programs
        self._user = _someone() if os.geteuid() == 0 else None  # the server refuses to be root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        if self._user:
            shutil.chown(folder, self._user)
        self._run("initdb", "--pgdata", str(folder / "data"), "--username", "test", "--auth", "trust", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {
            "fsync": "on" if self._durable else "off",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        settings |= {"max_connections": "200", "shared_buffers": "16MB"}
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self._port)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            command, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(600):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self._address("postgres")).close()
                return
            time.sleep(0.05)
        raise RuntimeError("the PostgreSQL server does not answer")

    def stop(self) -> None:
        """As a machine that is switched off and on again would: open transactions are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def pause(self, seconds: float) -> None:
        """Answers nothing for so long, and closes no connection: as a network that is cut."""
        if self._process is not None:
            pids = [self._process.pid, *list_children(self._process.pid)]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name).replace("postgresql://", "postgresql+psycopg://")

    def _address(self, database: str) -> str:
        return f"postgresql://test@127.0.0.1:{self._port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True)


@contextlib.contextmanager
def running(durable: bool = False) -> Iterator[Postgres]:
    """Raises FileNotFoundError, saying how to get it, when the server is not installed."""
    programs = find_programs()
    if programs is None:
        raise FileNotFoundError(HOW)
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = Postgres(Path(folder), programs, durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def list_children(pid: int) -> list[int]:
    """Processes that this one has started and that have not ended; Linux."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _someone() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
