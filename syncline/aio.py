"""The client for asyncio, method for method that of `syncline.client`."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import stamina

from syncline import _protocol
from syncline._channel import (
    ATTEMPTS,
    CHANNEL_OPTIONS,
    PAUSES,
    STREAM_SECONDS,
    call_span,
    is_retryable,
    make_metadata,
    make_stub,
    own_errors,
    read_credentials,
)
from syncline._files import Arriving, NewFile, describe_file
from syncline._protocol import OnProgress, Question, Stream, Upload
from syncline.errors import SynclineError
from syncline.types import (
    Asset,
    Batch,
    Estimate,
    FileName,
    Job,
    JobEvent,
    JobState,
    MediaInfo,
    MezzanineOptions,
    NewJob,
    Options,
    Person,
    Preview,
    SignedUrl,
    Speaker,
    Tls,
)

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class AsyncClient:
    """Talks to one orchestrator at `server`, "host:port". Errors are those of `syncline.errors`, and OSError for files.

    `tenant`: on whose behalf, for a server that shares its work among several. `tls`: for a server that speaks TLS.

    What can pass is retried for about half a minute; broken transfers go on where they stopped. Belongs to the event
    loop in which it is first used.
    """

    def __init__(self, server: str, tenant: str = "", tls: Tls | None = None) -> None:
        self._tenant = tenant
        self._tls = tls
        self._server = server
        self._retry = stamina.AsyncRetryingCaller(attempts=ATTEMPTS, timeout=None, **PAUSES)
        self._retry_stream = stamina.AsyncRetryingCaller(attempts=None, timeout=None, **PAUSES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def upload(self, path: FileName, on_progress: OnProgress | None = None) -> Asset:
        """Puts a file into the server's store. What is there already is not sent again."""
        path = Path(path)
        upload = Upload(path, await asyncio.to_thread(describe_file, path), on_progress)
        return await self._retry_stream(upload.may_retry, self._converse, upload)

    async def import_asset(self, uri: str) -> Asset:
        """Has the server fetch a file by itself, as its configuration allows: https:, s3:, gs:, az: or "file:path"."""
        return await self._ask(_protocol.import_asset(uri))

    async def create_job(
        self,
        video: Asset | str,
        audio: Asset | str | None = None,
        request_id: str | None = None,
        *,
        speakers: Iterable[Speaker] = (),
        priority: int = 0,
        deadline: datetime | None = None,
        webhook: str = "",
        **options: Unpack[Options],
    ) -> Job:
        """Queues a job on uploaded files: one speech, or several `speakers`, each with a face and a speech.

        Calls with one `request_id` make one job; default: an id of this call. Higher priorities go first. A job that is
        not done by its deadline fails. `webhook`: https address that is told of it, instead of the server's own.
        """
        new = NewJob(video, audio, options, priority, deadline, tuple(speakers), webhook)
        return await self._ask(_protocol.create_job(new, request_id))

    async def check(self, job: NewJob) -> None:
        """Looks into a job's options and files as if to queue it. Raises what is wrong with them."""
        await self._ask(_protocol.check_job(job))

    async def estimate(self, job: NewJob) -> Estimate:
        """What the job would cost on this server. Raises as `check`."""
        return await self._ask(_protocol.estimate_job(job))

    async def preview(self, job: NewJob, path: FileName, *, at: float = 0.0, seconds: float | None = None) -> Preview:
        """Writes what the job would make to `path`, by a few seconds of work: a PNG of the frame at `at`, or a video.

        The PNG shows the frame as it would be, and beside it what was pasted in and the landmarks gone by. With
        `seconds`, up to 10, the video's begin is made. Raises as `check`.
        """
        made = await self._ask(_protocol.preview_job(job, at, seconds))
        await self._save(made.asset, path)
        return made

    async def create_batch(self, jobs: Iterable[NewJob], request_id: str | None = None) -> Batch:
        """Queues up to 1000 jobs, all or none. Calls with one `request_id` make one batch."""
        return await self._ask(_protocol.create_batch(jobs, request_id))

    async def get_batch(self, batch: Batch | str) -> Batch:
        return await self._ask(_protocol.get_batch(batch))

    async def cancel_batch(self, batch: Batch | str) -> Batch:
        """Cancels those of its jobs that have not ended."""
        return await self._ask(_protocol.cancel_batch(batch))

    async def get(self, job: Job | str) -> Job:
        return await self._ask(_protocol.get_job(job))

    async def list(
        self, states: Iterable[JobState | str] = (), tenant: str = "", batch: Batch | str = ""
    ) -> AsyncIterator[Job]:
        """Jobs, newest first: all, or those in one of the states, of the tenant, of the batch."""
        states = tuple(states)
        token = ""
        while True:
            page = await self._ask(_protocol.list_jobs(token, states, tenant, _protocol.name_of(batch)))
            for job in page.jobs:
                yield job
            if not (token := page.next_token):
                return

    async def cancel(self, job: Job | str) -> Job:
        """Stops the job. One that has ended stays as it is."""
        return await self._ask(_protocol.cancel_job(job))

    async def retry(self, job: Job | str) -> Job:
        """Queues a job that failed or was cancelled once more; what it had finished stays so."""
        return await self._ask(_protocol.retry_job(job))

    async def replay_webhook(self, job: Job | str, after_event: int = 0) -> None:
        """Has the job's webhook told once more of its changes of state, from the one after `after_event` on."""
        await self._ask(_protocol.replay_webhook(job, after_event))

    async def delete(self, job: Job | str) -> None:
        """Makes the server forget a job that has ended."""
        await self._ask(_protocol.delete_job(job))

    def watch(self, job: Job | str, after_event: int = 0) -> AsyncIterator[JobEvent]:
        """The job's events from the one after `after_event`, as they happen, until it has ended."""
        return self._follow(_protocol.Watch(job, after_event))

    async def result(self, job: Job | str) -> Job:
        """Waits for the job's end. Raises its error when it failed, JobCancelled when it was cancelled."""
        async for _ in self.watch(job):
            pass
        return _protocol.outcome(await self.get(job))

    async def download(self, job: Job | str, path: FileName, on_progress: OnProgress | None = None) -> Path:
        """Writes a done job's video to `path`, whole or not at all. Raises as `result`, or JobNotDone."""
        with NewFile(Path(path)) as target:
            await self._fetch(Arriving(_protocol.result_of(await self._latest(job)), target.file), on_progress)
            await asyncio.to_thread(target.keep)
        return target.path

    async def download_url(self, job: Job | str, seconds: float = 3600.0) -> SignedUrl:
        """An address at which anyone can fetch a done job's video by HTTP for so long: 60 seconds to 7 days.

        Raises as `download`, and UrlUnavailable when the server keeps its files in a folder.
        """
        return await self._ask(_protocol.generate_url(_protocol.result_of(await self._latest(job)), seconds))

    async def report(self, job: Job | str) -> dict[str, Any]:
        """What was done, as the report of a done job has it. Raises as `download`."""
        text = io.BytesIO()
        await self._fetch(Arriving(_protocol.report_of(await self._latest(job)), text), None)
        return _protocol.read_report(text.getvalue())

    async def inspect(self, file: Asset | FileName, speech: Asset | FileName | None = None) -> MediaInfo:
        """What is in a file, and advice on it; with the `speech` that is meant for it, on the two together.

        Paths are uploaded first.
        """
        asset = file if isinstance(file, Asset) else await self.upload(file)
        if speech is not None and not isinstance(speech, Asset):
            speech = await self.upload(speech)
        return await self._ask(_protocol.inspect_asset(asset, speech))

    async def persons(self, file: Asset | FileName) -> tuple[Person, ...]:
        """Who is in a video or photo, in the order of their index. The first time, the whole video is analysed."""
        asset = file if isinstance(file, Asset) else await self.upload(file)
        return await self._ask(_protocol.find_persons(asset))

    async def normalize(self, file: Asset | FileName, path: FileName, **options: Unpack[MezzanineOptions]) -> Asset:
        """Writes a video's standard mezzanine to `path`, whole or not at all: H.264 and AAC at a constant rate.

        The asset can be given to create_job.
        """
        asset = file if isinstance(file, Asset) else await self.upload(file)
        made = await self._ask(_protocol.normalize_asset(asset, options))
        await self._save(made, path)
        return made

    async def run(
        self,
        video: FileName,
        audio: FileName,
        out: FileName,
        on_event: Callable[[JobEvent], None] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Two files in, the finished video at `out`. Raises the job's error. Broken off, it cancels the job."""
        job = await self.create_job(await self.upload(video), await self.upload(audio), **options)
        async with self.cancelling(job):
            async for event in self.watch(job):
                if on_event:
                    on_event(event)
        done = _protocol.outcome(await self.get(job))
        await self.download(done, out)
        return done

    @contextlib.asynccontextmanager
    async def cancelling(self, job: Job | str) -> AsyncIterator[None]:
        """Cancels the job when the block is left by its task's cancellation or an error that is not the server's."""
        try:
            yield
        except SynclineError:
            raise
        except BaseException:
            with contextlib.suppress(SynclineError):
                await self.cancel(job)
            raise

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._server, options=CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(self._server, read_credentials(self._tls), options=CHANNEL_OPTIONS)

    @cached_property
    def _stub(self) -> Any:
        return make_stub(self._channel)

    async def _latest(self, job: Job | str) -> Job:
        return job if isinstance(job, Job) and job.state.ended else await self.get(job)

    async def _ask(self, question: Question[Answer]) -> Answer:
        call = getattr(self._stub, question.method)

        async def ask() -> Any:
            with own_errors():
                return await call(
                    question.request, timeout=question.seconds, metadata=make_metadata(self._tenant, question.job)
                )

        with call_span(question.method):
            return question.convert(await self._retry(is_retryable, ask))

    async def _save(self, asset: Asset, path: FileName) -> None:
        with NewFile(Path(path)) as target:
            await self._fetch(Arriving(asset, target.file), None)
            await asyncio.to_thread(target.keep)

    async def _fetch(self, arriving: Arriving, on_progress: OnProgress | None) -> None:
        async for _ in self._follow(_protocol.Download(arriving, on_progress)):
            pass
        arriving.check()

    async def _follow(self, stream: Stream[Item]) -> AsyncIterator[Item]:
        """What the stream brings, opened anew where it breaks off."""
        call: Any = None

        async def receive() -> Any:
            nonlocal call
            try:
                with own_errors():
                    call = call or self._open(stream)
                    response = await _next(call)
                if response is None:
                    stream.check_end()
                return response
            except SynclineError:
                call = None
                raise

        try:
            while (response := await self._retry_stream(stream.may_retry, receive)) is not None:
                yield stream.take(response)
        finally:
            if call is not None:
                call.cancel()

    def _open(self, stream: Stream[Item]) -> Any:
        method = getattr(self._stub, stream.method)
        return method(stream.open(), timeout=STREAM_SECONDS, metadata=make_metadata(self._tenant, stream.job))

    async def _converse(self, upload: Upload) -> Asset:
        """One attempt."""
        first: asyncio.Queue[Any] = asyncio.Queue()

        async def requests() -> AsyncIterator[Any]:
            yield upload.open()
            opened = await first.get()
            if opened is not None:
                rest = upload.rest(opened)
                while (request := await asyncio.to_thread(next, rest, None)) is not None:  # reads the file
                    yield request

        call = self._stub.UploadAsset(requests(), timeout=STREAM_SECONDS, metadata=make_metadata(self._tenant))
        try:
            with own_errors():
                first.put_nowait(await _next(call))
                return upload.finish(await _next(call))
        except (SynclineError, asyncio.CancelledError) as error:  # requests that fail cancel the call
            if upload.failure is not None:
                raise upload.failure from error
            raise
        finally:
            call.cancel()


async def _next(call: Any) -> Any:
    """The call's next response, or None at its end."""
    response = await call.read()
    return None if response is grpc.aio.EOF else response
