"""What a job would cost and look like, on the wire; nothing is queued."""

import grpc

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.convert import from_asset, from_estimate, to_new_job, to_tenant
from services.orchestrator.estimating import estimate, inspect_all
from services.orchestrator.previewing import Previews
from services.orchestrator.records import NewJob
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.runtime.streams import in_thread
from syncline.v1 import orchestrator_pb2 as pb


class TrialCalls:
    _store: JobStore
    _artifacts: ArtifactStore
    _stages: Stages
    _previews: Previews

    async def EstimateJob(
        self, request: pb.EstimateJobRequest, context: grpc.aio.ServicerContext
    ) -> pb.EstimateJobResponse:
        new = await self._read_new(request.job, to_tenant(context))
        facts = await inspect_all(self._stages, new)
        costs = await in_thread(self._store.latest_costs)
        ahead = await in_thread(self._store.count_ahead, new)
        return from_estimate(estimate(facts, costs), ahead)

    async def PreviewJob(
        self, request: pb.PreviewJobRequest, context: grpc.aio.ServicerContext
    ) -> pb.PreviewJobResponse:
        tenant = to_tenant(context)
        new = await self._read_new(request.job, tenant)
        await self._stages.check_engines(new.options)
        await in_thread(self._artifacts.check_room)
        await in_thread(self._store.check_room, tenant, 0)
        if request.WhichOneof("part") == "seconds":
            preview = await self._previews.show_begin(new, round(request.seconds, 6))
        else:
            preview = await self._previews.show_frame(new, round(request.time, 6))
        await in_thread(self._store.put_asset, preview.asset, tenant)
        return pb.PreviewJobResponse(asset=from_asset(preview.asset), outcomes=preview.outcomes)

    async def _read_new(self, job: pb.Job, tenant: str) -> NewJob:
        """Raises Refusal ASSET_NOT_FOUND."""
        new = to_new_job(job, tenant)
        for digest in new.assets:
            await in_thread(self._artifacts.get_asset, digest)
        return new
