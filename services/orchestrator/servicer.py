"""The orchestrator's public API on the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from services.orchestrator.artifacts import ArtifactStore, Upload
from services.orchestrator.casting import list_persons
from services.orchestrator.convert import (
    from_asset,
    from_event,
    from_job,
    from_person,
    list_assets,
    to_job_id,
    to_options,
)
from services.orchestrator.records import EventRecord
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.worker import Worker
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.v1 import orchestrator_pb2 as pb
from syncline.v1 import orchestrator_pb2_grpc

_LOOK_SECONDS = 0.2  # between looks for new events
_MAX_CHUNK_BYTES = 4 * 1024 * 1024
_MAX_PAGE = 1000


class OrchestratorServicer(orchestrator_pb2_grpc.OrchestratorServiceServicer):
    service_name = "syncline.v1.OrchestratorService"

    def __init__(
        self, store: JobStore, artifacts: ArtifactStore, stages: Stages, worker: Worker | None, api: bool = True
    ) -> None:
        self._api = api
        self._store = store
        self._artifacts = artifacts
        self._stages = stages
        self._worker = worker

    def register(self, server: grpc.aio.Server) -> None:
        if self._api:  # a worker by itself serves nothing but its health
            orchestrator_pb2_grpc.add_OrchestratorServiceServicer_to_server(self, server)

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        working = asyncio.ensure_future(self._worker.run()) if self._worker else None
        try:
            yield
        finally:
            if working:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
            await self._stages.close()
            self._store.close()

    async def UploadAsset(
        self, requests: AsyncIterator[pb.UploadAssetRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.UploadAssetResponse]:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "open":
            raise Refusal("OUT_OF_ORDER", "the first message of an upload must be open")
        wanted = first.open.asset
        if wanted.size_bytes == 0:
            raise Refusal("NOT_MEDIA", "the file is empty", digest=wanted.digest)
        upload = await in_thread(self._artifacts.open_upload, wanted.digest, wanted.size_bytes)
        yield pb.UploadAssetResponse(opened=pb.UploadAssetOpened(offset=upload.offset))
        await _receive(upload, requests, wanted.size_bytes)
        stored = await in_thread(upload.finish)
        await in_thread(self._store.put_asset, stored)
        yield pb.UploadAssetResponse(asset=from_asset(stored))

    async def DownloadAsset(
        self, request: pb.DownloadAssetRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadAssetResponse]:
        path = self._artifacts.path_of(request.digest)
        size = path.stat().st_size
        if request.offset > size:
            raise Refusal("INVALID_OPTION", f"offset is {request.offset}; the asset has {size} bytes", field="offset")
        yield pb.DownloadAssetResponse(size_bytes=size)
        chunks = self._artifacts.read(request.digest, request.offset)
        while chunk := await in_thread(next, chunks, b""):
            yield pb.DownloadAssetResponse(size_bytes=size, data=chunk)

    async def InspectAsset(
        self, request: pb.InspectAssetRequest, context: grpc.aio.ServicerContext
    ) -> pb.InspectAssetResponse:
        self._artifacts.path_of(request.digest)
        response = pb.InspectAssetResponse(info=await self._stages.inspect(request.digest))
        if request.persons and response.info.HasField("video"):
            analysis, persons = await list_persons(self._stages, self._artifacts, request.digest)
            response.persons.extend(from_person(analysis, person) for person in persons)
        return response

    async def CreateJob(self, request: pb.CreateJobRequest, context: grpc.aio.ServicerContext) -> pb.CreateJobResponse:
        wanted = request.job
        options = to_options(wanted)
        for digest in list_assets(wanted, options):
            self._artifacts.path_of(digest)
        job = await in_thread(
            self._store.create_job, wanted.video, wanted.audio, options.to_json(), request.request_id or None
        )
        return pb.CreateJobResponse(job=from_job(job))

    async def GetJob(self, request: pb.GetJobRequest, context: grpc.aio.ServicerContext) -> pb.GetJobResponse:
        job = await in_thread(self._store.get_job, to_job_id(request.name))
        return pb.GetJobResponse(job=from_job(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: grpc.aio.ServicerContext) -> pb.ListJobsResponse:
        if request.page_size > _MAX_PAGE:
            message = f"page_size is {request.page_size}; the range is 1 to {_MAX_PAGE}"
            raise Refusal("INVALID_OPTION", message, field="page_size")
        page = await in_thread(self._store.list_jobs, request.page_size or 50, request.page_token)
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


async def _receive(upload: Upload, requests: AsyncIterator[pb.UploadAssetRequest], size: int) -> None:
    async for request in requests:
        if request.WhichOneof("message") != "data" or not 1 <= len(request.data) <= _MAX_CHUNK_BYTES:
            raise Refusal("OUT_OF_ORDER", f"after open come pieces of 1 to {_MAX_CHUNK_BYTES} bytes")
        await in_thread(upload.append, request.data)
    if upload.offset != size:
        message = f"the upload ended at byte {upload.offset} of {size}; the next one goes on there"
        raise Refusal("SERVICE_UNAVAILABLE", message, offset=upload.offset)
