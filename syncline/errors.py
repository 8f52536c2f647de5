"""Every way a call or a job can fail: one class per reason, the status on the class.

    SynclineError
    ├── InvalidInput                INVALID_ARGUMENT: the request or the media cannot be worked with; do not retry
    │   ├── NotMedia                the file is no video, photo or sound that the decoder can read
    │   ├── TruncatedMedia          the file ends too early, or is damaged so that nothing can be decoded
    │   ├── UnsupportedMedia        readable, but outside what Syncline handles
    │   ├── NoVideo                 pictures are needed and the file has none
    │   ├── NoAudio                 sound is needed and the file has none
    │   ├── EmptyAudio              the sound track holds no samples
    │   ├── PictureTooSmall         the picture is too small to hold a face
    │   ├── NoFace                  no frame of the video shows a usable face
    │   ├── FaceNotFound            the face that a job names is not in its video
    │   ├── UnknownEngine           the deployment has no engine of that name
    │   ├── InvalidOption           an option's value is out of its range
    │   ├── InvalidName             a digest or resource name is not of its form
    │   ├── InvalidBatch            a batch's size, shape or pixel format does not fit its stream
    │   ├── OutOfOrder              a stream's message came before or after its turn
    │   ├── SourceForbidden         the server may not use that path or address
    │   ├── OutputForbidden         the server may not write to that address
    │   └── ChecksumMismatch        bytes do not have the digest they were announced with
    ├── NotFound                    NOT_FOUND
    │   ├── AssetNotFound
    │   ├── SourceNotFound
    │   ├── JobNotFound
    │   └── BatchNotFound
    ├── FailedPrecondition          FAILED_PRECONDITION: not now, and not by trying again
    │   ├── BlobUnusable            a prepared source or plan was made by another engine or version
    │   ├── PlanDiffers             the engines here would render the job differently than those that planned it
    │   ├── JobNotDone              the job has no result
    │   ├── JobNotEnded             the job waits or runs: cancel it first
    │   ├── JobDone                 the job is done: there is nothing to try again
    │   ├── NoWebhook               nobody is told of the job
    │   ├── UrlUnavailable          the store gives no addresses for its files
    │   ├── ModelMissing            a model file is not there; `make models` fetches it
    │   ├── ModelAltered            a model file does not have its SHA-256; `make models` fetches it again
    │   ├── ModelMismatch           a model file holds another network's weights, or none
    │   └── ModelForbidden          the model's licence allows no commercial use, and this deployment wants that
    ├── Conflict                    ABORTED: another request or worker was first
    │   ├── RequestReused           the request_id was used for a different job
    │   └── LeaseLost               another worker has taken the work over
    ├── Exhausted                   RESOURCE_EXHAUSTED: try again later
    │   ├── BatchTooLarge           a message or batch is above the stream's limit
    │   ├── DeviceExhausted         the GPU or other device has no memory for even one item
    │   ├── DiskFull
    │   ├── QueueFull               as many jobs wait as the deployment takes in
    │   └── QuotaExceeded           the tenant has used up what it may
    ├── Unavailable                 UNAVAILABLE: try again
    │   ├── ServiceUnavailable      a service cannot be reached or broke off
    │   ├── TlsFailed               server and client do not agree on TLS; do not retry
    │   └── ServerDraining          the server is shutting down; try another
    ├── Stalled                     DEADLINE_EXCEEDED: no answer in time
    ├── JobExpired                  DEADLINE_EXCEEDED: the job's deadline passed before it was done
    ├── Cancelled                   CANCELLED
    │   └── JobCancelled
    └── InternalError               INTERNAL: a fault of ours; the log of the service named has the rest

On the wire a reason is the class name in UPPER_SNAKE, in a `google.rpc.ErrorInfo` of domain "syncline".
"""

import re
from collections.abc import Iterator, Mapping

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "syncline"
_RETRY_SECONDS = 5  # what a client that met a full queue or disk is told to wait


class SynclineError(Exception):
    """Base of all. `message` is for a person, `metadata` for machines."""

    code = grpc.StatusCode.UNKNOWN
    retryable = False

    def __init__(self, message: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})

    @classmethod
    def reason(cls) -> str:
        """The class name in UPPER_SNAKE, as it stands on the wire."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()


class InvalidInput(SynclineError):
    """The request or the media cannot be worked with."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotMedia(InvalidInput):
    """The file is no video, photo or sound that the decoder can read."""


class TruncatedMedia(InvalidInput):
    """The file ends too early, or is damaged so that nothing can be decoded."""


class UnsupportedMedia(InvalidInput):
    """Readable, but outside what Syncline handles."""


class NoVideo(InvalidInput):
    """Pictures are needed and the file has none."""


class NoAudio(InvalidInput):
    """Sound is needed and the file has none."""


class EmptyAudio(InvalidInput):
    """The sound track holds no samples."""


class PictureTooSmall(InvalidInput):
    """The picture is too small to hold a face."""


class NoFace(InvalidInput):
    """No frame of the video shows a usable face."""


class FaceNotFound(InvalidInput):
    """The face that a job names is not in its video."""


class UnknownEngine(InvalidInput):
    """The deployment has no engine of that name."""


class InvalidOption(InvalidInput):
    """An option's value is out of its range."""


class InvalidName(InvalidInput):
    """A digest or resource name is not of its form."""


class InvalidBatch(InvalidInput):
    """A batch's size, shape or pixel format does not fit its stream."""


class OutOfOrder(InvalidInput):
    """A stream's message came before or after its turn."""


class SourceForbidden(InvalidInput):
    """The server may not use that path or address."""


class OutputForbidden(InvalidInput):
    """The server may not write to that address."""


class ChecksumMismatch(InvalidInput):
    """Bytes do not have the digest they were announced with."""


class NotFound(SynclineError):
    """The thing named does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AssetNotFound(NotFound):
    """No asset of that digest is stored."""


class SourceNotFound(NotFound):
    """There is nothing at that path or address."""


class JobNotFound(NotFound):
    """No job of that name exists."""


class BatchNotFound(NotFound):
    """No batch of that name exists."""


class FailedPrecondition(SynclineError):
    """Not now, and not by trying again."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class BlobUnusable(FailedPrecondition):
    """A prepared source or plan was made by another engine or version."""


class PlanDiffers(FailedPrecondition):
    """The engines here would render the job differently than those that planned it."""


class JobNotDone(FailedPrecondition):
    """The job has no result."""


class JobNotEnded(FailedPrecondition):
    """The job waits or runs: cancel it first."""


class JobDone(FailedPrecondition):
    """The job is done: there is nothing to try again."""


class UrlUnavailable(FailedPrecondition):
    """The store gives no addresses for its files."""


class NoWebhook(FailedPrecondition):
    """Nobody is told of the job."""


class ModelMissing(FailedPrecondition):
    """A model file is not there; `make models` fetches it."""


class ModelAltered(FailedPrecondition):
    """A model file does not have its SHA-256; `make models` fetches it again."""


class ModelMismatch(FailedPrecondition):
    """A model file holds another network's weights, or none."""


class ModelForbidden(FailedPrecondition):
    """The model's licence allows no commercial use, and this deployment wants that."""


class Conflict(SynclineError):
    """Another request or worker was first."""

    code = grpc.StatusCode.ABORTED


class RequestReused(Conflict):
    """The request_id was used for a different job."""


class LeaseLost(Conflict):
    """Another worker has taken the work over."""


class Exhausted(SynclineError):
    """Something is full; try again later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retryable = True


class BatchTooLarge(Exhausted):
    """A message or batch is above the stream's limit."""

    retryable = False  # the same batch will be too large again


class DeviceExhausted(Exhausted):
    """The GPU or other device has no memory for even one item."""


class DiskFull(Exhausted):
    """The store's disk has no room."""


class QueueFull(Exhausted):
    """As many jobs wait as the deployment takes in."""


class QuotaExceeded(Exhausted):
    """The tenant has used up what it may."""


class Unavailable(SynclineError):
    """Try again."""

    code = grpc.StatusCode.UNAVAILABLE
    retryable = True


class ServiceUnavailable(Unavailable):
    """A service cannot be reached or broke off."""


class TlsFailed(Unavailable):
    """The server's certificate is not one to trust, or it speaks no TLS."""

    retryable = False


class ServerDraining(Unavailable):
    """The server is shutting down; try another."""


class Stalled(SynclineError):
    """No answer in time."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    retryable = True


class JobExpired(SynclineError):
    """The job's deadline passed before it was done."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(SynclineError):
    """Stopped on request."""

    code = grpc.StatusCode.CANCELLED


class JobCancelled(Cancelled):
    """The job was cancelled."""


class InternalError(SynclineError):
    """A fault of ours; the log of the service named has the rest."""

    code = grpc.StatusCode.INTERNAL


def _walk(error: type[SynclineError]) -> Iterator[type[SynclineError]]:
    yield error
    for child in error.__subclasses__():
        yield from _walk(child)


CATALOGUE: dict[str, type[SynclineError]] = {error.reason(): error for error in _walk(SynclineError)}

# For a status without a reason of ours: a proxy's, or gRPC's own.
_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Stalled,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.INTERNAL: InternalError,
}
# Parts of what gRPC tells of a connection that did not come about, and what they mean.
_TLS_FAILURES = {
    "CERTIFICATE_VERIFY_FAILED: certificate has expired": "the server's certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "nobody whom the client trusts has signed the server's certificate",
    "Hostname Verification Check failed": "the server's certificate is for another name",
    "WRONG_VERSION_NUMBER": "the server speaks no TLS",
    "Tls handshake failed": "the TLS handshake failed",
}
# All that a client is told by a server that takes TLS alone, or only clients with a certificate.
_CLOSED = "Socket closed"
_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: SynclineError) -> status_pb2.Status:
    """The error as a `google.rpc.Status` with an ErrorInfo; a BadRequest or RetryInfo where they apply (AIP-193)."""
    reason = error.reason()
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.metadata.get("field", ""), description=error.message, reason=reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, Exhausted) and error.retryable:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_RETRY_SECONDS)))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_status(status: status_pb2.Status) -> SynclineError:
    """The error a status stands for; its class by reason, else by code."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in CATALOGUE:
            return CATALOGUE[info.reason](status.message, info.metadata)
    code = _CODE_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    return _BY_CODE.get(code, SynclineError)(status.message or code_pb2.Code.Name(status.code))


def from_rpc_error(error: grpc.RpcError) -> SynclineError:
    """The error that a failed gRPC call stands for."""
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(error)
    except (ValueError, AttributeError):  # details that contradict the status, or no call behind the error
        status = None
    if status is not None:
        return from_status(status)
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    message = (error.details() if hasattr(error, "details") else str(error)) or str(code)
    if code is grpc.StatusCode.UNAVAILABLE:
        for part, meaning in _TLS_FAILURES.items():
            if part in message:
                return TlsFailed(f"{meaning} ({message})")
        if message.endswith(_CLOSED):
            message += "; so does a server that wants TLS, or a certificate of the client"
    return _BY_CODE.get(code, SynclineError)(message)
