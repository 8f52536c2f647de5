"""An hour of 29.97 frames a second, through planning, encoder and muxer: pictures and sound stay together."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from services.orchestrator.assembling import EncodedSound, assemble
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.timeline import SyncMode, Timeline, build_timeline, cut_segments
from services.runtime.frames import Color, Frame, FrameFormat, PixelFormat

STEP = Fraction(1001, 30000)  # seconds from frame to frame
HOUR = Fraction(3600)
SOUND_RATE = 8000  # hertz
TINY = FrameFormat(32, 32, PixelFormat.YUV420P, Color(1, 1, 1))


def plan_hour() -> Timeline:
    """Of a clip of eleven seconds that starts late, again and again."""
    return build_timeline([90 + 1001 * frame for frame in range(330)], Fraction(1, 30000), STEP, HOUR, SyncMode.LOOP)


def encode_lengths(lengths: set[int], rate: Fraction, folder: Path) -> dict[int, Path]:
    """A segment of each length: for the muxer those of one length are alike."""
    paths = {}
    for length in lengths:
        paths[length] = folder / f"{length}.mp4"
        with SegmentEncoder(paths[length], EncodeSettings(TINY, rate)) as encoder:
            for number in range(length):
                planes = tuple(np.full(shape, 40 + number % 100, np.uint8) for shape in TINY.plane_shapes)
                encoder.encode(to_picture(Frame(number, TINY, planes))[0])
    return paths


def click(times: list[Fraction]):
    """Silence for an hour, in blocks of a second, with one loud sample at each of the times."""
    places = [round(time * SOUND_RATE) for time in times]
    for first in range(0, int(HOUR) * SOUND_RATE, SOUND_RATE):
        block = np.zeros((SOUND_RATE, 1), np.float32)
        for place in places:
            if first <= place < first + SOUND_RATE:
                block[place - first] = 0.9
        yield block


def list_frames(container: av.container.InputContainer, time: Fraction) -> list[Fraction]:
    """When 300 frames from the key frame before `time` on are shown, in seconds."""
    video = container.streams.video[0]
    container.seek(int(time / video.time_base), stream=video)
    packets = [packet for packet, _ in zip(container.demux(video), range(300), strict=False) if packet.size]
    return sorted(packet.pts * packet.time_base for packet in packets)


def hear_click(container: av.container.InputContainer, about: Fraction) -> Fraction:
    """When the first one after a second before `about` is heard, in seconds, by the times of the file's own packets."""
    container.seek(max(0, int((about - 1) * 1_000_000)))
    for packet in container.demux(audio=0):
        loud = np.flatnonzero(np.frombuffer(bytes(packet), "<i2") > 10_000)
        if len(loud):
            return packet.pts * packet.time_base + Fraction(int(loud[0]), SOUND_RATE)
    raise AssertionError("nothing is heard")


def test_the_last_of_an_hours_frames_is_shown_when_its_sound_is_heard(tmp_path: Path) -> None:
    timeline = plan_hour()
    assert timeline.frame_count == 107_893
    spans = cut_segments(timeline, Fraction(11))
    segments = encode_lengths({span.frame_count for span in spans}, timeline.frame_rate, tmp_path)
    clicks = [frame * STEP for frame in (0, 54_000, timeline.frame_count - 1)]
    path = tmp_path / "hour.mov"
    sound = EncodedSound(click(clicks), SOUND_RATE, "pcm")
    assemble([segments[span.frame_count] for span in spans], timeline, sound, path, "mov")

    with av.open(path) as result:
        video = result.streams.video[0]
        assert video.frames == timeline.frame_count
        begin, end = list_frames(result, Fraction(0)), list_frames(result, HOUR)
        heard = [hear_click(result, time) for time in clicks]
    # Frame n is where the timeline has it, which is what its lips were made for: exactly, up to the last.
    assert begin[:50] == [number * STEP for number in range(50)]
    assert end[-50:] == [number * STEP for number in range(timeline.frame_count - 50, timeline.frame_count)]
    for told, time in zip(clicks, heard, strict=True):
        assert abs(time - told) <= Fraction(1, 2 * SOUND_RATE)  # a sixteenth of a millisecond
