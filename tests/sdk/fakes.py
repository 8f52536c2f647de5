"""An orchestrator that keeps everything in memory, records its calls, and fails when told to."""

import asyncio
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from syncline.errors import (
    AssetNotFound,
    ChecksumMismatch,
    InvalidOption,
    JobNotFound,
    RequestReused,
    SynclineError,
    to_status,
)
from syncline.v1 import orchestrator_pb2 as pb
from syncline.v1.orchestrator_pb2_grpc import (
    OrchestratorServiceServicer,
    add_OrchestratorServiceServicer_to_server,
)

CHUNK = 64 * 1024
VIDEO = bytes(range(256)) * 2000  # what every job "renders"
REPORT = {"frames": 100, "ranges": [{"first": 0, "last": 99, "outcome": "synced"}]}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Fault:
    error: SynclineError | None  # None: the stream just ends
    after: int  # messages that still go through


@dataclass
class FakeOrchestrator(OrchestratorServiceServicer):
    calls: list[tuple[str, Any]] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    received_bytes: int = 0
    assets: dict[str, bytes] = field(default_factory=dict)
    partial: dict[str, bytearray] = field(default_factory=dict)
    jobs: dict[str, pb.Job] = field(default_factory=dict)
    events: dict[str, list[pb.JobEvent]] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)  # request id -> job
    job_error: SynclineError | None = None  # of the jobs created from now on
    holding: bool = False  # jobs created from now on run until they are cancelled
    page_size: int = 2
    _faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))

    def fail(self, method: str, error: SynclineError | None, after: int = 0, times: int = 1) -> None:
        """The next `times` calls of `method` end with `error` after so many messages."""
        self._faults[method] += [Fault(error, after)] * times

    def requests_of(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    async def UploadAsset(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        asset = (await anext(requests)).open.asset
        fault = await self._begin("UploadAsset", asset, context)
        held = self.assets.get(asset.digest)
        data = self.partial.setdefault(asset.digest, bytearray(held or b""))
        yield pb.UploadAssetResponse(opened=pb.UploadAssetOpened(offset=len(data)))
        async for request in requests:
            await self._count(fault, context)
            self.received_bytes += len(request.data)
            data += request.data
        if digest(bytes(data)) != asset.digest:
            del self.partial[asset.digest]
            await _abort(context, ChecksumMismatch("those bytes are others"))
        self.assets[asset.digest] = bytes(data)
        yield pb.UploadAssetResponse(asset=asset)

    async def ImportAsset(self, request: Any, context: Any) -> Any:
        await self._begin("ImportAsset", request, context)
        return pb.ImportAssetResponse(asset=self.put(request.uri.encode()))

    async def GenerateDownloadUrl(self, request: Any, context: Any) -> Any:
        await self._begin("GenerateDownloadUrl", request, context)
        response = pb.GenerateDownloadUrlResponse(url=f"https://example.com/{request.digest}?signed")
        response.expire_time.FromSeconds(1_800_000_000 + request.ttl.seconds)
        return response

    async def DownloadAsset(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._begin("DownloadAsset", request, context)
        if request.digest not in self.assets:
            await _abort(context, AssetNotFound(f"no asset {request.digest}"))
        data = self.assets[request.digest]
        yield pb.DownloadAssetResponse(size_bytes=len(data))
        for offset in range(request.offset, len(data), CHUNK):
            if fault and fault.after == 0 and fault.error is None:
                return
            await self._count(fault, context)
            yield pb.DownloadAssetResponse(size_bytes=len(data), data=data[offset : offset + CHUNK])

    async def InspectAsset(self, request: Any, context: Any) -> Any:
        await self._begin("InspectAsset", request, context)
        response = pb.InspectAssetResponse()
        info = response.info
        info.kind, info.container, info.size_bytes = 1, "mov,mp4", len(self.assets[request.digest])
        info.duration.numerator, info.duration.denominator = 1001, 100
        info.video.codec, info.video.format.width, info.video.format.height = "h264", 1080, 1920
        info.video.format.pixel_format = 4
        info.video.frame_rate.numerator, info.video.frame_rate.denominator = 30000, 1001
        info.advice.add(code="HIGH_BIT_RATE", message="20 Mbit/s")
        if request.persons:
            person = response.persons.add(index=1, frames=50)
            person.first.x, person.first.y, person.first.width, person.first.height, person.first.time = (
                5,
                6,
                70,
                80,
                0.5,
            )
            person.shown.add(start=0.5, end=2.5)
        return response

    async def CreateJob(self, request: Any, context: Any) -> Any:
        fault = await self._begin("CreateJob", request, context)
        if request.job.options.crf > 51:
            await _abort(context, InvalidOption("crf 99 is not 0 to 51", {"option": "crf"}))
        if request.validate_only:
            return pb.CreateJobResponse(job=request.job)
        name = self.requests.get(request.request_id)
        if name is None:
            name = self.add_job(request.job)
            self.requests[request.request_id] = name
        elif self.jobs[name].video != request.job.video:
            await _abort(context, RequestReused("that request_id made another job"))
        if fault:
            await _abort(context, fault.error)  # the job is made, the answer is lost
        return pb.CreateJobResponse(job=self.jobs[name])

    async def GetJob(self, request: Any, context: Any) -> Any:
        await self._begin("GetJob", request, context)
        return pb.GetJobResponse(job=await self._find(request.name, context))

    async def ListJobs(self, request: Any, context: Any) -> Any:
        await self._begin("ListJobs", request, context)
        jobs = [job for job in reversed(self.jobs.values()) if not request.states or job.state in request.states]
        first = int(request.page_token or 0)
        last = first + self.page_size
        return pb.ListJobsResponse(jobs=jobs[first:last], next_page_token=str(last) if last < len(jobs) else "")

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        fault = await self._begin("WatchJob", request, context)
        job = await self._find(request.name, context)
        number = request.after_event
        while True:
            for event in self.events[job.name][number:]:
                await self._count(fault, context)
                number = event.number
                yield pb.WatchJobResponse(event=event)
            if self.jobs[job.name].state > pb.Job.STATE_RUNNING:
                return
            await asyncio.sleep(0.01)

    async def CancelJob(self, request: Any, context: Any) -> Any:
        await self._begin("CancelJob", request, context)
        job = await self._find(request.name, context)
        if job.state <= pb.Job.STATE_RUNNING:
            self._advance(job, pb.Job.STATE_CANCELLED)
        return pb.CancelJobResponse(job=job)

    async def RetryJob(self, request: Any, context: Any) -> Any:
        await self._begin("RetryJob", request, context)
        job = await self._find(request.name, context)
        job.ClearField("error")
        self._advance(job, pb.Job.STATE_QUEUED)
        self._finish(job)
        return pb.RetryJobResponse(job=job)

    async def DeleteJob(self, request: Any, context: Any) -> Any:
        await self._begin("DeleteJob", request, context)
        await self._find(request.name, context)
        del self.jobs[request.name]
        return pb.DeleteJobResponse()

    async def ReplayWebhook(self, request: Any, context: Any) -> Any:
        await self._begin("ReplayWebhook", request, context)
        return pb.ReplayWebhookResponse()

    async def PreviewJob(self, request: Any, context: Any) -> Any:
        await self._begin("PreviewJob", request, context)
        outcomes = [] if request.WhichOneof("part") == "seconds" else ["synced"]
        return pb.PreviewJobResponse(asset=self.put(VIDEO), outcomes=outcomes)

    async def EstimateJob(self, request: Any, context: Any) -> Any:
        await self._begin("EstimateJob", request, context)
        return pb.EstimateJobResponse(
            duration_seconds=5, work_seconds=20, result_bytes=3_000_000, jobs_ahead=4, measured_jobs=50
        )

    async def CreateBatch(self, request: Any, context: Any) -> Any:
        await self._begin("CreateBatch", request, context)
        for wanted in request.jobs:
            self.jobs[self.add_job(wanted)].batch = "batches/1"
        return pb.CreateBatchResponse(batch=self._count_batch())

    async def GetBatch(self, request: Any, context: Any) -> Any:
        await self._begin("GetBatch", request, context)
        return pb.GetBatchResponse(batch=self._count_batch())

    async def CancelBatch(self, request: Any, context: Any) -> Any:
        await self._begin("CancelBatch", request, context)
        return pb.CancelBatchResponse(batch=self._count_batch())

    def _count_batch(self) -> Any:
        states = [job.state for job in self.jobs.values() if job.batch]
        done, failed = states.count(pb.Job.STATE_DONE), states.count(pb.Job.STATE_FAILED)
        return pb.Batch(name="batches/1", done_jobs=done, failed_jobs=failed)

    def add_job(self, wanted: Any) -> str:
        name = f"jobs/{len(self.jobs) + 1}"
        job = pb.Job(
            name=name,
            video=wanted.video,
            audio=wanted.audio,
            options=wanted.options,
            priority=wanted.priority,
            speakers=wanted.speakers,
        )
        job.create_time.FromSeconds(1_700_000_000)
        self.jobs[name], self.events[name] = job, []
        self._advance(job, pb.Job.STATE_QUEUED)
        for phase in range(1, 6):
            job.progress.phase, job.progress.total_frames = phase, 100
            for job.progress.done_frames in (0, 50, 100):
                self._advance(job, pb.Job.STATE_RUNNING)
            if self.holding:
                return name
        self._finish(job)
        return name

    def _finish(self, job: Any) -> None:
        if self.job_error:
            job.error.CopyFrom(to_status(self.job_error))
            self._advance(job, pb.Job.STATE_FAILED)
            return
        job.result.CopyFrom(self.put(VIDEO))
        job.report.CopyFrom(self.put(json.dumps(REPORT).encode()))
        self._advance(job, pb.Job.STATE_DONE)

    def put(self, data: bytes) -> Any:
        self.assets[digest(data)] = data
        return pb.Asset(digest=digest(data), size_bytes=len(data))

    def _advance(self, job: Any, state: int) -> None:
        job.state = state
        events = self.events[job.name]
        events.append(pb.JobEvent(number=len(events) + 1, job=job))

    async def _find(self, name: str, context: Any) -> Any:
        if name not in self.jobs:
            await _abort(context, JobNotFound(f"there is no job {name!r}", {"job": name}))
        return self.jobs[name]

    async def _begin(self, method: str, request: Any, context: Any) -> Fault | None:
        self.calls.append((method, request))
        self.metadata.append(dict(context.invocation_metadata()))
        if not self._faults[method]:
            return None
        told = self._faults[method].pop(0)
        fault = Fault(told.error, told.after)
        if fault.after == 0 and fault.error:
            await _abort(context, fault.error)
        return fault

    async def _count(self, fault: Fault | None, context: Any) -> None:
        if fault is None:
            return
        if fault.after == 0:
            await _abort(context, fault.error)
        fault.after -= 1


async def _abort(context: Any, error: SynclineError | None) -> None:
    assert error is not None
    if not error.message:  # as gRPC itself does
        await context.abort(error.code, "")
    details = (("grpc-status-details-bin", to_status(error).SerializeToString()),)
    await context.abort(error.code, error.message, trailing_metadata=details)


@contextmanager
def serving(
    fake: FakeOrchestrator, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """The address of a real server on loopback, in a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_OrchestratorServiceServicer_to_server(fake, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        await server.start()
        return server, bound

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, bound = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
