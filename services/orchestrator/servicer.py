"""The orchestrator's public API on the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol

import grpc

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.asset_calls import AssetCalls
from services.orchestrator.batch_calls import BatchCalls
from services.orchestrator.convert import (
    from_event,
    from_job,
    to_filter,
    to_job_id,
    to_new_job,
    to_tenant,
)
from services.orchestrator.delivering import Deliveries
from services.orchestrator.estimating import inspect_all
from services.orchestrator.importing import ImportRules
from services.orchestrator.previewing import Previews
from services.orchestrator.records import EventRecord
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.trial_calls import TrialCalls
from services.orchestrator.webhook import WebhookRules
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.tracing import callers_trace
from syncline.v1 import orchestrator_pb2 as pb
from syncline.v1 import orchestrator_pb2_grpc

_LOOK_SECONDS = 0.2  # between looks for new events
_MAX_PAGE = 1000


class BackgroundTask(Protocol):
    async def run(self) -> None:
        """Works until it is cancelled."""
        ...


class OrchestratorServicer(AssetCalls, BatchCalls, TrialCalls, orchestrator_pb2_grpc.OrchestratorServiceServicer):
    service_name = "syncline.v1.OrchestratorService"

    def __init__(
        self,
        store: JobStore,
        artifacts: ArtifactStore,
        stages: Stages,
        imports: ImportRules,
        deliveries: Deliveries,
        webhooks: WebhookRules,
        background: Sequence[BackgroundTask],
        api: bool = True,
    ) -> None:
        self._imports = imports
        self._deliveries = deliveries
        self._webhooks = webhooks
        self._background = background
        self._api = api
        self._store = store
        self._artifacts = artifacts
        self._stages = stages
        self._previews = Previews(stages, artifacts)

    def register(self, server: grpc.aio.Server) -> None:
        if self._api:  # a worker by itself serves nothing but its health
            orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server(self, server)

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        running = [asyncio.ensure_future(task.run()) for task in self._background]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._stages.close()
            self._store.close()

    async def CreateJob(self, request: pb.CreateJobRequest, context: grpc.aio.ServicerContext) -> pb.CreateJobResponse:
        new = to_new_job(request.job, to_tenant(context))
        await self._check_new(new)
        await self._stages.check_engines(new.options)
        if request.validate_only:
            await inspect_all(self._stages, new)
            return pb.CreateJobResponse(job=request.job)
        await in_thread(self._artifacts.check_room)
        new = replace(new, trace=callers_trace(context.invocation_metadata() or ()))
        job = await in_thread(self._store.create_job, new, request.request_id or None)
        return pb.CreateJobResponse(job=from_job(job))

    async def GetJob(self, request: pb.GetJobRequest, context: grpc.aio.ServicerContext) -> pb.GetJobResponse:
        job = await in_thread(self._store.get_job, to_job_id(request.name))
        return pb.GetJobResponse(job=from_job(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: grpc.aio.ServicerContext) -> pb.ListJobsResponse:
        if request.page_size > _MAX_PAGE:
            message = f"page_size is {request.page_size}; the range is 1 to {_MAX_PAGE}"
            raise Refusal("INVALID_OPTION", message, field="page_size")
        size, wanted = request.page_size or 50, to_filter(request)
        page = await in_thread(self._store.list_jobs, size, request.page_token, wanted)
        return pb.ListJobsResponse(jobs=map(from_job, page.jobs), next_page_token=page.next_page_token)

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.WatchJobResponse]:
        job_id, seen = to_job_id(request.name), request.after_event
        while True:
            events: list[EventRecord] = await in_thread(self._store.events_after, job_id, seen)
            for event in events:
                yield pb.WatchJobResponse(event=from_event(event))
                seen = event.number
            job = await in_thread(self._store.get_job, job_id)
            if job.last_event <= seen:
                if job.state.ended:
                    return
                await asyncio.sleep(_LOOK_SECONDS)

    async def CancelJob(self, request: pb.CancelJobRequest, context: grpc.aio.ServicerContext) -> pb.CancelJobResponse:
        job = await in_thread(self._store.cancel_job, to_job_id(request.name))
        return pb.CancelJobResponse(job=from_job(job))

    async def RetryJob(self, request: pb.RetryJobRequest, context: grpc.aio.ServicerContext) -> pb.RetryJobResponse:
        job = await in_thread(self._store.retry_job, to_job_id(request.name))
        return pb.RetryJobResponse(job=from_job(job))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: grpc.aio.ServicerContext) -> pb.DeleteJobResponse:
        await in_thread(self._store.delete_job, to_job_id(request.name))
        return pb.DeleteJobResponse()

    async def ReplayWebhook(
        self, request: pb.ReplayWebhookRequest, context: grpc.aio.ServicerContext
    ) -> pb.ReplayWebhookResponse:
        job = await in_thread(self._store.get_job, to_job_id(request.name))
        self._webhooks.find_target(job)
        await in_thread(self._store.replay_news, job.id, request.after_event)
        return pb.ReplayWebhookResponse()
