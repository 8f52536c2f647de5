"""An S3 server of the tests' own: SeaweedFS, on loopback."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

KEY, SECRET = "syncline", "a secret of the tests"
_START_SECONDS = 30.0
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")


class S3Server:
    """Reached through a wire that can be cut and mended."""

    def __init__(self, root: Path) -> None:
        self._root = root
        names = (*_PORTS, "s3.port", "s3.port.grpc")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        (root / "s3.json").write_text(json.dumps({"identities": [identity]}))
        program = str(Path(sys.executable).with_name("weed"))
        sizes = {"volume.max": 1000, "master.volumeSizeLimitMB": 64}  # a bucket takes several volumes
        flags = {"dir": root, "ip": "127.0.0.1", "s3.config": root / "s3.json", **sizes, **ports}
        switches = ["-filer", "-s3", "-s3.autoCreateBucket=false", "-master.telemetry=false"]
        switches += ["-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self._command = [program, "server", *switches, *(f"-{name}={value}" for name, value in flags.items())]
        self._wire = _Wire(ports["s3.port"])
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._wire.port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self._filer = f"127.0.0.1:{ports['filer.port']}"
        self._process: subprocess.Popen[bytes] | None = None

    def new_bucket(self, name: str) -> str:
        """Its address."""
        connection = http.client.HTTPConnection(self._filer, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", f"/buckets/{name}/")  # with a content type it would be an upload
            status = connection.getresponse().status
            assert status in (201, 409), status
        return f"s3://{name}"

    def start(self) -> None:
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self._root, stdout=log, stderr=log)
        end = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, "the S3 server has ended"
            assert time.monotonic() < end, "the S3 server does not answer"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        """Whether it takes files."""
        config: Any = {key.lower(): value for key, value in self.environment.items()}
        options: Any = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": 0}}
        try:
            self.new_bucket("ready")
            obstore.put(S3Store("ready", config=config, **options), "ready", b"ready")
        except (OSError, BaseError):
            return False
        return True

    def stop(self) -> None:
        self.cut()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def cut(self) -> None:
        """Breaks all connections; further ones are refused."""
        self._wire.cut()

    def mend(self) -> None:
        self._wire.open()


class _Wire:
    """Passes on what comes to `port` to another port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        (self.port,) = _free_ports(1)
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._sockets |= {near, far}
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for one in (source, target):  # closed with the last thread that has it
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            self._sockets.discard(one)


@contextlib.contextmanager
def running(root: Path) -> Iterator[S3Server]:
    server = S3Server(root)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
