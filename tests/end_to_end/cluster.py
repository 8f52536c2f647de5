"""Syncline as on a cluster: each service a process of its own, an api and any number of workers on PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from syncline.local import STAGES, make_environment

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 3.0
SEGMENT_SECONDS = 0.2
_READY_SECONDS = 90.0


class Cluster:
    """Services by name: decoder, detector, lipsync, restorer, api, worker1, worker2, ..."""

    def __init__(
        self,
        folder: Path,
        database: str,
        workers: int = 2,
        segment_seconds: float = SEGMENT_SECONDS,
        artifacts: str = "",
        apis: int = 1,
    ) -> None:
        """`artifacts`: a bucket, for processes on hosts of their own, each with its own folder; `apis`: api, api2..."""
        self._segment_seconds = segment_seconds
        self._artifacts = artifacts
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        apis_more = [f"api{number + 2}" for number in range(apis - 1)]
        self.names = [*STAGES, "api", *apis_more, *(f"worker{number + 1}" for number in range(workers))]
        self._database = database
        self._ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        return self.address("api")

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"

    def __enter__(self) -> Self:
        try:
            for name in self.names:
                self.start(name)
            for name in self.names:
                self.await_ready(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, name: str) -> None:
        role = name.rstrip("0123456789")
        stage = name if name in STAGES else "orchestrator"
        ports = {stage: self._ports[stage] for stage in STAGES} | {"orchestrator": self._ports[name]}
        environment = make_environment(self.data, ports, ROOT, os.environ) | {
            "ORCHESTRATOR_DATABASE": self._database,
            "ORCHESTRATOR_ROLES": role,
            "ORCHESTRATOR_LEASE_SECONDS": str(LEASE_SECONDS),
            "ORCHESTRATOR_SEGMENT_SECONDS": str(self._segment_seconds),
            "ORCHESTRATOR_STALL_SECONDS": "5",
            "ORCHESTRATOR_FREE_BYTES": "0",
        }
        if self._artifacts:
            own = str(self.folder / name)
            environment |= {"ORCHESTRATOR_ARTIFACTS": self._artifacts, "ORCHESTRATOR_STORE": own}
            environment |= {"DECODER_ARTIFACTS": self._artifacts, "DECODER_STORE": own}
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", f"services.{stage}"]
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def await_ready(self, name: str) -> None:
        await_serving(self.address(name), f"{name}, of {self.folder / f'{name}.log'},")

    def strike(self, name: str, how: signal.Signals) -> None:
        """KILL and TERM: another takes its place, as on a cluster. STOP: it goes on once its leases have run out."""
        process = self.processes[name]
        process.send_signal(how)
        if how is signal.SIGSTOP:
            time.sleep(LEASE_SECONDS + 1)
            process.send_signal(signal.SIGCONT)
        else:
            process.wait(40)
            self.start(name)
            self.await_ready(name)


def await_serving(address: str, name: str) -> None:
    """However busy the machine is."""
    give_up = time.monotonic() + _READY_SECONDS
    while time.monotonic() < give_up:
        with grpc.insecure_channel(address) as channel:
            try:
                request = health_pb2.HealthCheckRequest(service="")
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError:
                time.sleep(0.1)
    raise AssertionError(f"{name} is not ready")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [taken.getsockname()[1] for taken in sockets]
    finally:
        for taken in sockets:
            taken.close()
