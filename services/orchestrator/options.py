"""A job's options: their defaults, their ranges, and how the store keeps them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Any

from services.orchestrator.choice import AUTO, FaceChoice, Speaker, check_speakers
from services.orchestrator.formats import AUDIO_CODECS, CONTAINERS, HARDWARE, PRESETS, PROFILES, VIDEO_CODECS
from services.orchestrator.timeline import SyncMode
from services.runtime.refusal import Refusal

# Least and most of what has a number.
RANGES = {
    "crf": (0, 63),
    "restorer_strength": (0, 1),
    "mouth_intensity": (0.5, 1.5),
    "smoothing": (0, 1),
    "closure_strength": (0, 1),
    "padding": (0.5, 1.5),
    "idle_motion": (0, 1),
    "start": (0, 24 * 3600),
    "end": (0, 24 * 3600),
    "video_bit_rate": (100_000, 400_000_000),
    "max_lines": (144, 8192),
    "background_gain": (-60, 12),
    "source_gain": (-60, 12),
}
_RATES = (1, 240)  # frames per second
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNSOUND = (SyncMode.BOUNCE, SyncMode.REMAP)  # play the video as no sound can be played


class FpsMode(IntEnum):
    """As `FpsMode` in orchestrator.proto, number for number."""

    PASSTHROUGH = 1
    CFR = 2


@dataclass(frozen=True, slots=True)
class JobOptions:
    """As JobOptions in orchestrator.proto, with the job's speakers; see `choose` for what depends on other options.

    Raises Refusal INVALID_OPTION out of range, and for options that do not go together.
    """

    sync_mode: SyncMode = SyncMode.CUT_OFF
    crf: int | None = 18
    preset: str = "veryfast"
    restorer_strength: float = 1.0
    lipsync_engine: str = ""  # the stage's default
    restorer_engine: str = ""
    mouth_intensity: float = 1.0
    smoothing: float = 0.2
    closure_strength: float = 0.5
    padding: float = 1.0
    idle_motion: float = 0.0
    face: FaceChoice = AUTO
    speakers: tuple[Speaker, ...] = ()
    fps_mode: FpsMode = FpsMode.PASSTHROUGH
    frame_rate: Fraction | None = None  # frames per second, of CFR; None: the standard rate nearest to the source's
    start: float | None = None  # seconds from the video's first frame on
    end: float | None = None
    profile: str = "standard"
    container: str = "mp4"
    video_codec: str = "h264"
    video_bit_rate: int | None = None  # bits per second; instead of crf
    max_lines: int | None = None  # pixels, of the picture's shorter side
    audio_codec: str | None = (
        None  # None: the speech's own packets where they can be copied, else the container's first
    )
    background_audio: str | None = None  # digest
    background_gain: float = -18.0  # decibels
    source_gain: float | None = None  # decibels; None: the source's own sound is not heard
    normalize: bool = False
    output_uri: str | None = None  # where the result is written beside the store
    hardware: str = "auto"

    @classmethod
    def choose(cls, **given: Any) -> "JobOptions":
        """Of what a client has set: what depends on other options, or on the profile, is filled in."""
        name = given.get("profile", "standard")
        _check_name("profile", name, PROFILES)
        profile = PROFILES[name]
        container = CONTAINERS.get(given.get("container", "mp4"))
        codec_name = given.get("video_codec") or (container.video[0] if container else "h264")
        codec = VIDEO_CODECS.get(codec_name)
        crf = None
        if codec is not None and codec.crf is not None and "video_bit_rate" not in given:
            crf = codec.crf + profile.more_crf
        fps_mode = FpsMode.CFR if "frame_rate" in given else FpsMode.PASSTHROUGH
        chosen = {"crf": crf, "preset": profile.preset, "max_lines": profile.max_lines, "fps_mode": fps_mode}
        return cls(**{**chosen, "video_codec": codec_name, **given})

    def __post_init__(self) -> None:
        for field, (low, high) in RANGES.items():
            value = getattr(self, field)
            if value is not None and not low <= value <= high:  # nor is a NaN
                raise Refusal("INVALID_OPTION", f"{field} is {value:g}; the range is {low:g} to {high:g}", field=field)
        _check_name("preset", self.preset, PRESETS)
        _check_name("profile", self.profile, PROFILES)
        _check_name("hardware", self.hardware, HARDWARE)
        check_speakers(self.speakers, self.face)
        self._check_times()
        self._check_formats()
        if self.background_audio is not None and not _DIGEST.fullmatch(self.background_audio):
            raise Refusal("INVALID_NAME", "background_audio is the digest of an asset", field="background_audio")
        if self.source_gain is not None and self.sync_mode in _UNSOUND:
            message = f"source_gain does not go with sync_mode {self.sync_mode.name.lower()}: its sound cannot follow"
            raise Refusal("INVALID_OPTION", message, field="source_gain")

    def _check_times(self) -> None:
        if self.end is not None and self.end <= (self.start or 0):
            message = f"end is {self.end:g} s and start {self.start or 0:g} s; end must come after start"
            raise Refusal("INVALID_OPTION", message, field="end")
        low, high = _RATES
        if self.frame_rate is not None and not low <= self.frame_rate <= high:
            message = f"frame_rate is {float(self.frame_rate):g}; the range is {low} to {high}"
            raise Refusal("INVALID_OPTION", message, field="frame_rate")
        if self.frame_rate is not None and self.fps_mode is not FpsMode.CFR:
            message = "frame_rate asks for a constant frame rate, fps_mode passthrough for the source's own"
            raise Refusal("INVALID_OPTION", message, field="frame_rate")

    def _check_formats(self) -> None:
        _check_name("container", self.container, CONTAINERS)
        _check_name("video_codec", self.video_codec, VIDEO_CODECS)
        container, codec = CONTAINERS[self.container], VIDEO_CODECS[self.video_codec]
        if self.video_codec not in container.video:
            message = f"{self.container} holds {', '.join(container.video)}, not {self.video_codec}"
            raise Refusal("INVALID_OPTION", message, field="video_codec")
        if self.audio_codec not in (None, "copy"):
            _check_name("audio_codec", self.audio_codec, (*AUDIO_CODECS, "copy"))
            if self.audio_codec not in container.audio:
                message = f"{self.container} holds sound as {', '.join(container.audio)}, not {self.audio_codec}"
                raise Refusal("INVALID_OPTION", message, field="audio_codec")
        if self.audio_codec == "copy" and (self.speakers or self.background_audio or self.source_gain is not None):
            message = "audio_codec copy takes the speech as it is; it cannot be mixed with other sound"
            raise Refusal("INVALID_OPTION", message, field="audio_codec")
        if self.crf is not None and self.video_bit_rate is not None:
            raise Refusal("INVALID_OPTION", "crf and video_bit_rate exclude one another", field="video_bit_rate")
        if codec.crf is None and (self.crf is not None or self.video_bit_rate is not None):
            message = f"{self.video_codec} loses nothing; it takes neither crf nor video_bit_rate"
            raise Refusal("INVALID_OPTION", message, field="crf")
        if self.crf is not None and self.crf > codec.most_crf:
            message = f"crf is {self.crf}; the range of {self.video_codec} is 0 to {codec.most_crf}"
            raise Refusal("INVALID_OPTION", message, field="crf")

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> "JobOptions":
        rate = options.get("frame_rate")
        kept = {
            "sync_mode": SyncMode(options["sync_mode"]),
            "face": FaceChoice.from_json(options["face"]) if "face" in options else AUTO,
            "speakers": tuple(map(Speaker.from_json, options.get("speakers", ()))),
            "fps_mode": FpsMode(options.get("fps_mode", FpsMode.PASSTHROUGH)),
            "frame_rate": None if rate is None else Fraction(rate),
        }
        return cls(**{**options, **kept})

    def to_json(self) -> dict[str, Any]:
        rate = None if self.frame_rate is None else str(self.frame_rate)
        kept = {"sync_mode": int(self.sync_mode), "fps_mode": int(self.fps_mode), "frame_rate": rate}
        return {**asdict(self), **kept}


def _check_name(field: str, name: str | None, names: Collection[str]) -> None:
    if name not in names:
        raise Refusal("INVALID_OPTION", f"{field} is {name!r}; it is one of {', '.join(names)}", field=field)
