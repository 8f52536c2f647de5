"""Interlaced pictures -> whole ones, by FFmpeg's bwdif: a frame for a frame, its time kept."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as AllGiven

from services.decoder.engines._source import Source

CONTEXT = 2  # frames before the first one wanted, which the filter looks at
_BWDIF = "mode=send_frame:parity=auto:deint=interlaced"  # what is not marked as interlaced passes as it is
_PROGRESSIVE = (None, 0, 1)  # field orders of streams without fields; None, 0: not told


def may_be_interlaced(source: Source, first: av.VideoFrame) -> bool:
    """By its first picture, or by what the file says of all."""
    told = None if source.video is None else source.video.codec_context.field_order
    return first.interlaced_frame or told not in _PROGRESSIVE


def deinterlace(pictures: Iterator[av.VideoFrame], tick: Fraction) -> Iterator[av.VideoFrame]:
    """The pictures, from the first interlaced one on through the filter; their times stay in ticks of `tick` seconds.

    A picture comes out the same wherever the run begins, if it begins CONTEXT frames before it.
    """
    before: av.VideoFrame | None = None
    for picture in pictures:
        if picture.interlaced_frame:
            known = [picture] if before is None else [before, picture]
            filtered = _filter(chain(known, pictures), tick)
            if before is not None:
                next(filtered, None)  # has been given
            yield from filtered
            return
        yield picture
        before = picture


def _filter(pictures: Iterator[av.VideoFrame], tick: Fraction) -> Iterator[av.VideoFrame]:
    graph: _Graph | None = None
    for picture in pictures:
        if graph is not None and not graph.takes(picture):  # the stream changes its form midway
            yield from graph.push(None)
            graph = None
        if graph is None:
            graph = _Graph(picture, tick)
        yield from graph.push(picture)
    if graph is not None:
        yield from graph.push(None)


class _Graph:
    """The filter for pictures of one form."""

    def __init__(self, picture: av.VideoFrame, tick: Fraction) -> None:
        self._form, self._tick = _form_of(picture), tick
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=tick
        )
        bwdif, sink = self._graph.add("bwdif", _BWDIF), self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def takes(self, picture: av.VideoFrame) -> bool:
        return _form_of(picture) == self._form

    def push(self, picture: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What comes out once `picture` is in; with None, all that is left."""
        self._graph.push(picture)
        while True:
            try:
                filtered = self._graph.pull()
            except (NothingYet, AllGiven):
                return
            assert isinstance(filtered, av.VideoFrame)
            if filtered.pts is not None and filtered.time_base is not None:  # bwdif counts in halves of a tick
                filtered.pts = round(filtered.pts * filtered.time_base / self._tick)
            filtered.time_base = self._tick
            yield filtered


def _form_of(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name
