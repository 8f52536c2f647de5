"""What is said to the orchestrator, once for both clients: requests, conversions, and how a broken stream goes on.

Question     one request, one answer
Upload       a conversation: open, then what the server wants
Download     } streams that are opened anew from where they
Watch        } broke off
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from syncline import _convert, errors, types
from syncline._channel import ATTEMPTS, is_retryable
from syncline._files import Arriving, read_chunks
from syncline.v1 import orchestrator_pb2 as pb

Answer = TypeVar("Answer")
Item_co = TypeVar("Item_co", covariant=True)
OnProgress = Callable[[int, int], None]  # bytes done, bytes in all; uploads call it from another thread

PAGE_SIZE = 100
PREVIEW_SECONDS = 600.0  # deadline; seconds of work, unless the whole video is to be analysed first
INSPECT_SECONDS = 120.0  # deadline; the server counts the file's packets, which takes a while for a long one


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """Every one of them can be asked again: servers hold creating and cancelling idempotent."""

    method: str
    request: Message
    convert: Callable[[Any], Answer]
    job: str = ""
    seconds: float = 30.0  # deadline


@dataclass(frozen=True, slots=True)
class Page:
    jobs: list[types.Job]
    next_token: str


def create_job(job: types.NewJob, request_id: str | None) -> Question[types.Job]:
    request = pb.CreateJobRequest(job=_convert.to_new_job(job), request_id=request_id or str(uuid.uuid4()))
    return Question("CreateJob", request, lambda response: _convert.from_job(response.job))


def check_job(job: types.NewJob) -> Question[None]:
    request = pb.CreateJobRequest(job=_convert.to_new_job(job), validate_only=True)
    return Question("CreateJob", request, lambda _: None, seconds=INSPECT_SECONDS)


def estimate_job(job: types.NewJob) -> Question[types.Estimate]:
    request = pb.EstimateJobRequest(job=_convert.to_new_job(job))
    return Question("EstimateJob", request, _convert.from_estimate, seconds=INSPECT_SECONDS)


def preview_job(job: types.NewJob, at: float, seconds: float | None) -> Question[types.Preview]:
    part: dict[str, float] = {"time": at} if seconds is None else {"seconds": seconds}
    request = pb.PreviewJobRequest(job=_convert.to_new_job(job), **part)
    return Question("PreviewJob", request, _convert.from_preview, seconds=PREVIEW_SECONDS)


def create_batch(jobs: Iterable[types.NewJob], request_id: str | None) -> Question[types.Batch]:
    messages = [_convert.to_new_job(job) for job in jobs]
    request = pb.CreateBatchRequest(jobs=messages, request_id=request_id or str(uuid.uuid4()))
    return Question("CreateBatch", request, lambda response: _convert.from_batch(response.batch))


def get_batch(batch: types.Batch | str) -> Question[types.Batch]:
    request = pb.GetBatchRequest(name=name_of(batch))
    return Question("GetBatch", request, lambda response: _convert.from_batch(response.batch))


def cancel_batch(batch: types.Batch | str) -> Question[types.Batch]:
    request = pb.CancelBatchRequest(name=name_of(batch))
    return Question("CancelBatch", request, lambda response: _convert.from_batch(response.batch))


def get_job(job: types.Job | str) -> Question[types.Job]:
    name = name_of(job)
    return Question("GetJob", pb.GetJobRequest(name=name), lambda response: _convert.from_job(response.job), name)


def cancel_job(job: types.Job | str) -> Question[types.Job]:
    name = name_of(job)
    return Question("CancelJob", pb.CancelJobRequest(name=name), lambda response: _convert.from_job(response.job), name)


def retry_job(job: types.Job | str) -> Question[types.Job]:
    name = name_of(job)
    return Question("RetryJob", pb.RetryJobRequest(name=name), lambda response: _convert.from_job(response.job), name)


def replay_webhook(job: types.Job | str, after_event: int) -> Question[None]:
    name = name_of(job)
    request = pb.ReplayWebhookRequest(name=name, after_event=after_event)
    return Question("ReplayWebhook", request, lambda _: None, name)


def delete_job(job: types.Job | str) -> Question[None]:
    name = name_of(job)
    return Question("DeleteJob", pb.DeleteJobRequest(name=name), lambda _: None, name)


def list_jobs(page_token: str, states: Iterable[types.JobState | str], tenant: str, batch: str) -> Question[Page]:
    wanted: Any = [_convert.to_state(state) for state in states]
    return Question(
        "ListJobs",
        pb.ListJobsRequest(page_size=PAGE_SIZE, page_token=page_token, states=wanted, tenant=tenant, batch=batch),
        lambda response: Page([_convert.from_job(job) for job in response.jobs], response.next_page_token),
    )


def import_asset(uri: str) -> Question[types.Asset]:
    request = pb.ImportAssetRequest(uri=uri)
    return Question("ImportAsset", request, lambda response: _convert.from_asset(response.asset), seconds=3600.0)


def generate_url(asset: types.Asset, seconds: float) -> Question[types.SignedUrl]:
    request = pb.GenerateDownloadUrlRequest(digest=asset.digest)
    request.ttl.FromTimedelta(timedelta(seconds=seconds))
    return Question("GenerateDownloadUrl", request, _convert.from_signed)


def inspect_asset(asset: types.Asset | str, speech: types.Asset | str | None) -> Question[types.MediaInfo]:
    request = pb.InspectAssetRequest(digest=digest_of(asset), speech="" if speech is None else digest_of(speech))
    # The server counts the file's packets and listens to its sound, which takes a while for a long one.
    return Question(
        "InspectAsset", request, lambda response: _convert.from_media_info(response.info), seconds=INSPECT_SECONDS
    )


def find_persons(asset: types.Asset | str) -> Question[tuple[types.Person, ...]]:
    request = pb.InspectAssetRequest(digest=digest_of(asset), persons=True)
    return Question(
        "InspectAsset",
        request,
        lambda response: tuple(map(_convert.from_person, response.persons)),
        seconds=3600.0,  # the whole video is analysed
    )


def normalize_asset(asset: types.Asset | str, options: types.MezzanineOptions) -> Question[types.Asset]:
    request = pb.NormalizeAssetRequest(digest=digest_of(asset), mezzanine=_convert.to_mezzanine(options))
    return Question(
        "NormalizeAsset",
        request,
        lambda response: _convert.from_asset(response.asset),
        seconds=4 * 3600.0,  # the whole video is decoded and encoded
    )


def name_of(job: types.Job | types.Batch | str) -> str:
    return job if isinstance(job, str) else job.name


def digest_of(asset: types.Asset | str) -> str:
    return asset if isinstance(asset, str) else asset.digest


def outcome(job: types.Job) -> types.Job:
    """The job when it is done. Raises its error when it failed, JobCancelled, or JobNotDone."""
    match job.state:
        case types.JobState.DONE:
            return job
        case types.JobState.FAILED:
            raise job.error or errors.InternalError(f"{job.name} failed without saying why", {"job": job.name})
        case types.JobState.CANCELLED:
            raise errors.JobCancelled(f"{job.name} was cancelled", {"job": job.name})
    raise errors.JobNotDone(f"{job.name} is {job.state}", {"job": job.name})


def result_of(job: types.Job) -> types.Asset:
    """The video made. Raises as `outcome`."""
    return _present(outcome(job).result, job)


def report_of(job: types.Job) -> types.Asset:
    """The report on it. Raises as `outcome`."""
    return _present(outcome(job).report, job)


def _present(asset: types.Asset | None, job: types.Job) -> types.Asset:
    if asset is None:
        raise errors.InternalError(f"{job.name} is done, but the server named no file", {"job": job.name})
    return asset


def read_report(text: bytes) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    return report


class _Resumable:
    """Attempts are counted only while none of them gets further than the ones before."""

    def __init__(self, reached: int = 0) -> None:
        self.reached = reached  # bytes or events that need not come again
        self._reached_before = reached
        self._failures = 0

    def may_retry(self, error: BaseException) -> bool:
        self._failures = 1 if self.reached > self._reached_before else self._failures + 1
        self._reached_before = self.reached
        return is_retryable(error) and self._failures < ATTEMPTS


class Upload(_Resumable):
    """One file on its way up; each attempt goes on where the server says."""

    def __init__(self, path: Path, asset: types.Asset, on_progress: OnProgress | None) -> None:
        super().__init__()
        self.asset = asset
        self.failure: Exception | None = None  # reading the file went wrong; gRPC would only say that something did
        self._path = path
        self._on_progress = on_progress

    def open(self) -> Message:
        return pb.UploadAssetRequest(open=pb.UploadAssetOpen(asset=_convert.to_asset(self.asset)))

    def rest(self, opened: Any) -> Iterator[Message]:
        """What follows the server's first response."""
        offset = opened.opened.offset
        self.reached = max(self.reached, offset)
        try:
            self._tell(offset)
            for chunk in read_chunks(self._path, offset) if offset < self.asset.size_bytes else ():
                yield pb.UploadAssetRequest(data=chunk)
                offset += len(chunk)
                self._tell(offset)
            if offset != self.asset.size_bytes:
                raise errors.ChecksumMismatch(f"{self._path} changed while it was sent", {"digest": self.asset.digest})
        except Exception as error:
            self.failure = error
            raise

    def finish(self, last: Any) -> types.Asset:
        if last is None or last.WhichOneof("message") != "asset":
            raise errors.ServiceUnavailable("the upload broke off before the server confirmed the file")
        return _convert.from_asset(last.asset)

    def _tell(self, done: int) -> None:
        if self._on_progress:
            self._on_progress(done, self.asset.size_bytes)


class Stream(Protocol[Item_co]):
    """Responses of one request that can be asked for anew from where they broke off."""

    method: str
    job: str

    def may_retry(self, error: BaseException) -> bool: ...

    def open(self) -> Message:
        """The request for what has not been taken yet."""
        ...

    def take(self, response: Any) -> Item_co: ...

    def check_end(self) -> None:
        """Raises ServiceUnavailable when the responses ended too early."""
        ...


class Download(_Resumable):
    method = "DownloadAsset"
    job = ""

    def __init__(self, arriving: Arriving, on_progress: OnProgress | None = None) -> None:
        super().__init__()
        self._arriving = arriving
        self._on_progress = on_progress

    def open(self) -> Message:
        return pb.DownloadAssetRequest(digest=self._arriving.asset.digest, offset=self._arriving.size)

    def take(self, response: Any) -> None:
        self._arriving.add(response.data)
        self.reached = self._arriving.size
        if self._on_progress:
            self._on_progress(self._arriving.size, self._arriving.asset.size_bytes)

    def check_end(self) -> None:
        size, whole = self._arriving.size, self._arriving.asset.size_bytes
        if size < whole:
            raise errors.ServiceUnavailable(f"the download broke off after {size} of {whole} bytes")


class Watch(_Resumable):
    method = "WatchJob"

    def __init__(self, job: types.Job | str, after_event: int) -> None:
        super().__init__(after_event)
        self.job = name_of(job)

    def open(self) -> Message:
        return pb.WatchJobRequest(name=self.job, after_event=self.reached)

    def take(self, response: Any) -> types.JobEvent:
        event = _convert.from_event(response.event)
        self.reached = event.number
        return event

    def check_end(self) -> None:
        """The server ends the stream with the job; nothing here says how many events there should have been."""
