"""Decoding with FFmpeg's libraries through PyAV.

Time 0 of a source is where the first of its video and sound streams begins, as players have it: the two keep their
offset to one another, and files cut from a longer recording do not begin with its hours.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path

import av
import structlog
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from services.decoder.engines import AudioBlock, FrameStream, MediaFacts
from services.decoder.engines._crop import read_crop
from services.decoder.engines._facts import gather_facts
from services.decoder.engines._interlace import CONTEXT, deinterlace, may_be_interlaced
from services.decoder.engines._pictures import Delivery, choose_delivery
from services.decoder.engines._sound import read_blocks
from services.decoder.engines._source import Source, open_source, refuse_broken
from services.runtime.engine import EngineInfo
from services.runtime.frames import Frame
from services.runtime.refusal import Refusal

_log = structlog.get_logger("decoder")
_SHORT_WAY = 1  # seconds; decoding on is cheaper than seeking
_STEPS_BACK = (0, 1, 4, 16)  # seconds before the time wanted to look for a keyframe


class PyAVDecoder:
    """`device`: decodes the pictures of what it knows, see find_device; None: software does."""

    def __init__(self, device: HWAccel | None = None) -> None:
        self._device = device
        self.info = EngineInfo("pyav", f"2-av{av.__version__}" + ("-nvdec" if device else ""))

    def inspect(self, path: Path) -> MediaFacts:
        delivery = picture = None
        with open_source(path) as source:
            if source.video is not None or "video" in source.undecodable:
                picture = _read_first(source.decode_video(), source)
                delivery = _choose_delivery(picture, source)
        with open_source(path) as source:
            return gather_facts(source, delivery, picture)

    def decode_frames(self, path: Path, start: Fraction | None, end: Fraction | None) -> FrameStream:
        if self._device is None:
            return self._open_frames(path, start, end)
        try:
            stream = self._open_frames(path, start, end, self._device)
        except Refusal:  # of the file, or of the device
            return self._open_frames(path, start, end)
        return replace(stream, frames=self._go_on(stream, path, start, end))

    def _go_on(self, stream: FrameStream, path: Path, start: Fraction | None, end: Fraction | None) -> Iterator[Frame]:
        """The device's frames; from where it fails, or finds the file damaged, those of software."""
        try:
            for frame in stream.frames:
                yield frame
                start = (frame.pts + 1) * stream.time_base
        except Refusal as refusal:
            _log.warning("decoding goes on in software", error=str(refusal), cause=str(refusal.__cause__))
            yield from self._open_frames(path, start, end).frames

    def _open_frames(
        self, path: Path, start: Fraction | None, end: Fraction | None, device: HWAccel | None = None
    ) -> FrameStream:
        with ExitStack() as stack:
            source = stack.enter_context(open_source(path, device))
            pictures = source.decode_video()
            first = _read_first(pictures, source)
            delivery = _choose_delivery(first, source)
            clock = _Clock.of(source)
            pictures = chain([first], () if source.is_photo else pictures)
            if start is not None and first.pts is not None:
                begin = clock.time(first) * clock.tick
                lead = CONTEXT * clock.step * clock.tick if may_be_interlaced(source, first) else 0
                if start - lead - begin > _SHORT_WAY and not source.is_photo:
                    pictures = _seek(stack, source, start - lead, begin)
            whole = deinterlace(pictures, clock.tick)
            frames = _deliver(stack.pop_all(), delivery, _Clock.of(source), whole, start, end)
        return FrameStream(delivery.format, clock.tick, frames)

    def decode_audio(self, path: Path, sample_rate: int | None, channels: int | None) -> Iterator[AudioBlock]:
        blocks = _read_sound(path, sample_rate, channels)
        return chain([next(blocks)], blocks)  # what is wrong with the sound shows here, not at the first block


@dataclass(slots=True)
class _Clock:
    """Gives pictures strictly increasing times in ticks from time 0 of the source."""

    tick: Fraction  # seconds
    zero: int  # ticks
    step: int  # ticks from frame to frame, for pictures that do not tell
    last: int | None = None

    @classmethod
    def of(cls, source: Source) -> "_Clock":
        assert source.video is not None
        tick = source.video.time_base or Fraction(1, 1000)
        rate = source.video.guessed_rate or Fraction(25)
        return cls(tick, int(source.zero / tick), max(1, round(1 / (rate * tick))))

    def time(self, picture: av.VideoFrame) -> int:
        if picture.pts is not None:
            time = picture.pts - self.zero
        else:
            time = 0 if self.last is None else self.last + (picture.duration or self.step)
        if self.last is not None and time <= self.last:
            time = self.last + 1
        self.last = time
        return time


def _deliver(
    stack: ExitStack,
    delivery: Delivery,
    clock: _Clock,
    pictures: Iterator[av.VideoFrame],
    start: Fraction | None,
    end: Fraction | None,
) -> Iterator[Frame]:
    first = None if start is None else ceil(start / clock.tick)
    after = None if end is None else ceil(end / clock.tick)
    with stack:
        for picture in pictures:
            time = clock.time(picture)
            if after is not None and time >= after:
                return
            if first is None or time >= first:
                yield delivery.deliver(picture, time)


def _seek(stack: ExitStack, source: Source, start: Fraction, begin: Fraction) -> Iterator[av.VideoFrame]:
    """Pictures from a keyframe at or before `start` (seconds) on; from the file's first where seeking fails.

    Demuxers seek by decoding time and may land on a keyframe that is shown after `start`: hence the steps back.
    """
    for back in _STEPS_BACK:
        target = start - back
        if target <= begin:
            break
        clock = _Clock.of(source)
        try:
            source.container.seek(int(target / clock.tick) + clock.zero, stream=source.video)
        except (FFmpegError, OverflowError):  # OverflowError: no file is as long as that
            break
        pictures = source.decode_video()
        first = next(pictures, None)
        if first is not None and first.pts is not None and clock.time(first) * clock.tick <= start:
            return chain([first], pictures)
    return stack.enter_context(open_source(source.path)).decode_video()


def _choose_delivery(first: av.VideoFrame, source: Source) -> Delivery:
    crop = read_crop(source.path, source.container.format.name, first.width, first.height)
    return choose_delivery(first, source.is_mirrored, source.is_photo, crop)


def _read_first(pictures: Iterator[av.VideoFrame], source: Source) -> av.VideoFrame:
    if source.video is None and "video" in source.undecodable:
        message = "The video is coded in a way that this decoder does not know. Convert it to H.264."
        raise Refusal("UNSUPPORTED_MEDIA", message)
    if source.video is None:
        raise Refusal("NO_VIDEO", "The file has no pictures. Send a video or a photo.")
    first = next(pictures, None)
    if first is None:
        raise refuse_broken(source.path)
    return first


def _read_sound(path: Path, sample_rate: int | None, channels: int | None) -> Iterator[AudioBlock]:
    with open_source(path) as source:
        yield from read_blocks(source, sample_rate, channels)
