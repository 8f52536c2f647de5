"""How throughput grows with restorers: python -m benchmarks.dispatch [SECONDS_PER_BATCH]

One, two and three restorer processes of fixed cost on addresses of their own, a worker's dispatcher before them; then
one of three is killed in mid-work, and a fourth joins.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from functools import partial

from benchmarks.fixed_cost import Replica, is_answer_to, make_packet, replica
from services.orchestrator.discovery import Discovery, Endpoint, FixedList
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.pool import Pool
from services.orchestrator.stages import open_restorer
from syncline.v1 import restorer_pb2_grpc

_BATCHES = 60  # for one restorer


class Roster:
    """Replicas that come and go as the benchmark says."""

    def __init__(self) -> None:
        self._sets: asyncio.Queue[frozenset[Endpoint]] = asyncio.Queue()

    def tell(self, *addresses: str) -> None:
        self._sets.put_nowait(frozenset(map(Endpoint, addresses)))

    async def watch(self) -> AsyncIterator[frozenset[Endpoint]]:
        while True:
            yield await self._sets.get()


@contextlib.asynccontextmanager
async def dispatching(discovery: Discovery, wait: float = 20) -> AsyncIterator[Dispatcher]:
    pool = Pool("restorer", discovery, restorer_pb2_grpc.RestorerServiceStub, wait)
    dispatcher = Dispatcher(pool, open_restorer, stall=60)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        await pool.close()
        await asyncio.sleep(0.1)  # what was cancelled has ended before its loop has


async def pass_all(dispatcher: Dispatcher, count: int) -> float:
    """Seconds for so many batches, of which as many are under way as there is credit."""
    begun = time.monotonic()

    async def one(number: int) -> None:
        ((answer,), _) = await dispatcher.exchange(partial(make_packet, number))
        assert is_answer_to(number, answer)

    await asyncio.gather(*map(one, range(count)))
    return time.monotonic() - begun


async def measure(replicas: list[Replica], seconds: float) -> None:
    base = 0.0
    for count in (1, 2, 3):
        async with dispatching(FixedList([each.address for each in replicas[:count]])) as dispatcher:
            await pass_all(dispatcher, 3 * count)  # streams are open
            rate = _BATCHES * count / await pass_all(dispatcher, _BATCHES * count)
        base = base or rate
        print(f"{count} restorers: {rate:6.1f} batches/s, {rate / base:.2f} x one; ideal {count / seconds:.1f}")
    roster = Roster()
    roster.tell(*(each.address for each in replicas[:3]))
    async with dispatching(roster) as dispatcher:
        await pass_all(dispatcher, 9)
        work = asyncio.ensure_future(pass_all(dispatcher, 3 * _BATCHES))
        await asyncio.sleep(10 * seconds)
        replicas[0].send(signal.SIGKILL)
        await asyncio.sleep(10 * seconds)
        roster.tell(*(each.address for each in replicas[1:]))
        told, fourth = time.monotonic(), replicas[3].address
        while fourth not in dispatcher.answered:
            await asyncio.sleep(0.005)
        joined = time.monotonic() - told
        await work
    print(f"one of three killed: every batch answered, {dispatcher.resent} sent again")
    print(f"a fourth answered its first batch {joined:.2f} s after it was ready, a batch taking {seconds:g} s")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(replica(f"127.0.0.{number}", seconds)) for number in range(2, 6)]
        asyncio.run(measure(replicas, seconds))


if __name__ == "__main__":
    main()
