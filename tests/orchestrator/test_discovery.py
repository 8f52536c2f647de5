"""Replicas found by each kind of target; EndpointSlices by the official client against an API that speaks watch."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.dispatch import dispatching, pass_all
from benchmarks.fixed_cost import FixedCost
from services.orchestrator import slices as slices_module
from services.orchestrator.discovery import Discovery, Endpoint, NamedHosts, find_discovery
from services.orchestrator.slices import EndpointSlices
from services.restorer.servicer import RestorerServicer
from services.runtime.config import ConfigError, ServerConfig
from services.runtime.server import RunningServer, start
from services.runtime.streams import CREDITS
from tests.orchestrator.kubernetes_api import KubernetesApi, serving_api
from tests.stages import run


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(slices_module, "_RETRY_SECONDS", 0.05)
    with serving_api(tmp_path) as api:
        yield api


def follow(discovery: Discovery, *steps: Callable[[], None]) -> list[frozenset[Endpoint]]:
    """The first set, and the one after each step."""

    async def work() -> list[frozenset[Endpoint]]:
        watching: AsyncIterator[frozenset[Endpoint]] = discovery.watch()
        seen = [await anext(watching)]
        for step in steps:
            await asyncio.sleep(0.1)  # the watch is up
            await asyncio.to_thread(step)
            seen.append(await asyncio.wait_for(anext(watching), 5))
        await watching.aclose()  # type: ignore[attr-defined]
        return seen

    return run(work())


def addresses(endpoints: frozenset[Endpoint]) -> list[str]:
    return sorted(endpoint.address for endpoint in endpoints)


def test_a_list_is_what_it_says() -> None:
    (found,) = follow(find_discovery("10.0.0.1:50054, restorer.local:50055,[::1]:5"))
    assert addresses(found) == ["10.0.0.1:50054", "[::1]:5", "restorer.local:50055"]


@pytest.mark.parametrize("target", ["", "restorer", "restorer:", ":50054", "a:1,b", "dns:restorer", "kubernetes:x:y"])
def test_a_target_that_is_no_address_names_its_variable(target: str) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRATOR_RESTORER"):
        find_discovery(target, "ORCHESTRATOR_RESTORER")


def test_every_address_of_a_name_is_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ["10.0.0.1"]

    def look_up(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("services.orchestrator.discovery._LOOK_SECONDS", 0.02)
    discovery = find_discovery("dns:restorer:50054")
    assert isinstance(discovery, NamedHosts)
    seen = follow(discovery, lambda: known.append("10.0.0.2"), known.clear)
    assert [addresses(found) for found in seen] == [["10.0.0.1:50054"], ["10.0.0.1:50054", "10.0.0.2:50054"], []]


def test_pods_come_drain_and_go(api: KubernetesApi) -> None:
    api.put("restorer-a", {"ip": "10.0.0.1", "zone": "north", "pod": "restorer-1"}, {"ip": "10.0.0.2", "ready": False})
    discovery = find_discovery("kubernetes:restorer:50054")
    assert isinstance(discovery, EndpointSlices)
    seen = follow(
        discovery,
        lambda: api.put("restorer-b", {"ip": "10.0.0.2"}),
        lambda: api.put("restorer-a", {"ip": "10.0.0.1", "ready": False, "serving": True, "terminating": True}),
        lambda: api.put("restorer-a", {"ip": "10.0.0.1", "ready": False, "terminating": True}),
        lambda: api.delete("restorer-b"),
    )
    first, ready, draining, stopped, empty = seen
    assert first == {Endpoint("10.0.0.1:50054", zone="north", pod="restorer-1")}
    assert addresses(ready) == ["10.0.0.1:50054", "10.0.0.2:50054"]
    assert {endpoint.address for endpoint in draining if endpoint.draining} == {"10.0.0.1:50054"}
    assert addresses(stopped) == ["10.0.0.2:50054"]
    assert not empty


def test_a_pod_in_two_slices_is_one_replica(api: KubernetesApi) -> None:
    api.put("restorer-a", {"ip": "10.0.0.1", "ready": False, "serving": True})
    api.put("restorer-b", {"ip": "10.0.0.1"})
    (found,) = follow(find_discovery("kubernetes:video/restorer:50054"))
    assert found == {Endpoint("10.0.0.1:50054")}


def test_a_watch_that_ends_goes_on_where_it_was(api: KubernetesApi) -> None:
    api.put("restorer-a", {"ip": "10.0.0.1"})

    def pause() -> None:
        api.bookmark()
        api.end_watches()
        while len(api.calls) < 3:
            pass
        api.put("restorer-a", {"ip": "10.0.0.3"})

    seen = follow(find_discovery("kubernetes:restorer:50054"), pause)
    assert addresses(seen[1]) == ["10.0.0.3:50054"]
    assert api.calls[:3] == ["list", "watch from 11", "watch from 12"]


def test_a_version_that_is_gone_is_listed_anew(api: KubernetesApi) -> None:
    api.put("restorer-a", {"ip": "10.0.0.1"})

    def forget() -> None:
        with contextlib.suppress(KeyError):
            api.put("restorer-a", {"ip": "10.0.0.4"})
        api.forget()

    seen = follow(
        find_discovery("kubernetes:restorer:50054"), forget, lambda: api.put("restorer-a", {"ip": "10.0.0.5"})
    )
    assert addresses(seen[2]) == ["10.0.0.5:50054"]
    assert api.calls[:2] == ["list", "watch from 11"]
    assert api.calls.count("list") >= 2


def test_batches_follow_the_pods(api: KubernetesApi) -> None:
    """From the API to the restorers: a pod that becomes ready gets work, one that terminates gets no more."""

    async def start_both() -> tuple[int, list[RunningServer]]:
        engines = RestorerServicer(FixedCost(0.02)), RestorerServicer(FixedCost(0.02))
        first = await start(engines[0], ServerConfig(port=0, host="127.0.0.2"))
        return first.port, [first, await start(engines[1], ServerConfig(port=first.port, host="127.0.0.3"))]

    async def work() -> None:
        port, running = await start_both()
        old, new = f"127.0.0.2:{port}", f"127.0.0.3:{port}"
        api.put("restorer-a", {"ip": "127.0.0.2"}, {"ip": "127.0.0.3", "ready": False})
        async with dispatching(find_discovery(f"kubernetes:restorer:{port}")) as dispatcher:
            await pass_all(dispatcher, 5)
            assert dispatcher.answered == {old: 5}
            api.put("restorer-a", {"ip": "127.0.0.2"}, {"ip": "127.0.0.3"})
            while not dispatcher.answered[new]:
                await pass_all(dispatcher, 6)
            leaving = {"ip": "127.0.0.2", "ready": False, "serving": True, "terminating": True}
            api.put("restorer-a", leaving, {"ip": "127.0.0.3"})
            while dispatcher.credits > CREDITS:
                await asyncio.sleep(0.01)
            before = dispatcher.answered[old]
            await pass_all(dispatcher, 6)
            assert dispatcher.answered[old] == before
            assert dispatcher.resent == 0
        for server in running:
            await server.stop(1)

    run(work())


def test_without_an_api_the_start_fails_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no Kubernetes API"):
        find_discovery("kubernetes:restorer:50054")
