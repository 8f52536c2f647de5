"""A heavy job beside lighter ones: it goes on at a share of its own speed, so that they are not held up.

Who feeds a job's frames in feeds all stages that they go through, here and on other hosts: there it is slowed.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

import structlog

from services.runtime.streams import in_thread

_LOOK_SECONDS = 0.5  # between looks for lighter jobs
_MOST_SECONDS = 2.0  # of one rest: no stage is to take it for silence
_FILLING = 8  # batches that are on their way through the stages before the first one is through
_MEASURED = 8  # batches of which the mean is taken

_log = structlog.get_logger("pace")


class Pace:
    """Of one job: at full speed, or at `share` of it for as long as `look` finds lighter jobs. `look` may block."""

    def __init__(self, share: float, look: Callable[[], bool]) -> None:
        self.share = share
        self.slowed = False
        self._look = look

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Looks for lighter jobs for as long as the block lasts."""
        looking = asyncio.ensure_future(self._keep()) if self.share < 1 else None
        try:
            yield
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self.slowed = await in_thread(self._look)
            except Exception as error:  # the store is out of reach: nobody is known to be held up
                _log.warning("cannot look for lighter jobs", error=str(error))
                self.slowed = False


class Stride:
    """Of one run of frames: how long a batch takes at full speed, and the rest after it at less."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._seconds: float | None = None  # of a batch at full speed, once that is known
        self._begun: deque[float] = deque(maxlen=_MEASURED + 1)
        self._filling = _FILLING
        self._last = 0.0

    async def rest(self) -> None:
        """Between two batches. The first ones pass at full speed: by them it is known."""
        now = asyncio.get_running_loop().time()
        if self._pace.slowed and self._seconds is not None:
            self._begun.clear()
            await asyncio.sleep(min(self._last + self._seconds / self._pace.share - now, _MOST_SECONDS))
        elif self._filling:
            self._filling -= 1
        else:
            self._begun.append(now)
            if len(self._begun) > _MEASURED:
                self._seconds = (now - self._begun[0]) / _MEASURED
        self._last = asyncio.get_running_loop().time()
