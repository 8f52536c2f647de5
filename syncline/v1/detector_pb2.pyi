from syncline.v1 import media_pb2 as _media_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectorServiceGetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DetectorServiceGetCapabilitiesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[_media_pb2.EngineInfo]
    def __init__(self, engines: _Optional[_Iterable[_Union[_media_pb2.EngineInfo, _Mapping]]] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("open", "views")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    open: DetectOpen
    views: _media_pb2.FrameBatch
    def __init__(self, open: _Optional[_Union[DetectOpen, _Mapping]] = ..., views: _Optional[_Union[_media_pb2.FrameBatch, _Mapping]] = ...) -> None: ...

class DetectOpen(_message.Message):
    __slots__ = ("engine", "view_width", "view_height", "source_width", "source_height", "redetect_interval", "min_score", "max_faces", "transports", "tile_overlap", "shared_memory")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    VIEW_WIDTH_FIELD_NUMBER: _ClassVar[int]
    VIEW_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    REDETECT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    MAX_FACES_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    TILE_OVERLAP_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    engine: str
    view_width: int
    view_height: int
    source_width: int
    source_height: int
    redetect_interval: int
    min_score: float
    max_faces: int
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    tile_overlap: int
    shared_memory: str
    def __init__(self, engine: _Optional[str] = ..., view_width: _Optional[int] = ..., view_height: _Optional[int] = ..., source_width: _Optional[int] = ..., source_height: _Optional[int] = ..., redetect_interval: _Optional[int] = ..., min_score: _Optional[float] = ..., max_faces: _Optional[int] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., tile_overlap: _Optional[int] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("opened", "faces", "error", "progress", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: DetectOpened
    faces: FaceBatch
    error: _media_pb2.ItemError
    progress: _media_pb2.Progress
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[DetectOpened, _Mapping]] = ..., faces: _Optional[_Union[FaceBatch, _Mapping]] = ..., error: _Optional[_Union[_media_pb2.ItemError, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class DetectOpened(_message.Message):
    __slots__ = ("terms", "settings")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    settings: DetectOpen
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ..., settings: _Optional[_Union[DetectOpen, _Mapping]] = ...) -> None: ...

class FaceBatch(_message.Message):
    __slots__ = ("sequence", "frames")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    frames: _containers.RepeatedCompositeFieldContainer[FrameFaces]
    def __init__(self, sequence: _Optional[int] = ..., frames: _Optional[_Iterable[_Union[FrameFaces, _Mapping]]] = ...) -> None: ...

class FrameFaces(_message.Message):
    __slots__ = ("pts", "cut", "faces")
    PTS_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    pts: int
    cut: bool
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    def __init__(self, pts: _Optional[int] = ..., cut: _Optional[bool] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("track", "box", "score", "landmarks", "embedding")
    TRACK_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    track: int
    box: Box
    score: float
    landmarks: _media_pb2.Landmarks
    embedding: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, track: _Optional[int] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., score: _Optional[float] = ..., landmarks: _Optional[_Union[_media_pb2.Landmarks, _Mapping]] = ..., embedding: _Optional[_Iterable[float]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class LandmarkRequest(_message.Message):
    __slots__ = ("open", "crops")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    open: LandmarkOpen
    crops: _media_pb2.CropBatch
    def __init__(self, open: _Optional[_Union[LandmarkOpen, _Mapping]] = ..., crops: _Optional[_Union[_media_pb2.CropBatch, _Mapping]] = ...) -> None: ...

class LandmarkOpen(_message.Message):
    __slots__ = ("engine", "transports", "shared_memory")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    engine: str
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    shared_memory: str
    def __init__(self, engine: _Optional[str] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class LandmarkResponse(_message.Message):
    __slots__ = ("opened", "landmarks", "error", "progress", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: LandmarkOpened
    landmarks: LandmarkBatch
    error: _media_pb2.ItemError
    progress: _media_pb2.Progress
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[LandmarkOpened, _Mapping]] = ..., landmarks: _Optional[_Union[LandmarkBatch, _Mapping]] = ..., error: _Optional[_Union[_media_pb2.ItemError, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class LandmarkOpened(_message.Message):
    __slots__ = ("terms",)
    TERMS_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ...) -> None: ...

class LandmarkBatch(_message.Message):
    __slots__ = ("sequence", "crops")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    crops: _containers.RepeatedCompositeFieldContainer[CropFace]
    def __init__(self, sequence: _Optional[int] = ..., crops: _Optional[_Iterable[_Union[CropFace, _Mapping]]] = ...) -> None: ...

class CropFace(_message.Message):
    __slots__ = ("frame", "score", "landmarks")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    frame: int
    score: float
    landmarks: _media_pb2.Landmarks
    def __init__(self, frame: _Optional[int] = ..., score: _Optional[float] = ..., landmarks: _Optional[_Union[_media_pb2.Landmarks, _Mapping]] = ...) -> None: ...
