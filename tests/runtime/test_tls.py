"""TLS between services, with certificates made here: who is let in, who is not, and files replaced while they serve."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.fixed_cost import FixedCost
from services.orchestrator import pool as pool_module
from services.orchestrator.discovery import FixedList
from services.orchestrator.pool import Pool
from services.restorer.config import RestorerConfig
from services.restorer.servicer import RestorerServicer
from services.runtime.channel import open_channel
from services.runtime.config import ConfigError, ServerConfig, read_env
from services.runtime.server import RunningServer, start
from services.runtime.tls import ClientKeys
from syncline.errors import ServiceUnavailable, TlsFailed, from_rpc_error
from syncline.v1 import restorer_pb2, restorer_pb2_grpc
from tests.stages import run
from tests.tls import write_keys


@pytest.fixture(scope="module")
def ours() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def foreign() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def folder(tmp_path: Path, ours: trustme.CA) -> Path:
    """ca.pem, and the certificates and keys of a restorer and of a worker."""
    for name in ("restorer", "worker"):
        write_keys(ours, tmp_path, name)
    return tmp_path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def server_config(folder: Path, mutual: bool = True, health_port: int = 0) -> ServerConfig:
    files = (str(folder / "restorer.pem"), str(folder / "restorer.key"), str(folder / "ca.pem") if mutual else "")
    return ServerConfig(0, "127.0.0.1", 1.0, 0, *files, health_port)


def shown(folder: Path) -> grpc.ChannelCredentials:
    return client_keys(folder).read()


def client_keys(folder: Path) -> ClientKeys:
    return ClientKeys(str(folder / "ca.pem"), str(folder / "worker.pem"), str(folder / "worker.key"))


@contextlib.asynccontextmanager
async def restoring(config: ServerConfig) -> AsyncIterator[RunningServer]:
    running = await start(RestorerServicer(FixedCost(0)), config)
    try:
        yield running
    finally:
        await running.stop(0)


async def ask(port: int, credentials: grpc.ChannelCredentials | None, name: str = "restorer") -> int:
    """The number of the restorer's engines. Raises what the client is told."""
    channel = open_channel(f"127.0.0.1:{port}", credentials, name)
    stub: Any = restorer_pb2_grpc.RestorerServiceStub(channel)
    try:
        answer = await stub.GetCapabilities(restorer_pb2.RestorerServiceGetCapabilitiesRequest(), timeout=10)
        return len(answer.engines)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    finally:
        await channel.close()


def test_each_side_knows_the_other(folder: Path) -> None:
    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            assert await ask(running.port, shown(folder)) == 1

    run(call())


def test_a_server_that_is_not_to_be_trusted(folder: Path, foreign: trustme.CA, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_keys(foreign, elsewhere, "worker")

    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            with pytest.raises(TlsFailed, match="nobody whom the client trusts has signed"):
                await ask(running.port, shown(elsewhere))
            with pytest.raises(TlsFailed, match="for another name"):
                await ask(running.port, shown(folder), name="decoder")
        async with restoring(ServerConfig(0)) as plain:
            with pytest.raises(TlsFailed, match="speaks no TLS"):
                await ask(plain.port, shown(folder))

    run(call())


def test_a_client_that_is_not_to_be_trusted(folder: Path, foreign: trustme.CA, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_keys(foreign, elsewhere, "worker")
    ca, own = str(folder / "ca.pem"), (str(elsewhere / "worker.pem"), str(elsewhere / "worker.key"))

    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            for credentials in (None, ClientKeys(ca).read(), ClientKeys(ca, *own).read()):
                with pytest.raises(ServiceUnavailable, match="so does a server that wants TLS, or a certificate"):
                    await ask(running.port, credentials)
        async with restoring(server_config(folder, mutual=False)) as running:
            assert await ask(running.port, ClientKeys(ca).read()) == 1

    run(call())


def test_health_is_told_in_the_clear_and_nothing_else(folder: Path, free_port: int) -> None:
    async def call() -> None:
        async with (
            restoring(server_config(folder, health_port=free_port)),
            grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel,
        ):
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            stub: Any = restorer_pb2_grpc.RestorerServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                await stub.GetCapabilities(restorer_pb2.RestorerServiceGetCapabilitiesRequest(), timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    run(call())


def test_certificates_are_replaced_while_serving(folder: Path, foreign: trustme.CA) -> None:
    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            before = shown(folder)
            assert await ask(running.port, shown(folder)) == 1
            (folder / "restorer.key").write_text("half")  # a replacement under way, or one that went wrong
            assert await ask(running.port, shown(folder)) == 1
            for name in ("restorer", "worker"):
                write_keys(foreign, folder, name)
            assert await ask(running.port, shown(folder)) == 1
            with pytest.raises(TlsFailed):
                await ask(running.port, before)

    run(call())


def test_a_pool_connects_anew_with_new_certificates(
    folder: Path, foreign: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_RENEW_SECONDS", 0.05)

    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            address = f"127.0.0.1:{running.port}"
            pool = Pool(
                "restorer", FixedList([address]), restorer_pb2_grpc.RestorerServiceStub, 10, "", client_keys(folder)
            )
            try:
                async with pool.use() as old:
                    assert await capabilities(old.stub) == 1
                    for name in ("restorer", "worker"):
                        write_keys(foreign, folder, name)
                    while pool.members == [old]:
                        await asyncio.sleep(0.02)
                    assert old.gone
                    assert await capabilities(old.stub) == 1, "what is under way goes on"
                    async with pool.use() as new:
                        assert new is not old
                        assert await capabilities(new.stub) == 1
            finally:
                await pool.close()

    run(call())


async def capabilities(stub: Any) -> int:
    answer = await stub.GetCapabilities(restorer_pb2.RestorerServiceGetCapabilitiesRequest(), timeout=10)
    return len(answer.engines)


def test_a_pool_tells_why_no_replica_is_ready(folder: Path, foreign: trustme.CA) -> None:
    write_keys(foreign, folder / "elsewhere", "worker")

    async def call() -> None:
        async with restoring(server_config(folder)) as running:
            keys = client_keys(folder / "elsewhere")
            addresses = FixedList([f"127.0.0.1:{running.port}"])
            pool = Pool("restorer", addresses, restorer_pb2_grpc.RestorerServiceStub, 2, "", keys)
            try:
                await asyncio.sleep(0)
                assert len(pool.members) <= 1
                await pool.changed(5)
                (member,) = pool.members
                while member.available:
                    await asyncio.sleep(0.05)
                assert "nobody whom the client trusts has signed" in str(pool.unavailable())
            finally:
                await pool.close()

    run(call())


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"TLS_CERTIFICATE": "a.pem"}, "RESTORER_TLS_KEY is not set"),
        ({"TLS_KEY": "a.key"}, "RESTORER_TLS_CERTIFICATE is not set"),
        ({"TLS_CLIENT_CA": "ca.pem"}, "RESTORER_TLS_CERTIFICATE is not set"),
    ],
)
def test_files_that_go_together(variables: dict[str, str], told: str) -> None:
    environ = {f"RESTORER_{name}": value for name, value in variables.items()}
    with pytest.raises(ConfigError, match=told):
        read_env(RestorerConfig, "RESTORER_", environ)


@pytest.mark.parametrize("name", ["restorer.pem", "restorer.key", "ca.pem"])
def test_files_that_cannot_be_used(folder: Path, name: str) -> None:
    (folder / name).write_text("no PEM")

    async def call() -> None:
        with pytest.raises(ConfigError, match=name):
            await start(RestorerServicer(FixedCost(0)), server_config(folder))

    run(call())
