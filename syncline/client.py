"""The client for ordinary code. `syncline.aio` has the same for asyncio."""

import contextlib
import io
import queue
from collections.abc import Callable, Iterable, Iterator
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
    is_retryable,
    make_metadata,
    make_stub,
    own_errors,
)
from syncline._files import Arriving, NewFile, describe_file
from syncline._protocol import FileName, OnProgress, Question, Stream, Upload
from syncline.errors import SynclineError
from syncline.types import Asset, Job, JobEvent, MediaInfo, Options, Person, Speaker

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Client:
    """Talks to one orchestrator at `server`, "host:port". Errors are those of `syncline.errors`, and OSError for files.

    What can pass is retried for about half a minute; broken transfers go on where they stopped. Threads may share one.
    """

    def __init__(self, server: str) -> None:
        self._channel = grpc.insecure_channel(server, options=CHANNEL_OPTIONS)
        self._stub: Any = make_stub(self._channel)
        self._retry = stamina.RetryingCaller(attempts=ATTEMPTS, timeout=None, **PAUSES)
        self._retry_stream = stamina.RetryingCaller(attempts=None, timeout=None, **PAUSES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def upload(self, path: FileName, on_progress: OnProgress | None = None) -> Asset:
        """Puts a file into the server's store. What is there already is not sent again."""
        path = Path(path)
        upload = Upload(path, describe_file(path), on_progress)
        return self._retry_stream(upload.may_retry, self._converse, upload)

    def create_job(
        self,
        video: Asset | str,
        audio: Asset | str | None = None,
        request_id: str | None = None,
        *,
        speakers: Iterable[Speaker] = (),
        **options: Unpack[Options],
    ) -> Job:
        """Queues a job on uploaded files: one speech, or several `speakers`, each with a face and a speech.

        Calls with one `request_id` make one job; default: an id of this call.
        """
        return self._ask(_protocol.create_job(video, audio, speakers, request_id, options))

    def get(self, job: Job | str) -> Job:
        return self._ask(_protocol.get_job(job))

    def list(self) -> Iterator[Job]:
        """All jobs, newest first."""
        token = ""
        while True:
            page = self._ask(_protocol.list_jobs(token))
            yield from page.jobs
            if not (token := page.next_token):
                return

    def cancel(self, job: Job | str) -> Job:
        """Stops the job. One that has ended stays as it is."""
        return self._ask(_protocol.cancel_job(job))

    def watch(self, job: Job | str, after_event: int = 0) -> Iterator[JobEvent]:
        """The job's events from the one after `after_event`, as they happen, until it has ended."""
        return self._follow(_protocol.Watch(job, after_event))

    def result(self, job: Job | str) -> Job:
        """Waits for the job's end. Raises its error when it failed, JobCancelled when it was cancelled."""
        for _ in self.watch(job):
            pass
        return _protocol.outcome(self.get(job))

    def download(self, job: Job | str, path: FileName, on_progress: OnProgress | None = None) -> Path:
        """Writes a done job's video to `path`, whole or not at all. Raises as `result`, or JobNotDone."""
        with NewFile(Path(path)) as target:
            self._fetch(Arriving(_protocol.result_of(self._latest(job)), target.file), on_progress)
            target.keep()
        return target.path

    def report(self, job: Job | str) -> dict[str, Any]:
        """What was done, as the report of a done job has it. Raises as `download`."""
        text = io.BytesIO()
        self._fetch(Arriving(_protocol.report_of(self._latest(job)), text), None)
        return _protocol.read_report(text.getvalue())

    def inspect(self, file: Asset | FileName) -> MediaInfo:
        """What is in a file, as the decoder sees it. A path is uploaded first."""
        asset = file if isinstance(file, Asset) else self.upload(file)
        return self._ask(_protocol.inspect_asset(asset))

    def persons(self, file: Asset | FileName) -> tuple[Person, ...]:
        """Who is in a video or photo, in the order of their index. The first time, the whole video is analysed."""
        asset = file if isinstance(file, Asset) else self.upload(file)
        return self._ask(_protocol.find_persons(asset))

    def run(
        self,
        video: FileName,
        audio: FileName,
        out: FileName,
        on_event: Callable[[JobEvent], None] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Two files in, the finished video at `out`. Raises the job's error. Broken off, it cancels the job."""
        job = self.create_job(self.upload(video), self.upload(audio), **options)
        with self.cancelling(job):
            for event in self.watch(job):
                if on_event:
                    on_event(event)
        done = _protocol.outcome(self.get(job))
        self.download(done, out)
        return done

    @contextlib.contextmanager
    def cancelling(self, job: Job | str) -> Iterator[None]:
        """Cancels the job when the block is left by Ctrl-C or an error that is not the server's."""
        try:
            yield
        except SynclineError:
            raise
        except BaseException:
            with contextlib.suppress(SynclineError):
                self.cancel(job)
            raise

    def _latest(self, job: Job | str) -> Job:
        return job if isinstance(job, Job) and job.state.ended else self.get(job)

    def _ask(self, question: Question[Answer]) -> Answer:
        call = getattr(self._stub, question.method)

        def ask() -> Any:
            with own_errors():
                return call(question.request, timeout=question.seconds, metadata=make_metadata(question.job))

        return question.convert(self._retry(is_retryable, ask))

    def _fetch(self, arriving: Arriving, on_progress: OnProgress | None) -> None:
        for _ in self._follow(_protocol.Download(arriving, on_progress)):
            pass
        arriving.check()

    def _follow(self, stream: Stream[Item]) -> Iterator[Item]:
        """What the stream brings, opened anew where it breaks off."""
        call: Any = None

        def receive() -> Any:
            nonlocal call
            try:
                with own_errors():
                    call = call or self._open(stream)
                    response = next(call, None)
                if response is None:
                    stream.check_end()
                return response
            except SynclineError:
                call = None
                raise

        try:
            while (response := self._retry_stream(stream.may_retry, receive)) is not None:
                yield stream.take(response)
        finally:
            if call is not None:
                call.cancel()

    def _open(self, stream: Stream[Item]) -> Any:
        method = getattr(self._stub, stream.method)
        return method(stream.open(), timeout=STREAM_SECONDS, metadata=make_metadata(stream.job))

    def _converse(self, upload: Upload) -> Asset:
        """One attempt."""
        first: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def requests() -> Iterator[Any]:  # runs in a thread of gRPC's
            yield upload.open()
            opened = first.get()
            if opened is not None:
                yield from upload.rest(opened)

        call = None
        try:
            with own_errors():
                call = self._stub.UploadAsset(requests(), timeout=STREAM_SECONDS, metadata=make_metadata())
                first.put(next(call, None))
                return upload.finish(next(call, None))
        except SynclineError as error:
            if upload.failure is not None:
                raise upload.failure from error
            raise
        finally:
            first.put(None)  # lets the thread go
            if call is not None:
                call.cancel()
