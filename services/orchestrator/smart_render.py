"""Smart rendering: groups of pictures in which a job changes nothing are copied from the source, not encoded again.

MP4, MOV and Matroska have one place for the parameter sets of a track, and not every player looks for others in
between. So a group is copied only where the source's parameter sets are, byte for byte, those of the segments encoded
here: in a mezzanine, or in the result of an earlier job with the same preset. H.264 alone: x265 writes all that it was
told into its parameter sets.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import dropwhile, islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.timeline import SegmentSpan, Timeline, cut_segments
from services.runtime.frames import Frame
from services.runtime.refusal import Refusal
from syncline.v1 import decoder_pb2

Run = tuple[int, int]  # first frame, frames
_CODEC = "h264"
_IDR = 5  # type of the NAL units of pictures before which nothing is referred to; ITU-T H.264, table 7-1
_STEP = Fraction(1, 25)  # seconds
_LENGTH_BYTES = 4  # before each NAL unit


def find_copies(
    path: Path,
    info: decoder_pb2.MediaInfo,
    pts: np.ndarray,
    timeline: Timeline,
    tracks: Sequence[SpeakerTrack],
    settings: EncodeSettings,
) -> list[Run]:
    """Runs of output frames that can be copied from the source, each one of its groups of pictures; in order.

    Those in which none of the `tracks` has a face. `pts` (source frames,) int64, spaced as in the file.
    """
    video = info.video
    if info.kind != decoder_pb2.MediaInfo.KIND_VIDEO or video.rotation or video.mirrored:
        return []
    if video.codec != _CODEC or settings.codec != _CODEC or settings.hardware:
        return []
    sources = timeline.source.tolist()
    changed = np.array([any(track.windows[source] is not None for track in tracks) for source in sources])
    if changed.all():
        return []
    groups = dict(_list_groups(path, pts, settings))
    runs: list[Run] = []
    frame = 0
    while frame < timeline.frame_count:
        source = int(timeline.source[frame])
        count = groups.get(source, 0)
        shown = timeline.source[frame : frame + count]
        if not count or not np.array_equal(shown, np.arange(source, source + count)) or changed[frame:][:count].any():
            frame += 1
            continue
        runs.append((frame, count))
        frame += count
    return runs


def _list_groups(path: Path, pts: np.ndarray, settings: EncodeSettings) -> Iterator[Run]:
    """Of source frames: those of each closed group that begins with an IDR picture and can be found by seeking."""
    with av.open(str(path.absolute()), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        if stream.codec_context.name != _CODEC or stream.codec_context.extradata != _read_headers(settings):
            return
        packets = [(packet.pts, _is_idr(packet)) for packet in container.demux(stream) if packet.size]
        begin, depth = stream.start_time or 0, stream.codec_context.reorder_depth
    times = np.array([time for time, _ in packets if time is not None], np.int64)
    order = np.sort(times)
    if len(packets) != len(pts) or not np.array_equal(order - begin, pts - pts[0]):
        return  # the decoder shows other frames than the file holds
    starts = [place for place, (_, is_idr) in enumerate(packets) if is_idr]
    for start, after in zip(starts, [*starts[1:], len(packets)], strict=True):
        found = after - start > depth  # demuxers seek by decoding time: of shorter ones the next would be found
        if found and (np.sort(times[start:after]) == order[start:after]).all():
            yield start, after - start


def _read_headers(settings: EncodeSettings) -> bytes | None:
    """The parameter sets that segments of these settings have."""
    planes = [np.full(shape, 128, settings.format.dtype) for shape in settings.format.plane_shapes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        with SegmentEncoder(path, settings) as encoder:
            encoder.encode(to_picture(Frame(0, settings.format, tuple(planes)))[0])
        with av.open(path) as container:
            return container.streams.video[0].codec_context.extradata


def _is_idr(packet: "Packet[VideoStream]") -> bool:
    if not packet.is_keyframe:
        return False
    content, place = bytes(packet), 0
    while place + _LENGTH_BYTES < len(content):
        if content[place + _LENGTH_BYTES] & 0x1F == _IDR:
            return True
        place += _LENGTH_BYTES + int.from_bytes(content[place : place + _LENGTH_BYTES])
    return False


def cut_around(timeline: Timeline, copies: Sequence[Run], seconds: Fraction) -> list[SegmentSpan]:
    """Segments as cut_segments has them, each run of copied frames one by itself."""
    pieces: list[Run] = []
    frame = 0
    for first, count in [*copies, (timeline.frame_count, 0)]:
        if first > frame:
            pieces += _cut(timeline, frame, first, seconds)
        if count:
            pieces.append((first, count))
        frame = first + count
    return [SegmentSpan(index, *piece) for index, piece in enumerate(pieces)]


def _cut(timeline: Timeline, first: int, after: int, seconds: Fraction) -> list[Run]:
    part = replace(
        timeline,
        pts=timeline.pts[first:after] - timeline.pts[first],
        source=timeline.source[first:after],
        last_duration=int(timeline.durations[after - 1]),
    )
    return [(first + span.first_frame, span.frame_count) for span in cut_segments(part, seconds)]


def copy_segment(source: Path, ticks: int, count: int, path: Path) -> None:
    """Writes the `count` pictures of one group to `path`, as SegmentEncoder does of those that it encodes.

    `ticks`: when its first picture is shown after the file's first, in the stream's time base. Raises Refusal
    INTERNAL_ERROR when the file does not hold them.
    """
    with (
        av.open(str(source.absolute()), metadata_errors="ignore") as container,
        av.open(path, "w", format="mp4", options={"fflags": "+bitexact"}) as segment,
    ):
        stream = container.streams.video[0]
        copied = segment.add_stream_from_template(stream, opaque=True)
        packets = _read_group(container, stream, (stream.start_time or 0) + ticks, count)
        order = {pts: place for place, pts in enumerate(sorted(packet.pts or 0 for packet in packets))}
        depth = stream.codec_context.reorder_depth
        for place, packet in enumerate(packets):
            shown = order[packet.pts or 0]
            packet.time_base = _STEP  # the joined file has times of its own
            packet.pts, packet.dts, packet.duration = shown + depth, place, 1
            packet.stream = copied
            segment.mux(packet)


def _read_group(container: InputContainer, stream: VideoStream, first: int, count: int) -> "list[Packet[VideoStream]]":
    container.seek(first, stream=stream)
    packets = (packet for packet in container.demux(stream) if packet.size)
    group = list(islice(dropwhile(lambda packet: packet.pts != first, packets), count))
    if len(group) != count or not group[0].is_keyframe:
        message = f"the source does not hold the {count} pictures from {first} on that the plan copies"
        raise Refusal("INTERNAL_ERROR", message)
    return group
