"""What the orchestrator counts beside what every service does, for Prometheus."""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.orchestrator.stages import Stages

SEGMENT_RENDER_SECONDS = Histogram(
    "syncline_segment_seconds",
    "From claim to publication of a segment",
    buckets=(0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
)
ATTEMPTS = Counter(
    "syncline_job_attempts",
    "Attempts at jobs, or at helping with one: done, failed, retried, taken_away",
    ["outcome", "reason"],
)


class StagesCollector(Collector):
    """The replicas as this worker sees them, and the batches that it has sent again."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def collect(self) -> Iterable[GaugeMetricFamily]:
        replicas = GaugeMetricFamily("syncline_replicas", "Replicas known, by state", labels=["stage", "state"])
        outstanding = GaugeMetricFamily("syncline_outstanding", "Calls or batches under way", labels=["stage"])
        for stage, pool in self._stages.pools.items():
            members = pool.known
            for state in ("ready", "resting", "unwell", "draining", "lost"):
                replicas.add_metric([stage, state], sum(member.state == state for member in members))
            outstanding.add_metric([stage], sum(member.outstanding for member in members))
        yield replicas
        yield outstanding
        pending = "Batches that wait for a restorer with credit"
        yield GaugeMetricFamily("syncline_dispatch_pending", pending, value=self._stages.pending)
