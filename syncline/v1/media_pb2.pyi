from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PixelFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FORMAT_UNSPECIFIED: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV420P: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV422P: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV444P: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV420P10: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV422P10: _ClassVar[PixelFormat]
    PIXEL_FORMAT_YUV444P10: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGB24: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGBA32: _ClassVar[PixelFormat]

class CropOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CROP_OUTCOME_UNSPECIFIED: _ClassVar[CropOutcome]
    CROP_OUTCOME_SYNCED: _ClassVar[CropOutcome]
    CROP_OUTCOME_WARPED: _ClassVar[CropOutcome]
    CROP_OUTCOME_DRAWN: _ClassVar[CropOutcome]
    CROP_OUTCOME_PASSED_THROUGH: _ClassVar[CropOutcome]

class Transport(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSPORT_UNSPECIFIED: _ClassVar[Transport]
    TRANSPORT_INLINE: _ClassVar[Transport]
    TRANSPORT_SHARED_MEMORY: _ClassVar[Transport]
PIXEL_FORMAT_UNSPECIFIED: PixelFormat
PIXEL_FORMAT_YUV420P: PixelFormat
PIXEL_FORMAT_YUV422P: PixelFormat
PIXEL_FORMAT_YUV444P: PixelFormat
PIXEL_FORMAT_YUV420P10: PixelFormat
PIXEL_FORMAT_YUV422P10: PixelFormat
PIXEL_FORMAT_YUV444P10: PixelFormat
PIXEL_FORMAT_RGB24: PixelFormat
PIXEL_FORMAT_RGBA32: PixelFormat
CROP_OUTCOME_UNSPECIFIED: CropOutcome
CROP_OUTCOME_SYNCED: CropOutcome
CROP_OUTCOME_WARPED: CropOutcome
CROP_OUTCOME_DRAWN: CropOutcome
CROP_OUTCOME_PASSED_THROUGH: CropOutcome
TRANSPORT_UNSPECIFIED: Transport
TRANSPORT_INLINE: Transport
TRANSPORT_SHARED_MEMORY: Transport

class Rational(_message.Message):
    __slots__ = ("numerator", "denominator")
    NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    numerator: int
    denominator: int
    def __init__(self, numerator: _Optional[int] = ..., denominator: _Optional[int] = ...) -> None: ...

class Color(_message.Message):
    __slots__ = ("matrix_coefficients", "color_primaries", "transfer_characteristics", "full_range")
    MATRIX_COEFFICIENTS_FIELD_NUMBER: _ClassVar[int]
    COLOR_PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_CHARACTERISTICS_FIELD_NUMBER: _ClassVar[int]
    FULL_RANGE_FIELD_NUMBER: _ClassVar[int]
    matrix_coefficients: int
    color_primaries: int
    transfer_characteristics: int
    full_range: bool
    def __init__(self, matrix_coefficients: _Optional[int] = ..., color_primaries: _Optional[int] = ..., transfer_characteristics: _Optional[int] = ..., full_range: _Optional[bool] = ...) -> None: ...

class FrameFormat(_message.Message):
    __slots__ = ("width", "height", "pixel_format", "color")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    pixel_format: PixelFormat
    color: Color
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., pixel_format: _Optional[_Union[PixelFormat, str]] = ..., color: _Optional[_Union[Color, _Mapping]] = ...) -> None: ...

class FrameInfo(_message.Message):
    __slots__ = ("pts",)
    PTS_FIELD_NUMBER: _ClassVar[int]
    pts: int
    def __init__(self, pts: _Optional[int] = ...) -> None: ...

class FrameBatch(_message.Message):
    __slots__ = ("sequence", "format", "frames", "ref", "data")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    format: FrameFormat
    frames: _containers.RepeatedCompositeFieldContainer[FrameInfo]
    ref: BufferRef
    data: bytes
    def __init__(self, sequence: _Optional[int] = ..., format: _Optional[_Union[FrameFormat, _Mapping]] = ..., frames: _Optional[_Iterable[_Union[FrameInfo, _Mapping]]] = ..., ref: _Optional[_Union[BufferRef, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Landmarks(_message.Message):
    __slots__ = ("xyz",)
    XYZ_FIELD_NUMBER: _ClassVar[int]
    xyz: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, xyz: _Optional[_Iterable[float]] = ...) -> None: ...

class CropInfo(_message.Message):
    __slots__ = ("frame", "pts", "landmarks", "outcome", "trust")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    frame: int
    pts: int
    landmarks: Landmarks
    outcome: CropOutcome
    trust: float
    def __init__(self, frame: _Optional[int] = ..., pts: _Optional[int] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ..., outcome: _Optional[_Union[CropOutcome, str]] = ..., trust: _Optional[float] = ...) -> None: ...

class CropBatch(_message.Message):
    __slots__ = ("sequence", "width", "height", "pixel_format", "crops", "ref", "data")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    CROPS_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    width: int
    height: int
    pixel_format: PixelFormat
    crops: _containers.RepeatedCompositeFieldContainer[CropInfo]
    ref: BufferRef
    data: bytes
    def __init__(self, sequence: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., pixel_format: _Optional[_Union[PixelFormat, str]] = ..., crops: _Optional[_Iterable[_Union[CropInfo, _Mapping]]] = ..., ref: _Optional[_Union[BufferRef, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("sequence", "sample_rate", "channels", "first_sample", "data")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    sample_rate: int
    channels: int
    first_sample: int
    data: bytes
    def __init__(self, sequence: _Optional[int] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., first_sample: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class BlobChunk(_message.Message):
    __slots__ = ("digest", "total_bytes", "offset", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    total_bytes: int
    offset: int
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., total_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SharedRing(_message.Message):
    __slots__ = ("name", "slots", "slot_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    slots: int
    slot_bytes: int
    def __init__(self, name: _Optional[str] = ..., slots: _Optional[int] = ..., slot_bytes: _Optional[int] = ...) -> None: ...

class BufferRef(_message.Message):
    __slots__ = ("slot", "length", "generation")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    slot: int
    length: int
    generation: int
    def __init__(self, slot: _Optional[int] = ..., length: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class StreamTerms(_message.Message):
    __slots__ = ("transport", "credits", "max_batch_items", "max_message_bytes", "engine", "ring", "inbox")
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    RING_FIELD_NUMBER: _ClassVar[int]
    INBOX_FIELD_NUMBER: _ClassVar[int]
    transport: Transport
    credits: int
    max_batch_items: int
    max_message_bytes: int
    engine: EngineInfo
    ring: SharedRing
    inbox: SharedRing
    def __init__(self, transport: _Optional[_Union[Transport, str]] = ..., credits: _Optional[int] = ..., max_batch_items: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., engine: _Optional[_Union[EngineInfo, _Mapping]] = ..., ring: _Optional[_Union[SharedRing, _Mapping]] = ..., inbox: _Optional[_Union[SharedRing, _Mapping]] = ...) -> None: ...

class EngineInfo(_message.Message):
    __slots__ = ("name", "version", "models", "whole_face")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    whole_face: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., whole_face: _Optional[bool] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "sha256", "license")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    license: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., license: _Optional[str] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: int
    def __init__(self, batches: _Optional[int] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("sequence", "item", "status")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    item: int
    status: _status_pb2.Status
    def __init__(self, sequence: _Optional[int] = ..., item: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "total")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("batches", "items", "failed_items")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    FAILED_ITEMS_FIELD_NUMBER: _ClassVar[int]
    batches: int
    items: int
    failed_items: int
    def __init__(self, batches: _Optional[int] = ..., items: _Optional[int] = ..., failed_items: _Optional[int] = ...) -> None: ...
