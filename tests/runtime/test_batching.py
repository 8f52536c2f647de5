"""Dynamic batching on devices that are not there: one that has little memory, one that is slow, one that breaks."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.runtime import batching
from services.runtime.backends import BackendConfig, DeviceLost, OutOfMemory
from services.runtime.batching import Batcher
from services.runtime.engine import Caller
from services.runtime.refusal import Refusal


class Device:
    """Doubles its input. Has memory for `room` items at once, and takes `seconds` for a batch however large."""

    def __init__(self, room: int = 1000, seconds: float = 0.0) -> None:
        self.room, self.seconds = room, seconds
        self.batches: list[list[float]] = []  # what ran
        self.gate = threading.Event()
        self.gate.set()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.gate.wait(5)
        (values,) = inputs
        if len(values) > self.room:
            raise OutOfMemory(f"{len(values)} items")
        time.sleep(self.seconds)
        self.batches.append(values[:, 0].tolist())
        return [2 * values]


@pytest.fixture
def opened() -> Iterator[list[Batcher]]:
    batchers: list[Batcher] = []
    yield batchers
    for batcher in batchers:
        batcher.close()


def make(opened: list[Batcher], device: object, most: int = 8, delay: float = 0.02) -> Batcher:
    batcher = Batcher(device, BackendConfig(max_batch_size=most, max_queue_delay=delay))  # type: ignore[arg-type]
    opened.append(batcher)
    return batcher


def items(*values: float) -> list[list[np.ndarray]]:
    return [[np.array([value], np.float32)] for value in values]


def results(batcher: Batcher, *values: float, owner: str = "", priority: int = 0) -> list[float]:
    return [float(output[0][0]) for output in batcher.run(items(*values), Caller(owner, priority))]


def test_every_item_gets_its_own_result(opened: list[Batcher]) -> None:
    batcher = make(opened, Device())
    assert results(batcher, *range(20)) == [2 * value for value in range(20)]


def test_items_of_several_streams_share_a_batch(opened: list[Batcher]) -> None:
    device = Device()
    device.gate.clear()
    batcher = make(opened, device, delay=0.1)
    with ThreadPoolExecutor(8) as streams:
        answers = [streams.submit(results, batcher, number, owner=str(number)) for number in range(8)]
        while batcher.figures.waiting:
            time.sleep(0.005)
        device.gate.set()
        assert [answer.result(5) for answer in answers] == [[2 * number] for number in range(8)]
    assert [len(batch) for batch in device.batches] == [8]


def test_an_item_alone_does_not_wait_for_long(opened: list[Batcher]) -> None:
    device = Device()
    assert results(make(opened, device, delay=0.01), 7) == [14]
    assert device.batches == [[7]]


def test_owners_take_turns(opened: list[Batcher]) -> None:
    device = Device()
    device.gate.clear()
    batcher = make(opened, device, most=4, delay=0)
    with ThreadPoolExecutor(3) as streams:
        streams.submit(results, batcher, 0)  # keeps the device busy while the others queue up
        while batcher.figures.waiting:
            time.sleep(0.005)
        long = streams.submit(results, batcher, *range(100, 112), owner="long")
        while batcher.figures.waiting < 12:
            time.sleep(0.005)
        short = streams.submit(results, batcher, 1, 2, owner="short")
        while batcher.figures.waiting < 14:
            time.sleep(0.005)
        device.gate.set()
        assert short.result(5) == [2, 4]
        assert len(long.result(5)) == 12
    assert sorted(device.batches[1]) == [1, 2, 100, 101]


def test_the_urgent_go_first_and_who_has_waited_too_long_is_not_forgotten(
    opened: list[Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_PATIENCE", 0.3)
    device = Device(seconds=0.05)
    device.gate.clear()
    batcher = make(opened, device, most=2, delay=0)
    with ThreadPoolExecutor(3) as streams:
        streams.submit(results, batcher, 0)  # keeps the device busy while the others queue up
        while batcher.figures.waiting:
            time.sleep(0.005)
        usual = streams.submit(results, batcher, 1, 2, owner="usual")
        while batcher.figures.waiting < 2:
            time.sleep(0.005)
        urgent = streams.submit(results, batcher, *range(100, 120), owner="urgent", priority=5)
        while batcher.figures.waiting < 22:
            time.sleep(0.005)
        device.gate.set()
        assert usual.result(5) == [2, 4]
        assert len(urgent.result(5)) == 20
    assert device.batches[1:4] == [[100, 101], [102, 103], [104, 105]]
    patient = [batch for batch in device.batches if 1 in batch or 2 in batch]
    assert [len([value for value in batch if value < 100]) for batch in patient] == [1, 1]
    assert device.batches.index(patient[-1]) < len(device.batches) - 1


def test_out_of_memory_halves_the_batch_and_remembers(opened: list[Batcher]) -> None:
    device = Device(room=3)
    batcher = make(opened, device)
    assert results(batcher, *range(8)) == [2 * value for value in range(8)]
    assert batcher.figures.ceiling == 2
    results(batcher, *range(8))
    assert max(map(len, device.batches)) == 2


def test_larger_batches_are_tried_again_when_all_goes_well(
    opened: list[Batcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_GOOD_BATCHES", 3)
    device = Device(room=1)
    batcher = make(opened, device)
    results(batcher, *range(2))
    assert batcher.figures.ceiling == 1
    device.room = 1000
    results(batcher, *range(40))
    assert batcher.figures.ceiling == 8


def test_not_even_one_item_fits(opened: list[Batcher]) -> None:
    device = Device(room=0)
    batcher = make(opened, device)
    with pytest.raises(Refusal) as refused:
        results(batcher, 1, 2)
    assert refused.value.reason == "DEVICE_EXHAUSTED"
    device.room = 1000
    assert results(batcher, 3) == [6]  # the next caller is served


def test_an_error_of_one_batch_is_told_and_the_next_is_served(opened: list[Batcher]) -> None:
    class Fussy(Device):
        def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            if inputs[0].min() < 0:
                raise ValueError("negative")
            return super().run(inputs)

    batcher = make(opened, Fussy())
    with pytest.raises(ValueError, match="negative"):
        results(batcher, -1)
    assert results(batcher, 1) == [2]


def test_a_lost_device_refuses_everybody_and_ends_the_process_once(opened: list[Batcher]) -> None:
    class Broken:
        def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            raise DeviceLost("an illegal memory access was encountered")

    ends: list[int] = []
    batcher = Batcher(Broken(), BackendConfig(max_batch_size=1, instances=2), lambda: ends.append(1))
    opened.append(batcher)
    for _ in range(3):
        with pytest.raises(Refusal) as refused:
            results(batcher, 1, 2, 3)
        assert refused.value.reason == "SERVICE_UNAVAILABLE"
    assert ends == [1]


def test_instances_work_at_the_same_time(opened: list[Batcher]) -> None:
    together = threading.Barrier(2)

    class Meeting:
        def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            together.wait(5)  # passes only when two batches are under way
            return list(inputs)

    batcher = Batcher(Meeting(), BackendConfig(max_batch_size=1, instances=2))
    opened.append(batcher)
    assert results(batcher, 1, 2) == [1, 2]


def test_a_slow_device_fills_its_batches(opened: list[Batcher]) -> None:
    device = Device(seconds=0.05)
    batcher = make(opened, device, delay=0.001)
    with ThreadPoolExecutor(6) as streams:
        for answer in [streams.submit(results, batcher, *range(4), owner=str(number)) for number in range(6)]:
            assert answer.result(10) == [0, 2, 4, 6]
    assert batcher.figures.batches <= 5  # 24 items, 8 at most in each, the first perhaps alone
