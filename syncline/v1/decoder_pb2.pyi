from syncline.v1 import media_pb2 as _media_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecoderServiceGetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DecoderServiceGetCapabilitiesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[_media_pb2.EngineInfo]
    def __init__(self, engines: _Optional[_Iterable[_Union[_media_pb2.EngineInfo, _Mapping]]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    def __init__(self, source: _Optional[str] = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: MediaInfo
    def __init__(self, info: _Optional[_Union[MediaInfo, _Mapping]] = ...) -> None: ...

class MediaInfo(_message.Message):
    __slots__ = ("kind", "container", "duration", "size_bytes", "bit_rate", "video", "audio", "advice")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[MediaInfo.Kind]
        KIND_VIDEO: _ClassVar[MediaInfo.Kind]
        KIND_PHOTO: _ClassVar[MediaInfo.Kind]
        KIND_AUDIO: _ClassVar[MediaInfo.Kind]
    KIND_UNSPECIFIED: MediaInfo.Kind
    KIND_VIDEO: MediaInfo.Kind
    KIND_PHOTO: MediaInfo.Kind
    KIND_AUDIO: MediaInfo.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BIT_RATE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    kind: MediaInfo.Kind
    container: str
    duration: _media_pb2.Rational
    size_bytes: int
    bit_rate: int
    video: VideoInfo
    audio: AudioInfo
    advice: _containers.RepeatedCompositeFieldContainer[Advice]
    def __init__(self, kind: _Optional[_Union[MediaInfo.Kind, str]] = ..., container: _Optional[str] = ..., duration: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., size_bytes: _Optional[int] = ..., bit_rate: _Optional[int] = ..., video: _Optional[_Union[VideoInfo, _Mapping]] = ..., audio: _Optional[_Union[AudioInfo, _Mapping]] = ..., advice: _Optional[_Iterable[_Union[Advice, _Mapping]]] = ...) -> None: ...

class VideoInfo(_message.Message):
    __slots__ = ("codec", "format", "frame_rate", "variable_frame_rate", "frame_count", "time_base", "start_time", "rotation", "sample_aspect_ratio", "mirrored", "interlaced", "alpha", "mastering_display", "content_light")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    INTERLACED_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    MASTERING_DISPLAY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_LIGHT_FIELD_NUMBER: _ClassVar[int]
    codec: str
    format: _media_pb2.FrameFormat
    frame_rate: _media_pb2.Rational
    variable_frame_rate: bool
    frame_count: int
    time_base: _media_pb2.Rational
    start_time: _media_pb2.Rational
    rotation: int
    sample_aspect_ratio: _media_pb2.Rational
    mirrored: bool
    interlaced: bool
    alpha: bool
    mastering_display: MasteringDisplay
    content_light: ContentLight
    def __init__(self, codec: _Optional[str] = ..., format: _Optional[_Union[_media_pb2.FrameFormat, _Mapping]] = ..., frame_rate: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., variable_frame_rate: _Optional[bool] = ..., frame_count: _Optional[int] = ..., time_base: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., start_time: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., rotation: _Optional[int] = ..., sample_aspect_ratio: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., mirrored: _Optional[bool] = ..., interlaced: _Optional[bool] = ..., alpha: _Optional[bool] = ..., mastering_display: _Optional[_Union[MasteringDisplay, _Mapping]] = ..., content_light: _Optional[_Union[ContentLight, _Mapping]] = ...) -> None: ...

class MasteringDisplay(_message.Message):
    __slots__ = ("primaries", "white_point", "min_luminance", "max_luminance")
    PRIMARIES_FIELD_NUMBER: _ClassVar[int]
    WHITE_POINT_FIELD_NUMBER: _ClassVar[int]
    MIN_LUMINANCE_FIELD_NUMBER: _ClassVar[int]
    MAX_LUMINANCE_FIELD_NUMBER: _ClassVar[int]
    primaries: _containers.RepeatedScalarFieldContainer[int]
    white_point: _containers.RepeatedScalarFieldContainer[int]
    min_luminance: int
    max_luminance: int
    def __init__(self, primaries: _Optional[_Iterable[int]] = ..., white_point: _Optional[_Iterable[int]] = ..., min_luminance: _Optional[int] = ..., max_luminance: _Optional[int] = ...) -> None: ...

class ContentLight(_message.Message):
    __slots__ = ("max_content", "max_average")
    MAX_CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    max_content: int
    max_average: int
    def __init__(self, max_content: _Optional[int] = ..., max_average: _Optional[int] = ...) -> None: ...

class AudioInfo(_message.Message):
    __slots__ = ("codec", "sample_rate", "channels", "duration", "start_time")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    codec: str
    sample_rate: int
    channels: int
    duration: _media_pb2.Rational
    start_time: _media_pb2.Rational
    def __init__(self, codec: _Optional[str] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ..., duration: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., start_time: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ...) -> None: ...

class Advice(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DecodeFramesRequest(_message.Message):
    __slots__ = ("open", "credit")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    open: DecodeFramesOpen
    credit: _media_pb2.Credit
    def __init__(self, open: _Optional[_Union[DecodeFramesOpen, _Mapping]] = ..., credit: _Optional[_Union[_media_pb2.Credit, _Mapping]] = ...) -> None: ...

class DecodeFramesOpen(_message.Message):
    __slots__ = ("source", "start", "end", "transports", "credits", "shared_memory")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TRANSPORTS_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    source: str
    start: _media_pb2.Rational
    end: _media_pb2.Rational
    transports: _containers.RepeatedScalarFieldContainer[_media_pb2.Transport]
    credits: int
    shared_memory: str
    def __init__(self, source: _Optional[str] = ..., start: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., end: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ..., transports: _Optional[_Iterable[_Union[_media_pb2.Transport, str]]] = ..., credits: _Optional[int] = ..., shared_memory: _Optional[str] = ...) -> None: ...

class DecodeFramesResponse(_message.Message):
    __slots__ = ("opened", "batch", "progress", "completed")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    opened: DecodeFramesOpened
    batch: _media_pb2.FrameBatch
    progress: _media_pb2.Progress
    completed: _media_pb2.Completed
    def __init__(self, opened: _Optional[_Union[DecodeFramesOpened, _Mapping]] = ..., batch: _Optional[_Union[_media_pb2.FrameBatch, _Mapping]] = ..., progress: _Optional[_Union[_media_pb2.Progress, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...

class DecodeFramesOpened(_message.Message):
    __slots__ = ("terms", "format", "time_base")
    TERMS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    terms: _media_pb2.StreamTerms
    format: _media_pb2.FrameFormat
    time_base: _media_pb2.Rational
    def __init__(self, terms: _Optional[_Union[_media_pb2.StreamTerms, _Mapping]] = ..., format: _Optional[_Union[_media_pb2.FrameFormat, _Mapping]] = ..., time_base: _Optional[_Union[_media_pb2.Rational, _Mapping]] = ...) -> None: ...

class DecodeAudioRequest(_message.Message):
    __slots__ = ("source", "sample_rate", "channels")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    source: str
    sample_rate: int
    channels: int
    def __init__(self, source: _Optional[str] = ..., sample_rate: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class DecodeAudioResponse(_message.Message):
    __slots__ = ("chunk", "completed")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    chunk: _media_pb2.AudioChunk
    completed: _media_pb2.Completed
    def __init__(self, chunk: _Optional[_Union[_media_pb2.AudioChunk, _Mapping]] = ..., completed: _Optional[_Union[_media_pb2.Completed, _Mapping]] = ...) -> None: ...
