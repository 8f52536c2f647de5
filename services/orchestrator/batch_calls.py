"""Many jobs at once, on the wire."""

import grpc

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.convert import from_batch, to_batch_id, to_new_job, to_tenant
from services.orchestrator.delivering import Deliveries
from services.orchestrator.records import NewJob
from services.orchestrator.store import JobStore
from services.orchestrator.webhook import WebhookRules
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.v1 import orchestrator_pb2 as pb

_MAX_BATCH = 1000  # jobs


class BatchCalls:
    _store: JobStore
    _artifacts: ArtifactStore
    _deliveries: Deliveries
    _webhooks: WebhookRules

    async def _check_new(self, job: NewJob) -> None:
        """Raises Refusal ASSET_NOT_FOUND, and SOURCE_FORBIDDEN or OUTPUT_FORBIDDEN for addresses."""
        for digest in job.assets:
            await in_thread(self._artifacts.get_asset, digest)
        self._webhooks.check(job.webhook)
        if uri := job.options["output_uri"]:
            self._deliveries.check(uri)

    async def CreateBatch(
        self, request: pb.CreateBatchRequest, context: grpc.aio.ServicerContext
    ) -> pb.CreateBatchResponse:
        if not 1 <= len(request.jobs) <= _MAX_BATCH:
            message = f"a batch has 1 to {_MAX_BATCH} jobs, not {len(request.jobs)}"
            raise Refusal("INVALID_OPTION", message, field="jobs")
        tenant, jobs = to_tenant(context), []
        for number, wanted in enumerate(request.jobs):
            try:
                jobs.append(to_new_job(wanted, tenant))
                await self._check_new(jobs[-1])
            except Refusal as refusal:
                message, about = f"job {number} of the batch: {refusal.message}", {**refusal.metadata, "item": number}
                raise Refusal(refusal.reason, message, **about) from refusal
        batch = await in_thread(self._store.create_batch, jobs, request.request_id or None)
        return pb.CreateBatchResponse(batch=from_batch(batch))

    async def GetBatch(self, request: pb.GetBatchRequest, context: grpc.aio.ServicerContext) -> pb.GetBatchResponse:
        batch = await in_thread(self._store.get_batch, to_batch_id(request.name))
        return pb.GetBatchResponse(batch=from_batch(batch))

    async def CancelBatch(
        self, request: pb.CancelBatchRequest, context: grpc.aio.ServicerContext
    ) -> pb.CancelBatchResponse:
        batch = await in_thread(self._store.cancel_batch, to_batch_id(request.name))
        return pb.CancelBatchResponse(batch=from_batch(batch))
