"""The backlog as KEDA asks for it: an external scaler, beside the orchestrator's own service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import grpc

from services.orchestrator.backlog import TARGET_SECONDS, Backlog, read_backlog
from services.orchestrator.database import Database
from services.orchestrator.keda import externalscaler_pb2 as pb
from services.orchestrator.keda import externalscaler_pb2_grpc
from services.orchestrator.pool import Pool
from services.runtime.refusal import Refusal
from services.runtime.server import Servicer
from services.runtime.streams import in_thread

METRIC = "syncline-backlog-seconds"
_LOOK_SECONDS = 1.0


class BacklogScaler(externalscaler_pb2_grpc.ExternalScalerServicer):
    """Serves beside `servicer`, on the same port. `marked`: the pool whose pods are marked while they have work."""

    def __init__(self, servicer: Servicer, database: Database, marked: Pool | None = None) -> None:
        self.service_name = servicer.service_name
        self._servicer = servicer
        self._database = database
        self._marked = marked

    def register(self, server: grpc.aio.Server) -> None:
        self._servicer.register(server)
        externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(self, server)

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        async with self._servicer.background():
            if self._marked is None:
                yield
                return
            from services.orchestrator.deletion_cost import keep_marked  # a heavy import, for clusters only

            marking = asyncio.create_task(keep_marked(self._marked))
            try:
                yield
            finally:
                marking.cancel()
                await asyncio.gather(marking, return_exceptions=True)

    async def IsActive(self, request: pb.ScaledObjectRef, context: grpc.aio.ServicerContext) -> pb.IsActiveResponse:
        return pb.IsActiveResponse(result=(await self._backlog()).jobs > 0)

    async def StreamIsActive(
        self, request: pb.ScaledObjectRef, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.IsActiveResponse]:
        told: bool | None = None
        while True:
            active = (await self._backlog()).jobs > 0
            if active is not told:
                yield pb.IsActiveResponse(result=active)
                told = active
            await asyncio.sleep(_LOOK_SECONDS)

    async def GetMetricSpec(
        self, request: pb.ScaledObjectRef, context: grpc.aio.ServicerContext
    ) -> pb.GetMetricSpecResponse:
        target = to_target(request.scalerMetadata)
        spec = pb.MetricSpec(metricName=METRIC, targetSize=max(1, round(target)), targetSizeFloat=target)
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetMetricsResponse:
        seconds = (await self._backlog()).seconds
        value = pb.MetricValue(metricName=METRIC, metricValue=round(seconds), metricValueFloat=seconds)
        return pb.GetMetricsResponse(metricValues=[value])

    async def _backlog(self) -> Backlog:
        return await in_thread(read_backlog, self._database)


def to_target(metadata: Mapping[str, str]) -> float:
    """Raises Refusal INVALID_OPTION when targetBacklogSeconds is no number above 0."""
    text = metadata.get("targetBacklogSeconds", str(TARGET_SECONDS))
    try:
        target = float(text)
    except ValueError:
        target = 0.0
    if not 0 < target < float("inf"):
        raise Refusal("INVALID_OPTION", f"targetBacklogSeconds is {text!r}; a number above 0 is wanted")
    return target
