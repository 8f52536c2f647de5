"""Dynamic batching: items of all streams share the batches that one device runs.

An item waits at most `max_queue_delay` for others. Callers (jobs) of the highest priority come first and take turns,
item by item, so that a long job does not starve a short one; whoever has waited for long gets one place of each batch,
so that nobody starves. When the device runs out of memory the batch is halved and the size that fitted is remembered;
after a while a larger one is tried again.
"""

import os
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import structlog

from services.runtime.backends import Backend, BackendConfig, DeviceLost, OutOfMemory
from services.runtime.engine import ANYBODY, Caller
from services.runtime.refusal import Refusal

_log = structlog.get_logger("batching")
_PATIENCE = 2.0  # seconds; an item that has waited longer goes before others, one in each batch
_GOOD_BATCHES = 64  # in a row, after which a batch twice as large is tried again

Arrays = list[np.ndarray]


@dataclass(slots=True)
class _Item:
    """One face, say: its arrays without the batch axis, and where its results go."""

    caller: Caller
    inputs: Sequence[np.ndarray]
    since: float  # seconds, monotonic
    result: "Future[Arrays]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class BatchingFigures:
    """What has run so far; `items` / `batches` is the mean batch."""

    items: int
    batches: int
    ceiling: int  # items that a batch may have now
    waiting: int


class Batcher:
    """Runs items on a backend, many at a time. Safe to call from several threads.

    `when_lost` is called once when the device is beyond repair; as it stands it ends the process, to be replaced.
    """

    def __init__(self, backend: Backend, config: BackendConfig, when_lost: Callable[[], None] | None = None) -> None:
        self._backend = backend
        self._most = self._ceiling = config.max_batch_size
        self._delay = config.max_queue_delay
        self._when_lost = when_lost or _end_process
        self._good = self._items = self._batches = 0
        self._lost = self._closed = False
        self._queues: OrderedDict[Caller, deque[_Item]] = OrderedDict()  # whose turn it is comes first
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(config.instances)
        ]
        for worker in self._workers:
            worker.start()

    def run(self, items: Sequence[Sequence[np.ndarray]], caller: Caller = ANYBODY) -> list[Arrays]:
        """The outputs of each item, in order; arrays without the batch axis, float32.

        Raises Refusal DEVICE_EXHAUSTED when not even one item fits, SERVICE_UNAVAILABLE when the device is lost.
        """
        waiting = [_Item(caller, inputs, time.monotonic()) for inputs in items]
        with self._changed:
            if self._lost or self._closed:
                raise _unavailable()
            self._queues.setdefault(caller, deque()).extend(waiting)
            self._changed.notify_all()
        return [item.result.result() for item in waiting]

    @property
    def figures(self) -> BatchingFigures:
        with self._changed:
            return BatchingFigures(self._items, self._batches, self._ceiling, self._count())

    def close(self) -> None:
        """Ends the workers; what waits is refused."""
        with self._changed:
            self._closed = True
            self._refuse_all()
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            outputs, fault = self._try(batch)
            if outputs is not None:
                self._settle(batch, outputs)
            elif isinstance(fault, OutOfMemory):
                self._shrink(batch)
            elif isinstance(fault, DeviceLost):
                self._lose(batch)
            else:
                for item in batch:
                    item.result.set_exception(fault)

    def _try(self, batch: list[_Item]) -> tuple[list[Arrays] | None, Exception | None]:
        """Never raises: what failed must be forgotten, its tensors freed, before anything smaller is tried."""
        try:
            stacked = [np.stack(arrays) for arrays in zip(*(item.inputs for item in batch), strict=True)]
            outputs = self._backend.run(stacked)
            return [[output[place] for output in outputs] for place in range(len(batch))], None
        except Exception as error:
            return None, error.with_traceback(None)

    def _take(self) -> list[_Item] | None:
        """The next batch: as soon as it is full, or its oldest item has waited enough. None at the end."""
        with self._changed:
            while not self._closed:
                count = self._count()
                if count >= self._ceiling:
                    return self._draw()
                if not count:
                    self._changed.wait()
                    continue
                oldest = min(queue[0].since for queue in self._queues.values())
                left = oldest + self._delay - time.monotonic()
                if left <= 0:
                    return self._draw()
                self._changed.wait(left)
            return None

    def _draw(self) -> list[_Item]:
        batch: list[_Item] = []
        while self._queues and len(batch) < self._ceiling:
            caller = self._choose(patient=not batch)
            queue = self._queues[caller]
            batch.append(queue.popleft())
            if queue:
                self._queues.move_to_end(caller)
            else:
                del self._queues[caller]
        return batch

    def _choose(self, patient: bool) -> Caller:
        """Whose item comes next; `patient`: the one that has waited longest, if that is too long."""
        if patient:
            longest = min(self._queues, key=lambda caller: self._queues[caller][0].since)
            if time.monotonic() - self._queues[longest][0].since > _PATIENCE:
                return longest
        return max(self._queues, key=lambda caller: caller.priority)  # the first of them: whose turn it is

    def _settle(self, batch: list[_Item], outputs: list[Arrays]) -> None:
        with self._changed:
            self._items += len(batch)
            self._batches += 1
            self._good += 1
            if self._good >= _GOOD_BATCHES and self._ceiling < self._most:
                self._good, self._ceiling = 0, min(2 * self._ceiling, self._most)
        for item, arrays in zip(batch, outputs, strict=True):
            item.result.set_result(arrays)

    def _shrink(self, batch: list[_Item]) -> None:
        with self._changed:
            self._good = 0
            self._ceiling = max(1, min(self._ceiling, len(batch) // 2))
            _log.warning("out of device memory", batch=len(batch), ceiling=self._ceiling)
            if len(batch) > 1 and not self._closed:
                for item in reversed(batch):  # back in front of their queues
                    self._queues.setdefault(item.caller, deque()).appendleft(item)
                self._changed.notify_all()
                return
        message = "the device has no memory for even one item now; try again, or elsewhere"
        for item in batch:
            item.result.set_exception(Refusal("DEVICE_EXHAUSTED", message))

    def _lose(self, batch: list[_Item]) -> None:
        with self._changed:
            first, self._lost = not self._lost, True
            self._refuse_all()
        if first:
            _log.error("the device is lost; this process ends, to be replaced")
            self._when_lost()
        for item in batch:
            item.result.set_exception(_unavailable())

    def _refuse_all(self) -> None:
        for queue in self._queues.values():
            for item in queue:
                item.result.set_exception(_unavailable())
        self._queues.clear()

    def _count(self) -> int:
        return sum(map(len, self._queues.values()))


def _unavailable() -> Refusal:
    return Refusal("SERVICE_UNAVAILABLE", "the device that runs this network is lost; another replica may serve")


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
