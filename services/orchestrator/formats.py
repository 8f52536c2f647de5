"""What a result may be written as: containers, codecs, encoders, and the profiles that stand for a choice of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.runtime.frames import PixelFormat

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

_420 = (PixelFormat.YUV420P, PixelFormat.YUV420P10)
_EIGHT_BITS = (PixelFormat.YUV420P, PixelFormat.YUV422P, PixelFormat.YUV444P)
_ALL = (*_EIGHT_BITS, PixelFormat.YUV420P10, PixelFormat.YUV422P10, PixelFormat.YUV444P10)


@dataclass(frozen=True)
class VideoCodec:
    """`crf`: default, None where the codec has no choice of quality."""

    encoder: str  # FFmpeg's name
    crf: int | None
    most_crf: int
    presets: tuple[Mapping[str, str], ...]  # options of the encoder, one for each of PRESETS
    layouts: tuple[PixelFormat, ...]  # others are converted
    options: Mapping[str, str] = field(default_factory=dict)
    quality: str = "crf"  # the option that takes it
    names: Mapping[PixelFormat, str] = field(default_factory=dict)  # of layouts that the encoder has another order of


def _presets(name: str, *values: object) -> tuple[Mapping[str, str], ...]:
    return tuple({name: str(value)} for value in values)


def _vp9(deadline: str, *speeds: int) -> tuple[Mapping[str, str], ...]:
    return tuple({"deadline": deadline, "cpu-used": str(speed)} for speed in speeds)


# The options keep the bytes the same whatever machine encodes: numbers of threads never depend on its cores.
VIDEO_CODECS: Mapping[str, VideoCodec] = {
    # stitchable: parameter sets that depend on neither quality nor content.
    "h264": VideoCodec("libx264", 18, 51, _presets("preset", *PRESETS), _ALL, {"x264-params": "stitchable=1"}),
    "hevc": VideoCodec(
        "libx265",
        20,
        51,
        _presets("preset", *PRESETS),
        _ALL,
        {"x265-params": "log-level=error:frame-threads=2:pools=4:open-gop=0"},
    ),
    "av1": VideoCodec(
        "libsvtav1",
        28,
        63,
        _presets("preset", 12, 11, 10, 9, 8, 7, 6, 5, 4),
        _420,
        {"svtav1-params": "lp=2"},
    ),
    "vp9": VideoCodec(
        "libvpx-vp9",
        28,
        63,
        (*_vp9("realtime", 8, 8, 7, 7, 6), *_vp9("good", 4, 3, 2, 1)),  # the good fast ones cost six times x264's
        _EIGHT_BITS,
        {"row-mt": "1", "tile-columns": "2"},
    ),
    "ffv1": VideoCodec("ffv1", None, 0, ({},) * len(PRESETS), _ALL, {"level": "3", "slices": "4", "slicecrc": "1"}),
}  # fmt: skip

HARDWARE = ("auto", "off")  # whether a graphics card's own encoder may be taken


def _nvenc(encoder: str, crf: int, most_crf: int, layouts: tuple[PixelFormat, ...]) -> VideoCodec:
    """NVIDIA's, whose levels p1 to p5 take the place of x264's presets; slower ones ask for what it does not do.

    No picture is shown out of coding order, and a segment begins with a picture that refers to nothing before it.
    """
    presets = _presets("preset", "p1", "p2", "p3", "p4", "p4", "p5")
    options = {"tune": "hq", "rc": "vbr", "spatial-aq": "1", "bf": "0", "forced-idr": "1"}
    return VideoCodec(encoder, crf, most_crf, presets, layouts, options, "cq", {PixelFormat.YUV420P10: "p010le"})


HARDWARE_CODECS: Mapping[str, VideoCodec] = {
    "h264": _nvenc("h264_nvenc", 18, 51, (PixelFormat.YUV420P,)),
    "hevc": _nvenc("hevc_nvenc", 20, 51, _420),
    "av1": _nvenc("av1_nvenc", 28, 63, _420),
}


@dataclass(frozen=True)
class AudioCodec:
    encoder: str  # FFmpeg's name
    rates: tuple[int, ...]  # hertz; empty: any
    bit_rate: int | None = None  # bits per second and channel


_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AUDIO_CODECS: Mapping[str, AudioCodec] = {
    "aac": AudioCodec("aac", _AAC_RATES, 96_000),
    "opus": AudioCodec("libopus", (48000,), 64_000),
    "flac": AudioCodec("flac", ()),
    "pcm": AudioCodec("pcm_s16le", ()),
}


@dataclass(frozen=True)
class Container:
    """Codecs in order of preference: the first is the default."""

    muxer: str  # FFmpeg's name
    video: tuple[str, ...]
    audio: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)


_FAST_START = {"movflags": "+faststart"}  # plays while it loads
CONTAINERS: Mapping[str, Container] = {
    "mp4": Container("mp4", ("h264", "hevc", "av1", "vp9"), ("aac", "opus"), _FAST_START),
    "mov": Container("mov", ("h264", "hevc"), ("aac", "pcm"), _FAST_START),
    "mkv": Container("matroska", ("h264", "hevc", "av1", "vp9", "ffv1"), ("aac", "opus", "flac", "pcm")),
    "webm": Container("webm", ("vp9", "av1"), ("opus",)),
}


@dataclass(frozen=True)
class Profile:
    """What the options of a result are where the job does not set them. `more_crf`: beside the codec's default."""

    preset: str = "veryfast"
    more_crf: int = 0
    max_lines: int | None = None


PROFILES: Mapping[str, Profile] = {
    "draft-720p": Profile("ultrafast", 8, 720),
    "standard": Profile(),
    "publish-1080p": Profile("medium", 2, 1080),
    "master": Profile("slow", -8),
}
