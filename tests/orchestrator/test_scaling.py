"""What the restorers are scaled by: the backlog from a real store, asked for as KEDA does; and which pods go last."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from benchmarks.fixed_cost import FixedCost
from services.orchestrator import deletion_cost
from services.orchestrator.artifacts import Asset
from services.orchestrator.backlog import Backlog, BacklogCollector, read_backlog, wanted_replicas
from services.orchestrator.database import Database
from services.orchestrator.discovery import Endpoint, FixedList
from services.orchestrator.keda import externalscaler_pb2 as pb
from services.orchestrator.keda import externalscaler_pb2_grpc
from services.orchestrator.pool import Pool
from services.orchestrator.records import NewJob
from services.orchestrator.scaler import METRIC, BacklogScaler
from services.orchestrator.store import JobStore
from services.orchestrator.timeline import SegmentSpan
from services.restorer.servicer import RestorerServicer
from syncline.errors import InvalidOption, from_rpc_error
from syncline.v1 import restorer_pb2_grpc
from tests.orchestrator.kubernetes_api import serving_api
from tests.stages import Served, run, serving

SPANS = [SegmentSpan(0, 0, 100), SegmentSpan(1, 100, 100), SegmentSpan(2, 200, 100)]


class Shop:
    """A store with jobs in it."""

    def __init__(self, url: str) -> None:
        self.store, self.database = JobStore(url), Database(url)

    def plan(self) -> Any:
        """A job that is being rendered: its lease."""
        self.store.create_job(NewJob("a" * 64, "b" * 64, {}))
        claimed = self.store.claim_job("worker", 60)
        assert claimed is not None
        self.store.plan_segments(claimed[1], "plan", SPANS)
        return claimed[1]

    def render(self, lease: Any, seconds: float) -> None:
        """One segment, on which a restorer worked so long."""
        claimed = self.store.claim_segment(lease.job, "worker", 60)
        assert claimed is not None
        self.store.finish_segment(claimed[1], Asset("c" * 64, 5), {"seconds": {"restore": seconds}})


@pytest.fixture
def shop(url: str) -> Iterator[Shop]:
    shop = Shop(url)
    yield shop
    shop.store.close()
    shop.database.close()


def test_the_backlog_is_what_is_left_at_the_measured_cost(shop: Shop) -> None:
    assert read_backlog(shop.database) == Backlog()
    lease = shop.plan()
    assert read_backlog(shop.database).frames == 300
    shop.render(lease, seconds=20)
    backlog = read_backlog(shop.database)
    assert (backlog.jobs, backlog.frames, backlog.seconds_per_frame) == (1, 200, 0.2)
    assert backlog.seconds == pytest.approx(40)


def test_a_job_that_is_not_planned_counts_as_jobs_do_on_average(shop: Shop) -> None:
    lease = shop.plan()
    shop.store.create_job(NewJob("a" * 64, "b" * 64, {}))
    backlog = read_backlog(shop.database)
    assert (backlog.jobs, backlog.frames) == (2, 600)
    shop.store.cancel_job(lease.job)
    assert read_backlog(shop.database).frames == 300


@pytest.mark.parametrize(
    ("backlog", "replicas"),
    [
        (Backlog(), 0),
        (Backlog(1, 0, 1), 1),  # work that is not counted yet
        (Backlog(1, 60, 1), 1),
        (Backlog(1, 61, 1), 2),
        (Backlog(9, 1e6, 1), 16),
    ],
)
def test_replicas_follow_the_backlog(backlog: Backlog, replicas: int) -> None:
    assert wanted_replicas(backlog, target=60, most=16) == replicas


@contextlib.asynccontextmanager
async def scaler(shop: Shop) -> AsyncIterator[tuple[Any, Served]]:
    """KEDA's stub."""
    async with serving(BacklogScaler(RestorerServicer(FixedCost(0)), shop.database)) as served:
        yield externalscaler_pb2_grpc.ExternalScalerStub(served.channel), served


def reference(**metadata: str) -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(name="restorer", namespace="syncline", scalerMetadata=metadata)


def test_keda_is_told_what_to_scale_by(shop: Shop) -> None:
    async def ask() -> None:
        async with scaler(shop) as (stub, _):
            spec = (await stub.GetMetricSpec(reference(targetBacklogSeconds="90"))).metricSpecs[0]
            assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == (METRIC, 90, 90)
            assert not (await stub.IsActive(reference())).result
            shop.render(shop.plan(), seconds=20)
            assert (await stub.IsActive(reference())).result
            asked = pb.GetMetricsRequest(scaledObjectRef=reference(), metricName=METRIC)
            value = (await stub.GetMetrics(asked)).metricValues[0]
            assert (value.metricName, value.metricValue) == (METRIC, 40)

    run(ask())


def test_keda_hears_of_work_when_it_comes_and_when_it_ends(shop: Shop) -> None:
    async def listen() -> list[bool]:
        async with scaler(shop) as (stub, _):
            call = stub.StreamIsActive(reference())
            heard = [(await call.read()).result]
            lease = shop.plan()
            heard.append((await call.read()).result)
            shop.store.cancel_job(lease.job)
            heard.append((await call.read()).result)
            call.cancel()
            return heard

    assert run(listen()) == [False, True, False]


@pytest.mark.parametrize("target", ["", "soon", "0", "-5", "inf"])
def test_a_target_that_is_none_is_refused(shop: Shop, target: str) -> None:
    async def ask() -> None:
        async with scaler(shop) as (stub, served):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.GetMetricSpec(reference(targetBacklogSeconds=target))
            assert isinstance(from_rpc_error(raised.value), InvalidOption)
            assert served.calls[-1]["reason"] == "INVALID_OPTION"

    run(ask())


def test_prometheus_is_told_the_same(shop: Shop) -> None:
    registry = CollectorRegistry()
    registry.register(BacklogCollector(shop.database))
    shop.render(shop.plan(), seconds=20)
    assert registry.get_sample_value("syncline_backlog_seconds") == pytest.approx(40)
    assert registry.get_sample_value("syncline_backlog_jobs") == 1
    assert registry.get_sample_value("syncline_leases", {"kind": "job"}) == 1
    assert registry.get_sample_value("syncline_leases", {"kind": "segment"}) == 0


def test_pods_with_work_in_hand_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(deletion_cost, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(deletion_cost, "_IDLE_SECONDS", 0.2)

    class Pods(FixedList):
        async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
            yield frozenset({Endpoint("127.0.0.1:1", pod="restorer-7")})

    async def work() -> None:
        pool = Pool("restorer", Pods([]), restorer_pb2_grpc.RestorerServiceStub, 20)
        marking = asyncio.create_task(deletion_cost.keep_marked(pool))
        async with pool.use():
            while not api.patches:
                await asyncio.sleep(0.01)
        while len(api.patches) < 2:
            await asyncio.sleep(0.01)
        marking.cancel()
        await pool.close()
        await asyncio.sleep(0.1)

    with serving_api(tmp_path) as api:
        run(work())
    costs = [(pod, patch["metadata"]["annotations"][deletion_cost.ANNOTATION]) for pod, patch in api.patches]
    assert costs == [("restorer-7", deletion_cost.BUSY), ("restorer-7", deletion_cost.IDLE)]
