"""As much of the Kubernetes API as the orchestrator speaks: EndpointSlices listed and watched, pods patched."""

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

SLICES = "/apis/discovery.k8s.io/v1/namespaces/video/endpointslices"


class KubernetesApi:
    """Slices by name. `calls`: "list" or "watch from VERSION", in order; `patches`: (pod, patch)."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.patches: list[tuple[str, Any]] = []
        self.forgotten = 0  # versions up to this one are gone: a watch from there is answered 410
        self.port = 0
        self._slices: dict[str, Any] = {}
        self._version = 10
        self._watchers: list[queue.Queue[Any]] = []
        self._lock = threading.Lock()

    def put(self, name: str, *endpoints: Mapping[str, Any]) -> None:
        """Makes or changes a slice. Endpoints: {"ip": ..., and of ready, serving, terminating, zone, pod}."""
        with self._lock:
            kind = "MODIFIED" if name in self._slices else "ADDED"
            self._version += 1
            self._slices[name] = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "addressType": "IPv4",
                "metadata": {"name": name, "resourceVersion": str(self._version)},
                "endpoints": [_endpoint(**endpoint) for endpoint in endpoints],
            }
            self._tell({"type": kind, "object": self._slices[name]})

    def delete(self, name: str) -> None:
        with self._lock:
            self._version += 1
            gone = self._slices.pop(name)
            gone["metadata"]["resourceVersion"] = str(self._version)
            self._tell({"type": "DELETED", "object": gone})

    def bookmark(self) -> None:
        with self._lock:
            self._version += 1
            version = {"metadata": {"resourceVersion": str(self._version)}}
            self._tell({"type": "BOOKMARK", "object": {"kind": "EndpointSlice", **version}})

    def end_watches(self) -> None:
        """As an API server does after a while: without a word."""
        with self._lock:
            self._tell(None)
            self._watchers.clear()

    def forget(self) -> None:
        """All versions up to now are gone, and the watches end."""
        with self._lock:
            self._version += 1
            self.forgotten = self._version - 1
        self.end_watches()

    def listing(self) -> dict[str, Any]:
        with self._lock:
            self.calls.append("list")
            metadata = {"resourceVersion": str(self._version)}
            return {"kind": "EndpointSliceList", "metadata": metadata, "items": list(self._slices.values())}

    def watching(self, version: int) -> Iterator[Any]:
        events: queue.Queue[Any] = queue.Queue()
        with self._lock:
            self.calls.append(f"watch from {version}")
            if version <= self.forgotten:
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
                events.put({"type": "ERROR", "object": status})
                events.put(None)
            else:
                self._watchers.append(events)
        while (event := events.get()) is not None:
            yield event

    def _tell(self, event: Any) -> None:
        for watcher in self._watchers:
            watcher.put(event)


def _endpoint(
    ip: str,
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool = False,
    zone: str = "",
    pod: str = "",
) -> dict[str, Any]:
    conditions = {"ready": ready, "serving": ready if serving is None else serving, "terminating": terminating}
    return {
        "addresses": [ip],
        "conditions": conditions,
        **({"zone": zone} if zone else {}),
        **({"targetRef": {"kind": "Pod", "name": pod}} if pod else {}),
    }


@contextmanager
def serving_api(folder: Path) -> Iterator[KubernetesApi]:
    """The API on a free port; `folder`/kubeconfig leads to it."""
    api = KubernetesApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            assert url.path == SLICES
            assert query["labelSelector"] == ["kubernetes.io/service-name=restorer"]
            if "watch" not in query:
                self._answer(api.listing())
                return
            self._begin("Transfer-Encoding", "chunked")
            with suppress(ConnectionError):
                for event in api.watching(int(query["resourceVersion"][0])):
                    line = json.dumps(event).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.patches.append((self.path.rpartition("/")[2], body))
            self._answer({"kind": "Pod", "metadata": {}})

        def _begin(self, header: str, value: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header(header, value)
            self.end_headers()

        def _answer(self, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self._begin("Content-Length", str(len(body)))
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "video"}}],
        "current-context": "test",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    try:
        yield api
    finally:
        api.end_watches()
        server.shutdown()
        server.server_close()
