"""Replicas by Kubernetes' EndpointSlices, watched with the official client: a pod is known as soon as it is ready."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import structlog
from kubernetes import client, config
from kubernetes.watch import Watch

from services.orchestrator.discovery import Endpoint, join_address
from services.runtime.config import ConfigError

_log = structlog.get_logger("discovery")
_WATCH_SECONDS = 240  # one watch; then the next goes on where it ended
_CONNECT_SECONDS = 10
_RETRY_SECONDS = 1.0
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_GONE = 410  # what the watch was to go on from is forgotten: list anew


class EndpointSlices:
    """The pods behind a Service. `port`: where they listen. `namespace`: default the process's own."""

    def __init__(self, service: str, port: int, namespace: str = "") -> None:
        self._service = service
        self._port = port
        self._api = client.DiscoveryV1Api(connect())
        self._namespace = namespace or own_namespace()

    async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[frozenset[Endpoint]] = asyncio.Queue()
        ended = threading.Event()
        watcher = Watch()

        def tell(slices: Iterable[Any]) -> None:
            if not ended.is_set():
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(found.put_nowait, self._endpoints(slices))

        # The client blocks. A thread of its own holds up no exit.
        arguments = (tell, watcher, ended)
        threading.Thread(target=self._follow, args=arguments, name=f"watch-{self._service}", daemon=True).start()
        before: frozenset[Endpoint] | None = None
        try:
            while True:
                latest = await found.get()
                if latest != before:
                    yield latest
                    before = latest
        finally:
            ended.set()
            watcher.stop()

    def _follow(self, tell: Any, watcher: Watch, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self._list_and_watch(tell, watcher, ended)
            except client.ApiException as error:
                if error.status != _GONE:
                    _log.warning("endpoints cannot be watched", service=self._service, error=str(error.reason))
                    ended.wait(_RETRY_SECONDS)
            except Exception as error:  # what was known stays in force while the API cannot be reached
                _log.warning("endpoints cannot be watched", service=self._service, error=str(error))
                ended.wait(_RETRY_SECONDS)

    def _list_and_watch(self, tell: Any, watcher: Watch, ended: threading.Event) -> None:
        selector = f"kubernetes.io/service-name={self._service}"
        listed: Any = self._api.list_namespaced_endpoint_slice(
            self._namespace, label_selector=selector, _request_timeout=_CONNECT_SECONDS
        )
        slices = {item.metadata.name: item for item in listed.items}
        watcher.resource_version = listed.metadata.resource_version
        tell(slices.values())
        while not ended.is_set():
            stream = watcher.stream(
                self._api.list_namespaced_endpoint_slice,
                self._namespace,
                label_selector=selector,
                resource_version=watcher.resource_version,  # kept up by the watcher
                allow_watch_bookmarks=True,
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=(_CONNECT_SECONDS, _WATCH_SECONDS + _CONNECT_SECONDS),
            )
            for event in stream:
                item = event["object"]
                if event["type"] == "DELETED":
                    slices.pop(item.metadata.name, None)
                elif event["type"] != "BOOKMARK":
                    slices[item.metadata.name] = item
                tell(slices.values())

    def _endpoints(self, slices: Iterable[Any]) -> frozenset[Endpoint]:
        """Those that serve. A pod may stand in two slices for a moment: the one where it is ready counts."""
        found: dict[str, Endpoint] = {}
        for item in slices:
            for entry in item.endpoints or ():
                state = entry.conditions
                ready = state is None or state.ready is not False
                serving = ready if state is None or state.serving is None else state.serving
                if not serving:
                    continue
                pod = entry.target_ref.name if entry.target_ref is not None else ""
                for host in entry.addresses:
                    address = join_address(host, self._port)
                    if address not in found or ready:
                        found[address] = Endpoint(address, not ready, entry.zone or "", pod)
        return frozenset(found.values())


def connect() -> client.ApiClient:
    """A client by the pod's service account, else by the user's kubeconfig. Raises ConfigError without either."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(settings)
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=settings)
        except config.ConfigException as error:
            raise ConfigError(f"no Kubernetes API can be found: {error}") from error
    return client.ApiClient(settings)


def own_namespace() -> str:
    with contextlib.suppress(OSError):
        return _NAMESPACE.read_text().strip()
    with contextlib.suppress(config.ConfigException):
        return str(config.list_kube_config_contexts()[1]["context"].get("namespace", "default"))
    return "default"
