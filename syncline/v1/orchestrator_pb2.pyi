import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from syncline.v1 import decoder_pb2 as _decoder_pb2
from syncline.v1 import media_pb2 as _media_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SYNC_MODE_UNSPECIFIED: _ClassVar[SyncMode]
    SYNC_MODE_CUT_OFF: _ClassVar[SyncMode]
    SYNC_MODE_LOOP: _ClassVar[SyncMode]
    SYNC_MODE_BOUNCE: _ClassVar[SyncMode]
    SYNC_MODE_HOLD: _ClassVar[SyncMode]
    SYNC_MODE_SILENCE: _ClassVar[SyncMode]
    SYNC_MODE_REMAP: _ClassVar[SyncMode]

class FpsMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FPS_MODE_UNSPECIFIED: _ClassVar[FpsMode]
    FPS_MODE_PASSTHROUGH: _ClassVar[FpsMode]
    FPS_MODE_CFR: _ClassVar[FpsMode]
SYNC_MODE_UNSPECIFIED: SyncMode
SYNC_MODE_CUT_OFF: SyncMode
SYNC_MODE_LOOP: SyncMode
SYNC_MODE_BOUNCE: SyncMode
SYNC_MODE_HOLD: SyncMode
SYNC_MODE_SILENCE: SyncMode
SYNC_MODE_REMAP: SyncMode
FPS_MODE_UNSPECIFIED: FpsMode
FPS_MODE_PASSTHROUGH: FpsMode
FPS_MODE_CFR: FpsMode

class Asset(_message.Message):
    __slots__ = ("digest", "size_bytes")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size_bytes: int
    def __init__(self, digest: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class UploadAssetRequest(_message.Message):
    __slots__ = ("open", "data")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    open: UploadAssetOpen
    data: bytes
    def __init__(self, open: _Optional[_Union[UploadAssetOpen, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadAssetOpen(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class UploadAssetResponse(_message.Message):
    __slots__ = ("opened", "asset")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    opened: UploadAssetOpened
    asset: Asset
    def __init__(self, opened: _Optional[_Union[UploadAssetOpened, _Mapping]] = ..., asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class UploadAssetOpened(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class ImportAssetRequest(_message.Message):
    __slots__ = ("uri",)
    URI_FIELD_NUMBER: _ClassVar[int]
    uri: str
    def __init__(self, uri: _Optional[str] = ...) -> None: ...

class ImportAssetResponse(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class DownloadAssetRequest(_message.Message):
    __slots__ = ("digest", "offset")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class DownloadAssetResponse(_message.Message):
    __slots__ = ("size_bytes", "data")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    data: bytes
    def __init__(self, size_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class GenerateDownloadUrlRequest(_message.Message):
    __slots__ = ("digest", "ttl")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    digest: str
    ttl: _duration_pb2.Duration
    def __init__(self, digest: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GenerateDownloadUrlResponse(_message.Message):
    __slots__ = ("url", "expire_time")
    URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    url: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, url: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class InspectAssetRequest(_message.Message):
    __slots__ = ("digest", "persons", "speech")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PERSONS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    digest: str
    persons: bool
    speech: str
    def __init__(self, digest: _Optional[str] = ..., persons: _Optional[bool] = ..., speech: _Optional[str] = ...) -> None: ...

class InspectAssetResponse(_message.Message):
    __slots__ = ("info", "persons")
    INFO_FIELD_NUMBER: _ClassVar[int]
    PERSONS_FIELD_NUMBER: _ClassVar[int]
    info: _decoder_pb2.MediaInfo
    persons: _containers.RepeatedCompositeFieldContainer[Person]
    def __init__(self, info: _Optional[_Union[_decoder_pb2.MediaInfo, _Mapping]] = ..., persons: _Optional[_Iterable[_Union[Person, _Mapping]]] = ...) -> None: ...

class NormalizeAssetRequest(_message.Message):
    __slots__ = ("digest", "mezzanine")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MEZZANINE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    mezzanine: Mezzanine
    def __init__(self, digest: _Optional[str] = ..., mezzanine: _Optional[_Union[Mezzanine, _Mapping]] = ...) -> None: ...

class NormalizeAssetResponse(_message.Message):
    __slots__ = ("asset",)
    ASSET_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ...) -> None: ...

class Mezzanine(_message.Message):
    __slots__ = ("width", "height", "frame_rate", "bit_rate")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    BIT_RATE_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    frame_rate: _media_pb2.Rational
    bit_rate: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., frame_rate: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., bit_rate: _Optional[int] = ...) -> None: ...

class Person(_message.Message):
    __slots__ = ("index", "frames", "first", "shown")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    index: int
    frames: int
    first: FaceBox
    shown: _containers.RepeatedCompositeFieldContainer[TimeSpan]
    def __init__(self, index: _Optional[int] = ..., frames: _Optional[int] = ..., first: _Optional[_Union[FaceBox, _Mapping]] = ..., shown: _Optional[_Iterable[_Union[TimeSpan, _Mapping]]] = ...) -> None: ...

class TimeSpan(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ...) -> None: ...

class JobOptions(_message.Message):
    __slots__ = ("sync_mode", "crf", "preset", "restorer_strength", "mouth_intensity", "smoothing", "closure_strength", "padding", "idle_motion", "face", "fps_mode", "frame_rate", "start", "end", "profile", "container", "video_codec", "video_bit_rate", "max_lines", "audio_codec", "background_audio", "background_gain", "source_gain", "lipsync_engine", "restorer_engine", "normalize", "hardware", "output_uri")
    SYNC_MODE_FIELD_NUMBER: _ClassVar[int]
    CRF_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    RESTORER_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    MOUTH_INTENSITY_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    CLOSURE_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    IDLE_MOTION_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    FPS_MODE_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    VIDEO_CODEC_FIELD_NUMBER: _ClassVar[int]
    VIDEO_BIT_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_LINES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_CODEC_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_AUDIO_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_GAIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_GAIN_FIELD_NUMBER: _ClassVar[int]
    LIPSYNC_ENGINE_FIELD_NUMBER: _ClassVar[int]
    RESTORER_ENGINE_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_URI_FIELD_NUMBER: _ClassVar[int]
    sync_mode: SyncMode
    crf: int
    preset: str
    restorer_strength: float
    mouth_intensity: float
    smoothing: float
    closure_strength: float
    padding: float
    idle_motion: float
    face: FaceChoice
    fps_mode: FpsMode
    frame_rate: _media_pb2.Rational
    start: float
    end: float
    profile: str
    container: str
    video_codec: str
    video_bit_rate: int
    max_lines: int
    audio_codec: str
    background_audio: str
    background_gain: float
    source_gain: float
    lipsync_engine: str
    restorer_engine: str
    normalize: bool
    hardware: str
    output_uri: str
    def __init__(self, sync_mode: _Optional[_Union[SyncMode, str]] = ..., crf: _Optional[int] = ..., preset: _Optional[str] = ..., restorer_strength: _Optional[float] = ..., mouth_intensity: _Optional[float] = ..., smoothing: _Optional[float] = ..., closure_strength: _Optional[float] = ..., padding: _Optional[float] = ..., idle_motion: _Optional[float] = ..., face: _Optional[_Union[FaceChoice, _Mapping]] = ..., fps_mode: _Optional[_Union[FpsMode, str]] = ..., frame_rate: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., start: _Optional[float] = ..., end: _Optional[float] = ..., profile: _Optional[str] = ..., container: _Optional[str] = ..., video_codec: _Optional[str] = ..., video_bit_rate: _Optional[int] = ..., max_lines: _Optional[int] = ..., audio_codec: _Optional[str] = ..., background_audio: _Optional[str] = ..., background_gain: _Optional[float] = ..., source_gain: _Optional[float] = ..., lipsync_engine: _Optional[str] = ..., restorer_engine: _Optional[str] = ..., normalize: _Optional[bool] = ..., hardware: _Optional[str] = ..., output_uri: _Optional[str] = ...) -> None: ...

class FaceChoice(_message.Message):
    __slots__ = ("index", "box", "reference")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    index: int
    box: FaceBox
    reference: str
    def __init__(self, index: _Optional[int] = ..., box: _Optional[_Union[FaceBox, _Mapping]] = ..., reference: _Optional[str] = ...) -> None: ...

class FaceBox(_message.Message):
    __slots__ = ("x", "y", "width", "height", "unit", "time")
    class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNIT_UNSPECIFIED: _ClassVar[FaceBox.Unit]
        UNIT_PIXELS: _ClassVar[FaceBox.Unit]
        UNIT_FRACTIONS: _ClassVar[FaceBox.Unit]
    UNIT_UNSPECIFIED: FaceBox.Unit
    UNIT_PIXELS: FaceBox.Unit
    UNIT_FRACTIONS: FaceBox.Unit
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    unit: FaceBox.Unit
    time: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ..., unit: _Optional[_Union[FaceBox.Unit, str]] = ..., time: _Optional[float] = ...) -> None: ...

class Speaker(_message.Message):
    __slots__ = ("face", "audio", "start")
    FACE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    face: FaceChoice
    audio: str
    start: float
    def __init__(self, face: _Optional[_Union[FaceChoice, _Mapping]] = ..., audio: _Optional[str] = ..., start: _Optional[float] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "state", "video", "audio", "options", "progress", "result", "report", "error", "create_time", "start_time", "end_time", "speakers", "priority", "deadline", "tenant", "batch", "webhook")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        STATE_QUEUED: _ClassVar[Job.State]
        STATE_RUNNING: _ClassVar[Job.State]
        STATE_DONE: _ClassVar[Job.State]
        STATE_FAILED: _ClassVar[Job.State]
        STATE_CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    STATE_QUEUED: Job.State
    STATE_RUNNING: Job.State
    STATE_DONE: Job.State
    STATE_FAILED: Job.State
    STATE_CANCELLED: Job.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SPEAKERS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Job.State
    video: str
    audio: str
    options: JobOptions
    progress: JobProgress
    result: Asset
    report: Asset
    error: _status_pb2.Status
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    speakers: _containers.RepeatedCompositeFieldContainer[Speaker]
    priority: int
    deadline: _timestamp_pb2.Timestamp
    tenant: str
    batch: str
    webhook: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Job.State, str]] = ..., video: _Optional[str] = ..., audio: _Optional[str] = ..., options: _Optional[_Union[JobOptions, _Mapping]] = ..., progress: _Optional[_Union[JobProgress, _Mapping]] = ..., result: _Optional[_Union[Asset, _Mapping]] = ..., report: _Optional[_Union[Asset, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., speakers: _Optional[_Iterable[_Union[Speaker, _Mapping]]] = ..., priority: _Optional[int] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tenant: _Optional[str] = ..., batch: _Optional[str] = ..., webhook: _Optional[str] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("name", "queued_jobs", "running_jobs", "done_jobs", "failed_jobs", "cancelled_jobs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    DONE_JOBS_FIELD_NUMBER: _ClassVar[int]
    FAILED_JOBS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_JOBS_FIELD_NUMBER: _ClassVar[int]
    name: str
    queued_jobs: int
    running_jobs: int
    done_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    def __init__(self, name: _Optional[str] = ..., queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., done_jobs: _Optional[int] = ..., failed_jobs: _Optional[int] = ..., cancelled_jobs: _Optional[int] = ...) -> None: ...

class JobProgress(_message.Message):
    __slots__ = ("phase", "done_frames", "total_frames", "done_segments", "total_segments")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[JobProgress.Phase]
        PHASE_INSPECT: _ClassVar[JobProgress.Phase]
        PHASE_ANALYSE: _ClassVar[JobProgress.Phase]
        PHASE_PLAN: _ClassVar[JobProgress.Phase]
        PHASE_RENDER: _ClassVar[JobProgress.Phase]
        PHASE_ASSEMBLE: _ClassVar[JobProgress.Phase]
    PHASE_UNSPECIFIED: JobProgress.Phase
    PHASE_INSPECT: JobProgress.Phase
    PHASE_ANALYSE: JobProgress.Phase
    PHASE_PLAN: JobProgress.Phase
    PHASE_RENDER: JobProgress.Phase
    PHASE_ASSEMBLE: JobProgress.Phase
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DONE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    DONE_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    phase: JobProgress.Phase
    done_frames: int
    total_frames: int
    done_segments: int
    total_segments: int
    def __init__(self, phase: _Optional[_Union[JobProgress.Phase, str]] = ..., done_frames: _Optional[int] = ..., total_frames: _Optional[int] = ..., done_segments: _Optional[int] = ..., total_segments: _Optional[int] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("number", "time", "job", "message")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    job: Job
    message: str
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., message: _Optional[str] = ...) -> None: ...

class CreateJobRequest(_message.Message):
    __slots__ = ("job", "request_id", "validate_only")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    job: Job
    request_id: str
    validate_only: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreateJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states", "tenant", "batch")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[Job.State]
    tenant: str
    batch: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[Job.State, str]]] = ..., tenant: _Optional[str] = ..., batch: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("name", "after_event")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_event: int
    def __init__(self, name: _Optional[str] = ..., after_event: _Optional[int] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: JobEvent
    def __init__(self, event: _Optional[_Union[JobEvent, _Mapping]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RetryJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReplayWebhookRequest(_message.Message):
    __slots__ = ("name", "after_event")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_event: int
    def __init__(self, name: _Optional[str] = ..., after_event: _Optional[int] = ...) -> None: ...

class ReplayWebhookResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EstimateJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class EstimateJobResponse(_message.Message):
    __slots__ = ("duration_seconds", "work_seconds", "result_bytes", "jobs_ahead", "measured_jobs")
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOBS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    MEASURED_JOBS_FIELD_NUMBER: _ClassVar[int]
    duration_seconds: float
    work_seconds: float
    result_bytes: int
    jobs_ahead: int
    measured_jobs: int
    def __init__(self, duration_seconds: _Optional[float] = ..., work_seconds: _Optional[float] = ..., result_bytes: _Optional[int] = ..., jobs_ahead: _Optional[int] = ..., measured_jobs: _Optional[int] = ...) -> None: ...

class PreviewJobRequest(_message.Message):
    __slots__ = ("job", "time", "seconds")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    time: float
    seconds: float
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., time: _Optional[float] = ..., seconds: _Optional[float] = ...) -> None: ...

class PreviewJobResponse(_message.Message):
    __slots__ = ("asset", "outcomes")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    asset: Asset
    outcomes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, asset: _Optional[_Union[Asset, _Mapping]] = ..., outcomes: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateBatchRequest(_message.Message):
    __slots__ = ("jobs", "request_id")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    request_id: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: Batch
    def __init__(self, batch: _Optional[_Union[Batch, _Mapping]] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: Batch
    def __init__(self, batch: _Optional[_Union[Batch, _Mapping]] = ...) -> None: ...

class CancelBatchRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: Batch
    def __init__(self, batch: _Optional[_Union[Batch, _Mapping]] = ...) -> None: ...
