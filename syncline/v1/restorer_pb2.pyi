from syncline.v1 import media_pb2 as _media_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RestorerServiceGetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RestorerServiceGetCapabilitiesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[_media_pb2.EngineInfo]
    def __init__(self, engines: _Optional[_Iterable[_Union[_media_pb2.EngineInfo, _Mapping]]] = ...) -> None: ...

class RestoreRequest(_message.Message):
    __slots__ = ("open", "crops", "strength", "traceparent", "priority")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    open: RestoreOpen
    crops: _media_pb2.CropBatch
    strength: float
    traceparent: str
    priority: int
    def __init__(self, open: _Optional[_Union[RestoreOpen, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ..., strength: _Optional[float] = ..., traceparent: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class RestoreOpen(_message.Message):
    __slots__ = ("engine", "transports", "shared_memory")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    engine: str
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    shared_memory: str
    def __init__(self, engine: _Optional[str] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("opened", "crops", "error", "progress", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: RestoreOpened
    crops: _media_pb2.CropBatch
    error: _media_pb2.ItemError
    progress: _media_pb2.Progress
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[RestoreOpened, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ..., error: _Optional[_Union[_media_pb2.ItemError, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class RestoreOpened(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ...) -> None: ...
