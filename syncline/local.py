"""The five services as processes of this machine, for as long as a block lasts. POSIX only."""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import grpc

from syncline.errors import FailedPrecondition, ServiceUnavailable

STAGES = ("decoder", "detector", "lipsync", "restorer")
SERVICES = (*STAGES, "orchestrator")

_HOST = "127.0.0.1"
_START_SECONDS = 120.0  # until all are ready; a first start reads and warms its models from a cold disk
_STOP_SECONDS = 8.0  # from SIGTERM to SIGKILL
_TAIL_LINES = 12
_OF_TLS = re.compile(f"({'|'.join(map(str.upper, SERVICES))})_(TLS_.*|STAGES_CA|HEALTH_PORT)")

OnReady = Callable[[str, str, float], None]  # service, its address, seconds since the start


def default_data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    home = environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "syncline"


def find_services() -> Path:
    """The folder that holds the package `services`. Raises FailedPrecondition where there is none."""
    with contextlib.suppress(ModuleNotFoundError, ValueError):
        found = importlib.util.find_spec("services.orchestrator")
        if found is not None and found.origin is not None:
            return Path(found.origin).parents[2]
    checkout = Path(__file__).parents[1]
    if (checkout / "services" / "orchestrator").is_dir():
        return checkout
    raise FailedPrecondition(
        "the services are not installed here, only the client is: name a running server with --server HOST:PORT"
    )


class LocalStack:
    """Starts the services on entering and stops them on leaving; `server` is the orchestrator's address.

    They also end with the thread that entered, on Linux even when it is killed. Raises FailedPrecondition when they
    cannot be started here, ServiceUnavailable when one of them fails.
    """

    def __init__(self, data: Path | None = None, port: int = 0, on_ready: OnReady | None = None) -> None:
        self._data = (data or default_data_folder()).absolute()
        self._port = port
        self._on_ready = on_ready
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: IO[str] | None = None

    @property
    def server(self) -> str:
        return self._addresses["orchestrator"]

    @property
    def addresses(self) -> dict[str, str]:
        """Where each service listens."""
        return dict(self._addresses)

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service."""
        return {name: process.pid for name, process in self._processes.items()}

    def __enter__(self) -> Self:
        root = find_services()
        self._log_folder.mkdir(parents=True, exist_ok=True)
        self._lock = _take(self._data)
        try:
            ports = _free_ports(len(STAGES), self._port)
            self._addresses = {name: f"{_HOST}:{port}" for name, port in zip(SERVICES, ports, strict=True)}
            environment = make_environment(self._data, dict(zip(SERVICES, ports, strict=True)), root, os.environ)
            for name in SERVICES:
                self._processes[name] = self._start(name, environment)
            self._await_all()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Returns never; raises ServiceUnavailable as soon as a service has ended."""
        while True:
            self._check_alive()
            time.sleep(0.5)

    @property
    def _log_folder(self) -> Path:
        return self._data / "logs"

    def _start(self, name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        tether = str(Path(__file__).with_name("_tether.py"))
        # -P: a folder `services` in the current directory is not ours.
        command = [sys.executable, "-P", "-m", f"services.{name}"]
        with (self._log_folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", tether, str(os.getpid()), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )

    def _await_all(self) -> None:
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            probes = {name: stack.enter_context(_Probe(address)) for name, address in self._addresses.items()}
            while probes:
                self._check_alive()
                for name in [name for name, probe in probes.items() if probe.is_serving()]:
                    del probes[name]
                    if self._on_ready:
                        self._on_ready(name, self._addresses[name], time.monotonic() - started)
                if probes and time.monotonic() - started > _START_SECONDS:
                    raise self._failure(next(iter(probes)), f"is not ready after {_START_SECONDS:.0f} s")
                time.sleep(0.05)

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                status = process.returncode
                raise self._failure(name, f"ended with {f'signal {-status}' if status < 0 else f'status {status}'}")

    def _failure(self, name: str, what: str) -> ServiceUnavailable:
        log = self._log_folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        because = f": {_plain(lines[-1])}" if lines else ""
        return ServiceUnavailable(
            f"the {name} {what}{because} (log: {log})", {"service": name, "log": str(log), "tail": "\n".join(lines)}
        )

    def _stop(self) -> None:
        """The orchestrator first, while its stages still answer."""
        end = time.monotonic() + _STOP_SECONDS
        for names in (("orchestrator",), STAGES):
            stopping = [self._processes[name] for name in names if name in self._processes]
            for process in stopping:
                process.terminate()
            for process in stopping:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))
        for process in self._processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it started
                process.wait()
        self._processes.clear()
        if self._lock is not None:
            self._lock.close()


class _Probe:
    """Asks one service for its health."""

    def __init__(self, address: str) -> None:
        # Where services are, so is this package; where only the client is, it may be missing.
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        backoff = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 250)]
        self._channel = grpc.insecure_channel(address, options=[*backoff, ("grpc.use_local_subchannel_pool", 1)])
        self._check: Any = health_pb2_grpc.HealthStub(self._channel).Check
        self._messages = health_pb2

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._channel.close()

    def is_serving(self) -> bool:
        try:
            response = self._check(self._messages.HealthCheckRequest(service=""), timeout=1.0)
        except grpc.RpcError:
            return False
        return bool(response.status == self._messages.HealthCheckResponse.SERVING)


def make_environment(data: Path, ports: Mapping[str, int], root: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what the services need to find their ports, their store and one another.

    Without what it says of TLS, which is for those who come from elsewhere.
    """
    environment = {name: value for name, value in base.items() if not _OF_TLS.fullmatch(name)}
    for name, port in ports.items():
        prefix = name.upper()
        environment |= {f"{prefix}_HOST": _HOST, f"{prefix}_PORT": str(port), f"{prefix}_GRACE": "5"}
    for name in STAGES:
        environment[f"ORCHESTRATOR_{name.upper()}"] = f"{_HOST}:{ports[name]}"
    environment |= {"DECODER_STORE": str(data), "ORCHESTRATOR_STORE": str(data)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), base.get("PYTHONPATH")]))
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("GRPC_VERBOSITY", "ERROR")  # else it writes lines of its own when a peer goes away
    return environment


def _free_ports(count: int, last: int) -> list[int]:
    """`count` free ports and then `last`, or another free one for 0."""
    with contextlib.ExitStack() as stack:
        ports = []
        for port in [*[0] * count, last]:
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind((_HOST, port))
            except OSError as error:
                raise FailedPrecondition(f"port {port} is taken: is syncline up already?") from error
            ports.append(taken.getsockname()[1])
        return ports


def _take(data: Path) -> IO[str]:
    """A lock on the data folder, held until the file is closed: its database is for one orchestrator."""
    lock = (data / "stack.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise FailedPrecondition(
            f"another syncline uses {data}: send to it by --server HOST:PORT, or take another folder by --data"
        ) from error
    return lock


def _plain(line: str) -> str:
    """A log line without its wrapping."""
    try:
        entry = json.loads(line)
        return str(entry.get("error") or entry.get("event") or line)
    except (ValueError, AttributeError):
        return line.strip()
