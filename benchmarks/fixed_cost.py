"""Restorers whose every batch costs the same time, in processes of their own: what is measured then is the dispatch.

python -m benchmarks.fixed_cost HOST PORT SECONDS
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.restorer.servicer import RestorerServicer
from services.runtime.config import ServerConfig
from services.runtime.convert import from_crops, to_crops
from services.runtime.engine import ANYBODY, Caller, EngineInfo
from services.runtime.faces import Crop
from services.runtime.frames import PixelFormat
from services.runtime.server import serve
from services.runtime.wire import Packet
from syncline.v1 import restorer_pb2

_SIDE = 64  # pixels


class FixedCost:
    """Inverts crops, one batch at a time as one GPU would, each in `seconds`."""

    info = EngineInfo("fixed_cost", "1")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._device = threading.Lock()

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        with self._device:
            time.sleep(self._seconds)
        return [replace(crop, pixels=255 - crop.pixels) for crop in crops]


@dataclass(frozen=True)
class FixedCostConfig:
    seconds: float
    server: ServerConfig = ServerConfig(port=0)


@dataclass(frozen=True)
class Replica:
    address: str
    process: subprocess.Popen[bytes]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextlib.contextmanager
def replica(host: str, seconds: float, within: Sequence[str] = ()) -> Iterator[Replica]:
    """A restorer on a free port of `host`, serving; `within`: the command that starts it elsewhere."""
    with socket.socket() as free:
        free.bind(("127.0.0.1" if within else host, 0))
        port = free.getsockname()[1]
    command = [*within, sys.executable, "-m", "benchmarks.fixed_cost", host, str(port), str(seconds)]
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    try:
        _await_serving(f"{host}:{port}")
        yield Replica(f"{host}:{port}", process)
    finally:
        process.kill()
        process.wait()


def _await_serving(address: str) -> None:
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(address, options=options) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)


def make_packet(number: int, sequence: int) -> Packet:
    """A batch of one small crop, known again by `number`."""
    pixels = np.full((_SIDE, _SIDE, 4), number % 256, np.uint8)
    crops, payload = from_crops(sequence, [Crop(number, 0, pixels, None)])
    return Packet(restorer_pb2.RestoreRequest(crops=crops), payload)


def is_answer_to(number: int, answer: Packet) -> bool:
    (crop,) = to_crops(answer.message.crops, answer.data, PixelFormat.RGBA32)
    return crop.frame == number and bool((crop.pixels == 255 - number % 256).all())


def main() -> None:
    host, port, seconds = sys.argv[1:]
    os.environ.update(FIXEDCOST_HOST=host, FIXEDCOST_PORT=port, FIXEDCOST_SECONDS=seconds)
    serve("fixedcost", FixedCostConfig, lambda config: RestorerServicer(FixedCost(config.seconds)))


if __name__ == "__main__":
    main()
