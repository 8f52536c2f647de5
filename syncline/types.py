"""What the client takes and gives: plain values, in the words of the protos."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Literal, TypedDict

from syncline.errors import InvalidOption, SynclineError

FileName = str | os.PathLike[str]


@dataclass(frozen=True)
class Tls:
    """How to connect to a server that speaks TLS. The files are PEM, and read when a client connects.

    Its certificate must be for the host that the client names. Raises InvalidOption for a certificate without a key.
    """

    root_certificates: FileName | None = None  # who must have signed it; default: the authorities that gRPC knows
    certificate: FileName | None = None  # the client's own, for a server that asks for one
    key: FileName | None = None  # of that certificate

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidOption("a certificate and its key go together", {"field": "key"})


class SyncMode(StrEnum):
    """What to do when the video and the speech differ in length."""

    CUT_OFF = "cut_off"  # ends with the shorter of the two
    LOOP = "loop"  # as long as the speech; a short video starts again
    BOUNCE = "bounce"  # as long as the speech; a short video plays backwards, then forwards, and so on
    HOLD = "hold"  # as long as the speech; of a short video the last frame stays and goes on speaking
    SILENCE = "silence"  # as long as the video; silence after the speech
    REMAP = "remap"  # as long as the speech; the video plays slower or faster to fit
    UNKNOWN = "unknown"  # the server's default, or a mode that this version does not know


class FpsMode(StrEnum):
    """When the result shows its frames."""

    PASSTHROUGH = "passthrough"  # as the source does; a variable frame rate stays variable
    CFR = "cfr"  # at a constant rate
    UNKNOWN = "unknown"  # the server's default, or a mode that this version does not know


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a state that this version does not know

    @property
    def ended(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Phase(StrEnum):
    """In the order a job goes through them."""

    INSPECT = "inspect"
    ANALYSE = "analyse"
    PLAN = "plan"
    RENDER = "render"
    ASSEMBLE = "assemble"
    UNKNOWN = "unknown"


class MediaKind(StrEnum):
    VIDEO = "video"
    PHOTO = "photo"
    AUDIO = "audio"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in the server's store."""

    digest: str  # SHA-256, 64 lower-case hexadecimal digits
    size_bytes: int


class FaceUnit(StrEnum):
    PIXELS = "pixels"  # of the source, upright
    FRACTIONS = "fractions"  # of the picture's width and height


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A part of the picture at one time."""

    x: float  # left edge
    y: float  # top edge
    width: float
    height: float
    time: float = 0.0  # seconds from the first frame on
    unit: FaceUnit | Literal["pixels", "fractions"] = FaceUnit.PIXELS


# Whose face: "auto"; a person's index, as `persons` lists them; a box at a time; a reference photo or its digest.
Face = int | FaceBox | Asset | str


@dataclass(frozen=True, slots=True)
class Speaker:
    """One person and what he or she is to say."""

    face: Face  # not "auto"
    audio: Asset | str  # the speech, or its digest
    start: float = 0.0  # seconds of the result at which it begins


class Options(TypedDict, total=False):
    """A job's options as keyword arguments; left out or None means the server's default."""

    sync_mode: SyncMode | Literal["cut_off", "loop", "bounce", "hold", "silence", "remap"] | None
    crf: int | None
    preset: str | None
    restorer_strength: float | None
    lipsync_engine: str | None
    restorer_engine: str | None
    mouth_intensity: float | None
    smoothing: float | None
    closure_strength: float | None
    padding: float | None
    idle_motion: float | None
    face: Face | None
    fps_mode: FpsMode | Literal["passthrough", "cfr"] | None
    frame_rate: Fraction | int | str | None
    start: float | None
    end: float | None
    profile: str | None
    container: str | None
    video_codec: str | None
    video_bit_rate: int | None
    max_lines: int | None
    audio_codec: str | None
    background_audio: Asset | str | None
    background_gain: float | None
    source_gain: float | None
    normalize: bool | None
    output_uri: str | None
    hardware: Literal["auto", "off"] | None


class MezzanineOptions(TypedDict, total=False):
    """What a mezzanine is to be like, as keyword arguments; left out or None means the server's default."""

    width: int | None  # pixels, with height: exactly that size, black where the picture does not reach
    height: int | None
    frame_rate: Fraction | int | str | None  # frames per second
    bit_rate: int | None  # bits per second, of the pictures


@dataclass(frozen=True, slots=True)
class JobOptions:
    """A job's options as the server holds them; None stands for its default."""

    sync_mode: SyncMode | None = None
    crf: int | None = None  # constant rate factor: lower is better and larger
    preset: str | None = None  # ultrafast to veryslow, as x264 names them
    restorer_strength: float | None = None  # 0 to 1
    lipsync_engine: str | None = None  # as the deployment names it
    restorer_engine: str | None = None
    mouth_intensity: float | None = None  # 0.5 to 1.5: how far the mouth goes from rest
    smoothing: float | None = None  # 0 to 1: how calmly it moves
    closure_strength: float | None = None  # 0 to 1: how readily lips are pressed on m, b and p
    padding: float | None = None  # 0.5 to 1.5: how far the new part reaches round mouth and jaw
    idle_motion: float | None = None  # 0 to 1: how much the head of a photo moves by itself; above 0 it blinks
    face: Face | None = None
    fps_mode: FpsMode | None = None
    frame_rate: Fraction | None = None  # frames per second, of a constant rate
    start: float | None = None  # seconds from the video's first frame on, from which it is used
    end: float | None = None  # and until which
    profile: str | None = None  # draft-720p, standard, publish-1080p or master
    container: str | None = None  # mp4, mov, mkv or webm
    video_codec: str | None = None  # h264, hevc, av1, vp9 or ffv1
    video_bit_rate: int | None = None  # bits per second, instead of crf
    max_lines: int | None = None  # pixels of the shorter side, to which larger pictures are scaled down
    audio_codec: str | None = None  # aac, opus, flac, pcm or copy
    background_audio: str | None = None  # digest of what plays under the speech
    background_gain: float | None = None  # decibels
    source_gain: float | None = None  # decibels at which the video's own sound plays under the speech
    normalize: bool | None = None  # the video's standard mezzanine is made first
    hardware: str | None = None  # auto or off: whether a graphics card's encoder may be taken
    output_uri: str | None = None  # s3://bucket/prefix below which the result is written besides


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """Whoever has it can read the file until it expires."""

    url: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    phase: Phase
    done_frames: int  # within the phase
    total_frames: int  # within the phase; 0 when not known
    done_segments: int
    total_segments: int  # 0 before the plan is made


@dataclass(frozen=True, slots=True)
class Job:
    name: str  # "jobs/" and an identifier
    state: JobState
    video: str  # digest of the video or photo
    audio: str  # digest of the speech; empty with speakers
    options: JobOptions
    progress: Progress | None
    result: Asset | None  # the video made, once done
    report: Asset | None  # the report on it (JSON), once done
    error: SynclineError | None  # why it failed, once failed
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    speakers: tuple[Speaker, ...] = ()  # faces and audio as digests
    priority: int = 0  # higher goes first
    deadline: datetime | None = None
    tenant: str = ""
    batch: str = ""  # "batches/" and an identifier, of the batch it belongs to
    webhook: str = ""  # who is told of it; empty: the server's own webhook, if it has one


@dataclass(frozen=True, slots=True)
class NewJob:
    """What can be queued: uploaded files or their digests; one speech, or `speakers`, each with a face and a speech."""

    video: Asset | str
    audio: Asset | str | None = None
    options: Options = field(default_factory=Options)
    priority: int = 0
    deadline: datetime | None = None
    speakers: tuple[Speaker, ...] = ()
    webhook: str = ""  # https address that is told of the job, instead of the server's own


@dataclass(frozen=True, slots=True)
class Batch:
    """How many of its jobs there are in each state."""

    name: str  # "batches/" and an identifier
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int

    @property
    def total(self) -> int:
        return self.queued + self.running + self.done + self.failed + self.cancelled

    @property
    def ended(self) -> bool:
        return not self.queued and not self.running


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job would cost on the server, by the medians of its latest done jobs."""

    duration_seconds: float  # of the video to be made
    work_seconds: float  # of one worker; 0 when nothing was measured yet
    result_bytes: int  # 0 when nothing was measured yet
    jobs_ahead: int
    measured_jobs: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job would make: a PNG of one frame, as it would be and with what was done drawn in; or a short video."""

    asset: Asset
    outcomes: tuple[str, ...]  # of a frame: what was done to the mouth of each person driven, or no_face


@dataclass(frozen=True, slots=True)
class JobEvent:
    number: int  # counts from 1 within the job
    time: datetime | None
    job: Job  # as it was then
    message: str  # for a person; may be empty


@dataclass(frozen=True, slots=True)
class VideoInfo:
    codec: str
    width: int  # pixels, upright
    height: int
    pixel_format: str  # as FFmpeg names it: yuv420p, yuv420p10, ...
    frame_rate: Fraction | None  # frames per second, mean
    variable_frame_rate: bool
    frame_count: int
    time_base: Fraction | None  # seconds
    start_time: Fraction | None  # seconds
    rotation: int  # degrees clockwise that the file asks for; already applied to width and height
    sample_aspect_ratio: Fraction | None  # width of a pixel over its height


@dataclass(frozen=True, slots=True)
class AudioInfo:
    codec: str
    sample_rate: int  # hertz
    channels: int
    duration: Fraction | None  # seconds
    start_time: Fraction | None  # seconds


@dataclass(frozen=True, slots=True)
class Advice:
    """Something about a file worth knowing before spending time on it."""

    code: str  # stable, for machines
    message: str  # for a person


@dataclass(frozen=True, slots=True)
class MediaInfo:
    kind: MediaKind
    container: str
    duration: Fraction | None  # seconds; None for a photo
    size_bytes: int
    bit_rate: int  # bits per second; 0 when not known
    video: VideoInfo | None
    audio: AudioInfo | None
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody seen in a video. `index` and `first` can both be given as a job's face."""

    index: int  # counts from 1, by first appearance, then from left to right
    frames: int  # in which the person is seen
    first: FaceBox  # the face when first seen, in pixels
    shown: tuple[tuple[float, float], ...]  # from when to when the person is seen, seconds from the first frame on
