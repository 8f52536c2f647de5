"""Health, reflection, errors, the log line and the drain, of real servers: in this process and as processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.restorer.servicer import RestorerServicer
from services.runtime.calls import ClientStream
from services.runtime.channel import open_channel
from services.runtime.config import ConfigError, ServerConfig
from services.runtime.convert import from_crops
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop
from services.runtime.server import Listener, _load_aside, start
from services.runtime.wire import Packet
from syncline.v1 import restorer_pb2, restorer_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Slow:
    info = EngineInfo("slow", "1")

    def restore(self, crops: Sequence[Crop], strength: float, *rest: object) -> list[Crop]:
        time.sleep(0.3)
        return list(crops)


async def check(port: int, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_process(stage: str, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"services.{stage}"],
        cwd=ROOT,
        env={**os.environ, "SYNCLINE_LOG": "json", **environ},
        stderr=subprocess.PIPE,
    )


async def await_serving(port: int) -> None:
    for _ in range(300):
        try:
            if await check(port) == SERVING:
                return
        except grpc.RpcError:
            await asyncio.sleep(0.1)
    raise AssertionError("the service never came up")


def test_health_answers_while_the_engine_works() -> None:
    async def call() -> list[int]:
        running = await start(RestorerServicer(Slow()), ServerConfig(port=0))
        channel = open_channel(f"127.0.0.1:{running.port}")
        stub = restorer_pb2_grpc.RestorerServiceStub(channel)
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
        async with ClientStream(stub.Restore, opening, ()) as stream:
            batch, payload = from_crops(0, [Crop(0, 0, np.zeros((16, 16, 4), np.uint8), None)])
            await stream.send_batch(Packet(restorer_pb2.RestoreRequest(crops=batch), payload))
            statuses = [await check(running.port), await check(running.port, "syncline.v1.RestorerService")]
        await channel.close()
        await running.stop(0)
        return statuses

    assert asyncio.run(call()) == [SERVING, SERVING]


def test_a_replica_that_loads_says_so_and_refuses_calls_until_it_serves() -> None:
    """As while an engine is built, which can take minutes."""

    async def call() -> tuple[list[int], grpc.StatusCode, int]:
        listener = Listener(ServerConfig(port=0))
        await listener.listen()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            stub = restorer_pb2_grpc.RestorerServiceStub(channel)
            ask = restorer_pb2.RestorerServiceGetCapabilitiesRequest()
            statuses = [await check(listener.port)]
            with pytest.raises(grpc.RpcError, match="still loading") as refused:
                await stub.GetCapabilities(ask, timeout=5)
            running = await listener.offer(RestorerServicer(Slow()))
            statuses.append(await check(running.port, "syncline.v1.RestorerService"))
            engines = (await stub.GetCapabilities(ask, timeout=5)).engines
        await running.stop(0)
        return statuses, refused.value.code(), len(engines)  # type: ignore[attr-defined]

    assert asyncio.run(call()) == ([NOT_SERVING, SERVING], grpc.StatusCode.UNAVAILABLE, 1)


def test_a_replica_told_to_stop_waits_for_no_engine() -> None:
    async def call() -> object:
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, stopping.set)
        return await _load_aside(lambda config: time.sleep(30), None, stopping)  # type: ignore[arg-type, return-value]

    begun = time.monotonic()
    assert asyncio.run(call()) is None
    assert time.monotonic() - begun < 10


def test_reflection_lists_the_service() -> None:
    async def call() -> list[str]:
        running = await start(RestorerServicer(Slow()), ServerConfig(port=0))

        async def ask() -> AsyncIterator[Any]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask())
            names = [s.name async for answer in answers for s in answer.list_services_response.service]
        await running.stop(0)
        return names

    assert "syncline.v1.RestorerService" in asyncio.run(call())


def test_a_port_that_is_taken_fails_loudly() -> None:
    async def call() -> None:
        running = await start(RestorerServicer(Slow()), ServerConfig(port=0))
        try:
            await start(RestorerServicer(Slow()), ServerConfig(port=running.port))
        finally:
            await running.stop(0)

    with pytest.raises(ConfigError, match="another process"):
        asyncio.run(call())


def test_sigterm_lets_a_running_stream_end_then_stops() -> None:
    port = free_port()
    process = start_process("restorer", RESTORER_PORT=str(port))

    async def call() -> int:
        await await_serving(port)
        channel = open_channel(f"127.0.0.1:{port}")
        stub = restorer_pb2_grpc.RestorerServiceStub(channel)
        opening = Packet(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen()))
        answered = 0

        async def packets() -> AsyncIterator[Packet]:
            for sequence in range(5):
                if sequence == 2:
                    process.send_signal(signal.SIGTERM)
                    await asyncio.sleep(0.3)
                batch, payload = from_crops(sequence, [Crop(0, 0, np.zeros((64, 64, 4), np.uint8), None)])
                yield Packet(restorer_pb2.RestoreRequest(crops=batch), payload)

        metadata = (("syncline-job", "j1"), ("syncline-segment", "7"), ("syncline-request-id", "r1"))
        async with ClientStream(stub.Restore, opening, metadata) as stream:
            async for _ in stream.exchange(packets()):
                answered += 1
        await channel.close()
        return answered

    try:
        assert asyncio.run(call()) == 5
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert process.stderr is not None
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert len(calls) == 1
    assert {key: calls[0][key] for key in ("method", "code", "job", "segment", "request_id", "stage")} == {
        "method": "Restore",
        "code": "OK",
        "job": "j1",
        "segment": "7",
        "request_id": "r1",
        "stage": "restorer",
    }
    assert [line["event"] for line in lines if line["event"] != "call"] == ["serving", "draining", "stopped"]


@pytest.mark.parametrize(
    ("stage", "environ", "told"),
    [
        ("restorer", {"RESTORER_PORT": "no"}, "RESTORER_PORT='no'"),
        ("restorer", {"RESTORER_ENGINE": "magic"}, "classic"),
        ("decoder", {}, "DECODER_STORE is not set"),
        ("detector", {"SYNCLINE_MODELS": "/nowhere"}, "make models"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_line(stage: str, environ: dict[str, str], told: str) -> None:
    process = start_process(stage, **environ)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = errors.splitlines()
    assert len(lines) == 1
    assert told in json.loads(lines[0])["error"]
