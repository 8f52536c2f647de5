"""Facts about media -> wire."""

from services.decoder.engines import AudioFacts, MediaFacts, VideoFacts
from services.runtime.convert import from_fraction, from_frame_format
from services.runtime.frames import ContentLight, MasteringDisplay
from syncline.v1 import decoder_pb2 as pb


def from_facts(facts: MediaFacts) -> pb.MediaInfo:
    return pb.MediaInfo(
        kind=pb.MediaInfo.Kind.Name(int(facts.kind)),
        container=facts.container,
        duration=from_fraction(facts.duration),
        size_bytes=facts.size_bytes,
        bit_rate=facts.bit_rate,
        video=_from_video(facts.video) if facts.video else None,
        audio=_from_audio(facts.audio) if facts.audio else None,
        advice=[pb.Advice(code=advice.code, message=advice.message) for advice in facts.advice],
    )


def _from_video(video: VideoFacts) -> pb.VideoInfo:
    return pb.VideoInfo(
        codec=video.codec,
        format=from_frame_format(video.format),
        frame_rate=from_fraction(video.frame_rate),
        variable_frame_rate=video.variable_frame_rate,
        frame_count=video.frame_count,
        time_base=from_fraction(video.time_base),
        start_time=from_fraction(video.start_time),
        rotation=video.rotation,
        sample_aspect_ratio=from_fraction(video.sample_aspect_ratio),
        mirrored=video.mirrored,
        interlaced=video.interlaced,
        alpha=video.alpha,
        mastering_display=_from_mastering(video.mastering_display) if video.mastering_display else None,
        content_light=_from_light(video.content_light) if video.content_light else None,
    )


def _from_mastering(display: MasteringDisplay) -> pb.MasteringDisplay:
    return pb.MasteringDisplay(
        primaries=display.primaries,
        white_point=display.white_point,
        min_luminance=display.min_luminance,
        max_luminance=display.max_luminance,
    )


def _from_light(light: ContentLight) -> pb.ContentLight:
    return pb.ContentLight(max_content=light.max_content, max_average=light.max_average)


def _from_audio(audio: AudioFacts) -> pb.AudioInfo:
    return pb.AudioInfo(
        codec=audio.codec,
        sample_rate=audio.sample_rate,
        channels=audio.channels,
        duration=from_fraction(audio.duration),
        start_time=from_fraction(audio.start_time),
    )
