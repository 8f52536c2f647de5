"""Segments and sound -> the finished video. Pictures are encoded once, before; sound is encoded here, or copied."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from services.orchestrator.formats import AUDIO_CODECS, CONTAINERS
from services.orchestrator.timeline import Timeline
from services.runtime.refusal import Refusal

# Says to people and machines what the file is. Tag names are MP4's own, which every player shows.
AI_LABEL: Mapping[str, str] = {
    "comment": "AI-generated: the lip movements in this video were made by software (Syncline).",
    "description": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "keywords": "AI-generated",
}


class SoundTrack(Protocol):
    """The sound of a result."""

    def write_to(self, container: OutputContainer, duration: Fraction) -> "Iterator[Packet[AudioStream]]":
        """Adds its stream now, and yields the packets of the first `duration` seconds. Raises Refusal EMPTY_AUDIO."""
        ...


@dataclass(frozen=True)
class EncodedSound:
    """`blocks`: (n, 1 or 2) float32 at `rate` hertz from time 0 on; what lies beyond the duration is not read."""

    blocks: Iterable[np.ndarray]
    rate: int
    codec: str = "aac"

    def write_to(self, container: OutputContainer, duration: Fraction) -> "Iterator[Packet[AudioStream]]":
        blocks = iter(self.blocks)
        first = next(blocks, None)
        if first is None:
            raise Refusal("EMPTY_AUDIO", "The speech holds no samples.")
        codec = AUDIO_CODECS[self.codec]
        channels = first.shape[1]
        stream = container.add_stream(codec.encoder, rate=self._stream_rate())
        assert isinstance(stream, AudioStream)
        stream.layout = {1: "mono", 2: "stereo"}[channels]
        if codec.bit_rate is not None:
            stream.bit_rate = codec.bit_rate * channels
        return self._encode(stream, _cut(first, blocks, int(duration * self.rate)))

    def _stream_rate(self) -> int:
        rates = AUDIO_CODECS[self.codec].rates
        return self.rate if self.rate in rates or not rates else 48000

    def _encode(self, stream: AudioStream, blocks: Iterator[np.ndarray]) -> "Iterator[Packet[AudioStream]]":
        first_sample = 0
        for block in blocks:
            if not len(block):
                continue
            samples = np.ascontiguousarray(block.T, np.float32)  # (channels, n)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", stream.layout.name)
            frame.sample_rate, frame.time_base, frame.pts = self.rate, Fraction(1, self.rate), first_sample
            first_sample += len(block)
            yield from stream.encode(frame)
        yield from stream.encode(None)


@dataclass(frozen=True)
class CopiedSound:
    """The packets of a sound file as they are."""

    path: Path

    def write_to(self, container: OutputContainer, duration: Fraction) -> "Iterator[Packet[AudioStream]]":
        source = av.open(str(self.path.absolute()), metadata_errors="ignore")
        stream = source.streams.audio[0]
        return _copy(source, stream, container.add_stream_from_template(stream), duration)


def _copy(source: Any, stream: AudioStream, into: AudioStream, duration: Fraction) -> "Iterator[Packet[AudioStream]]":
    zero = stream.start_time or 0  # priming lies before it
    with source:
        for packet in source.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            packet.pts -= zero
            packet.dts = packet.pts
            if packet.pts * packet.time_base >= duration:
                return
            packet.stream = into
            yield packet


def assemble(
    segments: Sequence[Path],
    timeline: Timeline,
    sound: SoundTrack,
    path: Path,
    container: str = "mp4",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Joins the segments, in order, with the sound.

    Pictures are copied as encoded and get the timeline's exact times, as far as the container has them: mkv and webm
    round to milliseconds. `metadata`: MP4's own tags (title, artist, ...; others are lost), beside AI_LABEL, which is
    always written. Writes straight to `path`, as SegmentEncoder does.
    """
    form = CONTAINERS[container]
    with av.open(path, "w", format=form.muxer, options=dict(form.options)) as output:
        output.metadata.update({**(metadata or {}), **AI_LABEL})
        with av.open(segments[0]) as segment:
            template = segment.streams.video[0]
            video = output.add_stream_from_template(template, opaque=True)
            headers = template.codec_context.extradata
            depth = template.codec_context.reorder_depth
        if form.muxer in ("mp4", "mov") and template.name == "hevc":
            video.codec_context.codec_tag = "hvc1"  # the form of HEVC that all players know
        video.time_base = timeline.time_base
        heard: Iterator[Packet[Any]] = sound.write_to(output, timeline.duration)
        shown: Iterator[Packet[Any]] = _join(segments, timeline, depth, headers, video)
        for packet in heapq.merge(heard, shown, key=_seconds):
            output.mux(packet)


def _seconds(packet: "Packet[Any]") -> Fraction:
    """When the packet is to be decoded."""
    return (packet.dts or 0) * packet.time_base


def _join(
    segments: Sequence[Path], timeline: Timeline, depth: int, headers: bytes | None, into: VideoStream
) -> Iterator["Packet[VideoStream]"]:
    """The segments' packets in decoding order, timed by the timeline.

    With pictures reordered by at most `depth` places, the decoding time of the n-th packet may be the presentation time
    of the picture `depth` places before the n-th: never later than its own, and strictly increasing. The first ones are
    as long before time 0 as the last picture is shown after the last packet is decoded: MP4 takes a track's length from
    its decoding times and the duration of the packet that is decoded last.
    """
    few = timeline.frame_count <= depth
    lead = int(depth * timeline.durations[0] if few else timeline.pts[-1] - timeline.pts[-1 - depth])
    dts = np.concatenate([-(lead * np.arange(depth, 0, -1) // max(depth, 1)), timeline.pts])
    durations = timeline.durations
    first_frame = 0
    for path in segments:
        with av.open(path) as segment:
            stream = segment.streams.video[0]
            if stream.codec_context.extradata != headers:
                raise Refusal("INTERNAL_ERROR", "The segments of this job were encoded with different settings.")
            packets = [packet for packet in segment.demux(stream) if packet.size]
        if first_frame + len(packets) > timeline.frame_count:
            raise _wrong_count(timeline)
        shown = np.argsort(np.argsort([packet.pts or 0 for packet in packets]))  # place of each in order of display
        for place, packet in enumerate(packets):
            frame = first_frame + int(shown[place])
            packet.time_base = timeline.time_base
            packet.pts = int(timeline.pts[frame])
            packet.dts = int(dts[first_frame + place])
            is_last = first_frame + place == timeline.frame_count - 1
            packet.duration = timeline.last_duration if is_last else int(durations[frame])
            packet.stream = into
            yield packet
        first_frame += len(packets)
    if first_frame != timeline.frame_count:
        raise _wrong_count(timeline)


def _wrong_count(timeline: Timeline) -> Refusal:
    message = f"The segments of this job do not hold the {timeline.frame_count} frames planned."
    return Refusal("INTERNAL_ERROR", message)


def _cut(first: np.ndarray, blocks: Iterator[np.ndarray], sample_count: int) -> Iterator[np.ndarray]:
    """Blocks (n, channels) until `sample_count` samples have come."""
    block: np.ndarray | None = first
    while block is not None and sample_count > 0:
        yield block[:sample_count]
        sample_count -= len(block)
        block = next(blocks, None) if sample_count > 0 else None
