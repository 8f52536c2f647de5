"""What is in a file, from its packets and its first picture."""

from array import array
from dataclasses import dataclass, field, replace
from fractions import Fraction

import av
import numpy as np
from av.stream import Stream

from services.decoder.engines import AudioFacts, MediaFacts, MediaKind, VideoFacts
from services.decoder.engines._advice import give_advice
from services.decoder.engines._interlace import may_be_interlaced
from services.decoder.engines._light import read_content_light, read_mastering_display
from services.decoder.engines._pictures import Delivery
from services.decoder.engines._source import Source

_UNEVEN = 0.1  # of the mean interval: frames that far from their place make a variable frame rate
_SAME_RATE = Fraction(1, 1000)  # how far the rate a file states may be from the one its timestamps show
_DEFAULT_RATE = Fraction(25)  # frames per second of a single picture


@dataclass(slots=True)
class _Tally:
    """One stream's packets. Times in ticks of the stream."""

    count: int = 0
    times: array = field(default_factory=lambda: array("q"))
    end: int | None = None

    def add(self, time: int | None, duration: int) -> None:
        self.count += 1
        if time is not None:
            self.times.append(time)
            self.end = time + duration if self.end is None else max(self.end, time + duration)


def gather_facts(source: Source, delivery: Delivery | None, picture: av.VideoFrame | None) -> MediaFacts:
    """Reads the whole file and decodes nothing. `delivery`, `picture`: of its first picture, if it has pictures."""
    streams: list[Stream] = [stream for stream in (source.video, source.audio) if stream is not None]
    tallies = _count_packets(source, streams)
    video = audio = None
    ends = []
    if source.video is not None and delivery is not None and picture is not None:
        video = _describe_video(source, delivery, picture, tallies[source.video.index])
        ends.append(video.start_time + video.frame_count / video.frame_rate)
        ends.append(_find_end(source, source.video, tallies[source.video.index]))
    if source.audio is not None:
        audio = _describe_audio(source, tallies[source.audio.index])
        ends.append(audio.start_time + audio.duration)
    kind = MediaKind.AUDIO if video is None else MediaKind.PHOTO if source.is_photo else MediaKind.VIDEO
    duration = None if kind is MediaKind.PHOTO else max(ends)
    size = source.path.stat().st_size
    bit_rate = round(size * 8 / duration) if duration else 0
    facts = MediaFacts(kind, source.container.format.name, duration, size, bit_rate, video, audio)
    return facts if delivery is None else replace(facts, advice=tuple(give_advice(facts, delivery.coded_size)))


def _count_packets(source: Source, streams: list[Stream]) -> dict[int, _Tally]:
    tallies = {stream.index: _Tally() for stream in streams}
    for packet in source.read_packets(streams):
        if packet.size and not packet.is_discard:  # discarded: before the beginning that an edit list sets
            time = packet.dts if packet.pts is None else packet.pts
            tallies[packet.stream_index].add(time, packet.duration or 0)
        if source.is_photo and tallies[packet.stream_index].count:
            break  # JPEG files may carry further pictures: previews, gain maps
    return tallies


def _describe_video(source: Source, delivery: Delivery, picture: av.VideoFrame, tally: _Tally) -> VideoFacts:
    stream = source.video
    assert stream is not None
    tick = stream.time_base or Fraction(1, 1000)
    times = np.unique(np.array(tally.times, np.int64))
    rate, variable = _measure_rate(times, tick, stream.average_rate or stream.guessed_rate)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return VideoFacts(
        codec=stream.codec_context.name,
        format=delivery.format,
        frame_rate=rate,
        variable_frame_rate=variable,
        frame_count=tally.count,
        time_base=tick,
        start_time=int(times[0]) * tick - source.zero if len(times) else Fraction(0),
        rotation=delivery.orientation.rotation,
        sample_aspect_ratio=1 / aspect if delivery.orientation.transposed else aspect,
        mirrored=delivery.orientation.mirrored,
        interlaced=may_be_interlaced(source, picture),
        alpha=_has_alpha(source, picture),
        # A photo has neither, and pictures with EXIF cannot be asked: see read_orientation.
        mastering_display=None if source.is_photo else read_mastering_display(picture),
        content_light=None if source.is_photo else read_content_light(picture),
    )


def _has_alpha(source: Source, picture: av.VideoFrame) -> bool:
    assert source.video is not None
    if (
        source.video.metadata.get("alpha_mode") == "1"
    ):  # WebM: a second picture beside each, which no decoder here reads
        return True
    if not any(component.is_alpha for component in picture.format.components):
        return False
    # An opaque photo may be stored with its transparency all the same; of a video the first picture tells nothing.
    return not source.is_photo or int(picture.to_ndarray(format="rgba")[..., 3].min()) < 255


def _measure_rate(times: np.ndarray, tick: Fraction, stated: Fraction | None) -> tuple[Fraction, bool]:
    """Mean frames per second, and whether it varies. `times`: sorted ticks."""
    if len(times) < 2:
        return stated or _DEFAULT_RATE, False
    intervals = len(times) - 1
    mean = float(times[-1] - times[0]) / intervals  # ticks
    # A fine clock rounds each time by less than a tick; a clock as coarse as the frames does not round at all.
    rounding = 1.0 if mean > 4 else 0.0
    variable = bool(np.abs(np.diff(times) - mean).max() > max(rounding, _UNEVEN * mean))
    measured = Fraction(intervals, int(times[-1] - times[0])) / tick
    if not variable and stated and abs(stated / measured - 1) < _SAME_RATE:
        return stated, False  # 30000/1001 rather than what rounded timestamps make of it
    return measured, variable


def _describe_audio(source: Source, tally: _Tally) -> AudioFacts:
    stream = source.audio
    assert stream is not None
    assert stream.time_base is not None
    start = stream.start_time * stream.time_base - source.zero if stream.start_time is not None else Fraction(0)
    # What the file states leaves out the codec's padding; what its packets show leaves out what is cut off.
    known = [_find_end(source, stream, tally) - start]
    if stream.duration is not None:
        known.append(stream.duration * stream.time_base)
    return AudioFacts(
        codec=stream.codec_context.name,
        sample_rate=stream.rate,
        channels=stream.channels,
        duration=max(min(known), Fraction(0)),
        start_time=start,
    )


def _find_end(source: Source, stream: Stream, tally: _Tally) -> Fraction:
    """When the stream's last packet ends, in seconds."""
    if tally.end is None or stream.time_base is None:
        return Fraction(0)
    return tally.end * stream.time_base - source.zero
