"""What every service counts, for Prometheus; served over HTTP where PREFIX_METRICS_PORT says so.

A stage's batch comes in (input), waits for a thread (queue), is worked on (compute) and goes out (output). Items
against batches tell how full the batches are.
"""

import contextvars
import sys
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.runtime.config import ConfigError

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)

CALLS = Counter("syncline_calls", "Calls ended, by status and reason of the catalogue", ["method", "code", "reason"])
CALL_SECONDS = Histogram("syncline_call_seconds", "Length of calls", ["method"], buckets=_SECONDS)
CALLS_RUNNING = Gauge("syncline_calls_running", "Calls under way", ["method"])
BATCHES = Counter("syncline_batches", "Batches worked on", ["method"])
ITEMS = Counter("syncline_items", "Items (frames, crops, points) in the batches worked on", ["method"])
ITEMS_FAILED = Counter("syncline_items_failed", "Items answered with an error of their own", ["method"])
BATCH_ITEMS = Histogram("syncline_batch_items", "Items in a batch", ["method"], buckets=(1, 2, 4, 8, 16, 32, 64))
BATCH_SECONDS = Histogram(
    "syncline_batch_seconds", "Parts of a batch's way: input, compute, output", ["method", "part"], buckets=_SECONDS
)
QUEUE_SECONDS = Histogram("syncline_queue_seconds", "Wait of blocking work for a thread", buckets=_SECONDS)
BYTES_RUNNING = Gauge("syncline_bytes_running", "Payload of the batches under way, in bytes", ["method"])
READY = Gauge("syncline_ready", "1 while the service takes calls, 0 while it drains")

# The method that the running task serves, for what is counted further in.
serving: contextvars.ContextVar[str] = contextvars.ContextVar("serving", default="")


class _GpuMemory(Collector):
    """Of the first GPU, once an engine has set it up; nothing is imported or initialised for it."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return
        free, total = torch.cuda.mem_get_info()
        yield gpu_memory(total - free, total)


def gpu_memory(used: int, total: int) -> GaugeMetricFamily:
    family = GaugeMetricFamily("syncline_gpu_memory_bytes", "Memory of the GPU: used, total", labels=["kind"])
    family.add_metric(["used"], used)
    family.add_metric(["total"], total)
    return family


REGISTRY.register(_GpuMemory())


def serve_metrics(host: str, port: int) -> None:
    """On a thread of its own, until the process ends. Port 0: not at all. Raises ConfigError when the port is taken."""
    if not port:
        return
    try:
        start_http_server(port, host)
    except OSError as error:
        raise ConfigError(f"metrics cannot be served on {host}:{port}: {error.strerror}") from error
