"""What is heard in a result, and how it is written."""

from collections.abc import Sequence
from fractions import Fraction

from services.orchestrator.analysis import Analysis
from services.orchestrator.formats import CONTAINERS
from services.orchestrator.options import JobOptions
from services.orchestrator.planning import find_range, mean_frame_duration
from services.orchestrator.sound import SoundPart
from services.orchestrator.timeline import SyncMode
from services.runtime.convert import to_fraction
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2

NO_SOURCE_SOUND = "The video has no sound of its own to keep under the speech."
# Files whose packets say exactly when they are heard: codec -> what FFmpeg calls the container.
_EXACT = {"aac": ("mov",), "opus": ("ogg", "matroska"), "flac": ("flac",)}
_UNEXACT = Fraction(1, 1000)  # seconds by which a speech may be longer than a result that copies all of it


def list_sounds(
    options: JobOptions,
    speeches: Sequence[SoundPart],
    video: str,
    info: decoder_pb2.MediaInfo,
    analysis: Analysis,
) -> list[SoundPart]:
    """All that is to be heard, speech first."""
    sounds = list(speeches)
    if options.source_gain is not None and info.HasField("audio") and len(analysis.pts) > 1:
        sounds.append(_place_source_sound(video, info, analysis, options.source_gain, options))
    if options.background_audio is not None:
        sounds.append(SoundPart(options.background_audio, period=Fraction(0), decibels=options.background_gain))
    return sounds


def _place_source_sound(
    video: str, info: decoder_pb2.MediaInfo, analysis: Analysis, decibels: float, options: JobOptions
) -> SoundPart:
    """As it goes with the pictures of plan_timeline."""
    first, after = find_range(analysis, options)
    begin, last = (int(analysis.pts[frame]) * analysis.time_base for frame in (first, after - 1))
    length = last - begin + mean_frame_duration(info, analysis)
    period = length if options.sync_mode is SyncMode.LOOP else None
    return SoundPart(video, skip=begin, length=length, period=period, decibels=decibels)


def choose_codec(
    options: JobOptions, sounds: Sequence[SoundPart], speech: decoder_pb2.MediaInfo, duration: Fraction
) -> str:
    """A name of AUDIO_CODECS, or "copy". `duration`: of the result, in seconds."""
    if options.audio_codec is not None:
        return options.audio_codec
    container = CONTAINERS[options.container]
    whole = (to_fraction(speech.audio.duration) or Fraction(0)) <= duration + _UNEXACT
    if len(sounds) == 1 and not sounds[0].start and whole and can_copy(speech, options.container):
        return "copy"
    return container.audio[0]


def check_copy(options: JobOptions, speech: decoder_pb2.MediaInfo) -> None:
    """Raises Refusal INVALID_OPTION where copying was asked for and cannot be done."""
    if options.audio_codec == "copy" and not can_copy(speech, options.container):
        message = (
            f"audio_codec copy: {speech.audio.codec} of a {speech.container.split(',')[0]} file cannot be copied into "
            f"{options.container} in time; leave audio_codec out to have it encoded"
        )
        raise Refusal("INVALID_OPTION", message, field="audio_codec")


def can_copy(speech: decoder_pb2.MediaInfo, container: str) -> bool:
    """Whether the packets of this file play at the same times in such a container."""
    codec = speech.audio.codec
    form = speech.container.split(",")[0]
    return codec in CONTAINERS[container].audio and form in _EXACT.get(codec, ()) and not speech.HasField("video")
