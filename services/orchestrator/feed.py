"""Source frames for rendering: one decoder stream is kept open from segment to segment for as long as it plays on."""

from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from types import TracebackType

import numpy as np

from services.orchestrator.encoding import Picture, PictureStock
from services.orchestrator.stages import FrameReader, Metadata, Stages
from syncline.errors import InternalError


class FrameFeed:
    """Frames of one source by number. `pts` (frames,) int64 in `time_base` seconds: when each is shown.

    Opening a stream anew costs decoding from the keyframe before; asking for the frames that come next costs nothing.
    Use as `async with`. Raises the errors of the decoder's stream, and InternalError when its frames are not those that
    the analysis saw.
    """

    def __init__(self, stages: Stages, source: str, pts: np.ndarray, time_base: Fraction, metadata: Metadata) -> None:
        self._stages = stages
        self._source = source
        self._pts = pts
        self._time_base = time_base
        self._metadata = metadata
        self._reader: FrameReader[Picture] | None = None
        self._batches: AsyncIterator[list[Picture]] | None = None
        self._ahead: Sequence[Picture] = ()
        self._next = -1
        self.stock = PictureStock()

    async def __aenter__(self) -> "FrameFeed":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def pictures(self, first: int, last: int) -> AsyncIterator[Sequence[Picture]]:
        """The frames from `first` to `last`, both included, a few at a time.

        They are the caller's to draw on, and to give back to the stock.
        """
        if first != self._next:
            await self._open(first)
        while self._next <= last:
            if not self._ahead:
                self._ahead = await self._read()
            taken, self._ahead = self._ahead[: last + 1 - self._next], self._ahead[last + 1 - self._next :]
            for _, frame in taken:
                if frame.pts != self._pts[self._next]:
                    raise InternalError(f"the decoder gave a frame at {frame.pts} that the analysis did not see")
                self._next += 1
            yield taken

    async def _open(self, first: int) -> None:
        await self.close()
        begin = int(self._pts[first]) * self._time_base
        reader = self._stages.decode_frames(self._source, self._metadata, self.stock.take, begin)
        self._reader = await reader.__aenter__()
        self._batches = aiter(reader)
        self._ahead, self._next = (), first

    async def _read(self) -> Sequence[Picture]:
        batch = None if self._batches is None else await anext(self._batches, None)
        if not batch:
            raise InternalError(f"the decoder ended at frame {self._next} of the {len(self._pts)} that it gave before")
        return batch

    async def close(self) -> None:
        """Lets the stream go; the frames that are asked for next open another."""
        self._next = -1
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.__aexit__(None, None, None)
