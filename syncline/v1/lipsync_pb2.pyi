from syncline.v1 import media_pb2 as _media_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LipsyncServiceGetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LipsyncServiceGetCapabilitiesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[_media_pb2.EngineInfo]
    def __init__(self, engines: _Optional[_Iterable[_Union[_media_pb2.EngineInfo, _Mapping]]] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("open", "speech", "crops")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    open: PrepareOpen
    speech: _media_pb2.AudioChunk
    crops: _media_pb2.CropBatch
    def __init__(self, open: _Optional[_Union[PrepareOpen, _Mapping]] = ..., speech: _Optional[_Union[_media_pb2.AudioChunk, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ...) -> None: ...

class PrepareOpen(_message.Message):
    __slots__ = ("engine", "time_base", "crop_scale", "transports", "shared_memory")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    CROP_SCALE_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    engine: str
    time_base: _media_pb2.Rational
    crop_scale: float
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    shared_memory: str
    def __init__(self, engine: _Optional[str] = ..., time_base: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., crop_scale: _Optional[float] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class PrepareResponse(_message.Message):
    __slots__ = ("opened", "credit", "error", "progress", "prepared", "summary", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: PrepareOpened
    credit: _media_pb2.Credit
    error: _media_pb2.ItemError
    progress: _media_pb2.Progress
    prepared: _media_pb2.BlobChunk
    summary: PrepareSummary
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[PrepareOpened, _Mapping]] = ..., credit: _Optional[_Union[_media_pb2.Credit, _Mapping]] = ..., error: _Optional[_Union[_media_pb2.ItemError, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., prepared: _Optional[_Union[_media_pb2.BlobChunk, _Mapping]] = ..., summary: _Optional[_Union[PrepareSummary, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class PrepareOpened(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ...) -> None: ...

class PrepareSummary(_message.Message):
    __slots__ = ("candidates", "fitted", "fit_correlation", "notes")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    FITTED_FIELD_NUMBER: _ClassVar[int]
    FIT_CORRELATION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    candidates: int
    fitted: bool
    fit_correlation: float
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, candidates: _Optional[int] = ..., fitted: _Optional[bool] = ..., fit_correlation: _Optional[float] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Expression(_message.Message):
    __slots__ = ("mouth_intensity", "smoothing", "closure_strength", "padding")
    MOUTH_INTENSITY_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    CLOSURE_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    mouth_intensity: float
    smoothing: float
    closure_strength: float
    padding: float
    def __init__(self, mouth_intensity: _Optional[float] = ..., smoothing: _Optional[float] = ..., closure_strength: _Optional[float] = ..., padding: _Optional[float] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("open", "prepared", "speech", "track")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    TRACK_FIELD_NUMBER: _ClassVar[int]
    open: PlanOpen
    prepared: _media_pb2.BlobChunk
    speech: _media_pb2.AudioChunk
    track: TrackBatch
    def __init__(self, open: _Optional[_Union[PlanOpen, _Mapping]] = ..., prepared: _Optional[_Union[_media_pb2.BlobChunk, _Mapping]] = ..., speech: _Optional[_Union[_media_pb2.AudioChunk, _Mapping]] = ..., track: _Optional[_Union[TrackBatch, _Mapping]] = ...) -> None: ...

class PlanOpen(_message.Message):
    __slots__ = ("engine", "prepared_digest", "frame_count", "time_base", "expression")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PREPARED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    engine: str
    prepared_digest: str
    frame_count: int
    time_base: _media_pb2.Rational
    expression: Expression
    def __init__(self, engine: _Optional[str] = ..., prepared_digest: _Optional[str] = ..., frame_count: _Optional[int] = ..., time_base: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., expression: _Optional[_Union[Expression, _Mapping]] = ...) -> None: ...

class TrackBatch(_message.Message):
    __slots__ = ("sequence", "points")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    points: _containers.RepeatedCompositeFieldContainer[TrackPoint]
    def __init__(self, sequence: _Optional[int] = ..., points: _Optional[_Iterable[_Union[TrackPoint, _Mapping]]] = ...) -> None: ...

class TrackPoint(_message.Message):
    __slots__ = ("frame", "pts", "source_frame", "landmarks")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FRAME_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    frame: int
    pts: int
    source_frame: int
    landmarks: _media_pb2.Landmarks
    def __init__(self, frame: _Optional[int] = ..., pts: _Optional[int] = ..., source_frame: _Optional[int] = ..., landmarks: _Optional[_Union[_media_pb2.Landmarks, _Mapping]] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("opened", "credit", "progress", "plan", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: PlanOpened
    credit: _media_pb2.Credit
    progress: _media_pb2.Progress
    plan: _media_pb2.BlobChunk
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[PlanOpened, _Mapping]] = ..., credit: _Optional[_Union[_media_pb2.Credit, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., plan: _Optional[_Union[_media_pb2.BlobChunk, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class PlanOpened(_message.Message):
    __slots__ = ("terms", "missing", "expression")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    missing: _containers.RepeatedScalarFieldContainer[str]
    expression: Expression
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ..., missing: _Optional[_Iterable[str]] = ..., expression: _Optional[_Union[Expression, _Mapping]] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("open", "blob", "crops")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    open: SyncOpen
    blob: _media_pb2.BlobChunk
    crops: _media_pb2.CropBatch
    def __init__(self, open: _Optional[_Union[SyncOpen, _Mapping]] = ..., blob: _Optional[_Union[_media_pb2.BlobChunk, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ...) -> None: ...

class SyncOpen(_message.Message):
    __slots__ = ("engine", "prepared_digest", "plan_digest", "transports", "expression", "priority", "shared_memory")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PREPARED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    engine: str
    prepared_digest: str
    plan_digest: str
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    expression: Expression
    priority: int
    shared_memory: str
    def __init__(self, engine: _Optional[str] = ..., prepared_digest: _Optional[str] = ..., plan_digest: _Optional[str] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., expression: _Optional[_Union[Expression, _Mapping]] = ..., priority: _Optional[int] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("opened", "crops", "error", "progress", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: SyncOpened
    crops: _media_pb2.CropBatch
    error: _media_pb2.ItemError
    progress: _media_pb2.Progress
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[SyncOpened, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ..., error: _Optional[_Union[_media_pb2.ItemError, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class SyncOpened(_message.Message):
    __slots__ = ("terms", "missing", "expression")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    missing: _containers.RepeatedScalarFieldContainer[str]
    expression: Expression
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ..., missing: _Optional[_Iterable[str]] = ..., expression: _Optional[_Union[Expression, _Mapping]] = ...) -> None: ...

class MatchRequest(_message.Message):
    __slots__ = ("open", "speech", "mouths")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    MOUTHS_FIELD_NUMBER: _ClassVar[int]
    open: MatchOpen
    speech: _media_pb2.AudioChunk
    mouths: MouthBatch
    def __init__(self, open: _Optional[_Union[MatchOpen, _Mapping]] = ..., speech: _Optional[_Union[_media_pb2.AudioChunk, _Mapping]] = ..., mouths: _Optional[_Union[MouthBatch, _Mapping]] = ...) -> None: ...

class MatchOpen(_message.Message):
    __slots__ = ("engine", "time_base")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    engine: str
    time_base: _media_pb2.Rational
    def __init__(self, engine: _Optional[str] = ..., time_base: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ...) -> None: ...

class MouthBatch(_message.Message):
    __slots__ = ("sequence", "mouths")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MOUTHS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    mouths: _containers.RepeatedCompositeFieldContainer[Mouth]
    def __init__(self, sequence: _Optional[int] = ..., mouths: _Optional[_Iterable[_Union[Mouth, _Mapping]]] = ...) -> None: ...

class Mouth(_message.Message):
    __slots__ = ("mouth", "pts", "landmarks")
    MOUTH_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    mouth: int
    pts: int
    landmarks: _media_pb2.Landmarks
    def __init__(self, mouth: _Optional[int] = ..., pts: _Optional[int] = ..., landmarks: _Optional[_Union[_media_pb2.Landmarks, _Mapping]] = ...) -> None: ...

class MatchResponse(_message.Message):
    __slots__ = ("opened", "credit", "matches", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: MatchOpened
    credit: _media_pb2.Credit
    matches: VoiceMatches
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[MatchOpened, _Mapping]] = ..., credit: _Optional[_Union[_media_pb2.Credit, _Mapping]] = ..., matches: _Optional[_Union[VoiceMatches, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class MatchOpened(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ...) -> None: ...

class VoiceMatches(_message.Message):
    __slots__ = ("matches",)
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[VoiceMatch]
    def __init__(self, matches: _Optional[_Iterable[_Union[VoiceMatch, _Mapping]]] = ...) -> None: ...

class VoiceMatch(_message.Message):
    __slots__ = ("mouth", "seconds", "score")
    MOUTH_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    mouth: int
    seconds: float
    score: float
    def __init__(self, mouth: _Optional[int] = ..., seconds: _Optional[float] = ..., score: _Optional[float] = ...) -> None: ...
