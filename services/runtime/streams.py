"""The server's side of every batch stream: Open, Opened, batches by sequence, errors of items, Completed."""

import asyncio
import contextlib
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Self, TypeVar

from services.runtime import metrics, tracing
from services.runtime.blobs import PIECE_BYTES, Blob, Spool
from services.runtime.config import MAX_MESSAGE_BYTES
from services.runtime.convert import from_engine_info
from services.runtime.engine import EngineInfo
from services.runtime.interceptors import as_failure
from services.runtime.picture_rings import PictureRings
from services.runtime.process import return_freed_memory
from services.runtime.refusal import Refusal, attempt
from services.runtime.wire import Packet
from syncline.errors import to_status
from syncline.v1 import media_pb2

Result = TypeVar("Result")

CREDITS = 3  # one batch at work, one waiting, one on its way
MAX_BATCH_ITEMS = 64
MAX_BLOB_BYTES = 64 * 1024 * 1024


class ServerStream:
    """One call as its servicer sees it: checks the order of what comes in, counts what goes out.

    Raises Refusal OUT_OF_ORDER, INVALID_BATCH, BATCH_TOO_LARGE, INVALID_OPTION, CHECKSUM_MISMATCH.
    """

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests
        self._sequences: dict[str, int] = {}
        self._batches = self._items = self._failed = 0
        self._method = metrics.serving.get()
        self._waiting: deque[tuple[float, int, str]] = deque()  # batches: time.monotonic(), bytes, traceparent
        self._answered = 0.0  # time.monotonic() of the last answer, until the next batch is asked for
        self._rings: PictureRings | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._rings is not None:
            self._rings.close()

    def share(self, terms: media_pb2.StreamTerms, wanted: Any, answers: bool = False) -> media_pb2.StreamTerms:
        """The terms, with shared memory for pictures where `wanted`, the Open, allows. For use as `with`.

        `answers`: pictures come back, too, each batch through `place`.
        """
        self._rings = PictureRings.offer(terms, wanted.transports, wanted.shared_memory, answers)
        return terms

    def place(self, answer: Packet) -> Packet:
        """What to send for an answer that may hold pictures."""
        return answer if self._rings is None else self._rings.place(answer)

    async def read_open(self) -> Any:
        """The Open that must come first."""
        first = await anext(self._requests, None)
        if first is None or first.message.WhichOneof("message") != "open":
            raise Refusal("OUT_OF_ORDER", "the first message of the stream must be open")
        return first.message.open

    async def packets(self, *kinds: str) -> AsyncIterator[tuple[str, Packet]]:
        """(kind, packet) of all messages up to the half-close; sequences are checked for each kind by itself."""
        try:
            asked = time.monotonic()
            while (packet := await self._next()) is not None:
                self._note_arrival(packet, asked)
                kind = packet.message.WhichOneof("message")
                if kind not in kinds:
                    wanted = " or ".join(kinds)
                    raise Refusal("OUT_OF_ORDER", f"got {kind or 'an empty message'} where {wanted} may come")
                self._check(kind, getattr(packet.message, kind))
                yield kind, packet
                asked = time.monotonic()
        finally:
            while self._waiting:
                self._leave()

    async def read_blobs(self, kind: str, digests: Sequence[str]) -> dict[str, Blob]:
        """The blobs asked for, whole and checked, sent in messages of `kind` before anything else.

        They lie in temporary files. Raises Refusal DISK_FULL too.
        """
        missing = set(digests)
        spools = {digest: Spool() for digest in missing}
        hashes = {digest: hashlib.sha256() for digest in missing}
        while missing:
            packet = await self._next()
            if packet is None or packet.message.WhichOneof("message") != kind:
                raise Refusal("OUT_OF_ORDER", f"{kind} must bring {', '.join(sorted(missing))} first")
            chunk = getattr(packet.message, kind)
            if chunk.digest not in missing or chunk.offset != spools[chunk.digest].size:
                raise Refusal("OUT_OF_ORDER", f"a piece of blob {chunk.digest} at byte {chunk.offset} was not due")
            spool, hashed = spools[chunk.digest], hashes[chunk.digest]
            if chunk.total_bytes > MAX_BLOB_BYTES or spool.size + len(packet.data) > chunk.total_bytes:
                raise Refusal(
                    "BATCH_TOO_LARGE", f"blob {chunk.digest} is above {MAX_BLOB_BYTES} bytes or what it announced"
                )
            await in_thread(spool.append, packet.data)
            await in_thread(hashed.update, packet.data)
            if spool.size == chunk.total_bytes:
                if hashed.hexdigest() != chunk.digest:
                    raise Refusal("CHECKSUM_MISMATCH", f"blob {chunk.digest} arrived altered")
                missing.remove(chunk.digest)
        return dict(spools)

    def answered(self, items: int, failed: int = 0) -> None:
        """Counts a batch that was answered."""
        self._batches += 1
        self._items += items
        self._failed += failed
        metrics.BATCHES.labels(self._method).inc()
        metrics.ITEMS.labels(self._method).inc(items)
        metrics.ITEMS_FAILED.labels(self._method).inc(failed)
        metrics.BATCH_ITEMS.labels(self._method).observe(items)
        self._answered = time.monotonic()
        if self._waiting:
            came, size, traceparent = self._leave()
            self._part("compute", self._answered - came)
            tracing.note_batch(came, traceparent, method=self._method, items=items, bytes=size)

    def _note_arrival(self, packet: Packet, asked: float) -> None:
        came, size = time.monotonic(), sum(map(len, packet.payload))
        if self._answered and not self._waiting:
            self._part("output", asked - self._answered)
        self._part("input", came - asked)
        self._waiting.append((came, size, getattr(packet.message, "traceparent", "")))
        metrics.BYTES_RUNNING.labels(self._method).inc(size)

    def _leave(self) -> tuple[float, int, str]:
        left = self._waiting.popleft()
        metrics.BYTES_RUNNING.labels(self._method).dec(left[1])
        return left

    def _part(self, part: str, seconds: float) -> None:
        metrics.BATCH_SECONDS.labels(self._method, part).observe(max(0.0, seconds))

    def completed(self) -> media_pb2.Completed:
        return media_pb2.Completed(batches=self._batches, items=self._items, failed_items=self._failed)

    async def _next(self) -> Packet | None:
        packet = await anext(self._requests, None)
        return packet if self._rings is None or packet is None else self._rings.fetch(packet)

    def _check(self, kind: str, batch: Any) -> None:
        due = self._sequences.get(kind, 0)
        if batch.sequence != due:
            raise Refusal("OUT_OF_ORDER", f"{kind} with sequence {batch.sequence} came where {due} was due", due=due)
        self._sequences[kind] = due + 1
        for name in ("frames", "crops", "points", "mouths"):
            if len(getattr(batch, name, ())) > MAX_BATCH_ITEMS:
                raise Refusal("BATCH_TOO_LARGE", f"a batch may hold {MAX_BATCH_ITEMS} items", limit=MAX_BATCH_ITEMS)


def grant_terms(engine: EngineInfo, transports: Sequence[int], credits: int = CREDITS) -> media_pb2.StreamTerms:
    """What Opened grants. Raises Refusal INVALID_OPTION when the client cannot do what every server can."""
    if transports and media_pb2.TRANSPORT_INLINE not in transports:
        raise Refusal("INVALID_OPTION", "open must offer TRANSPORT_INLINE, beside whatever else the client can do")
    return media_pb2.StreamTerms(
        transport=media_pb2.TRANSPORT_INLINE,
        credits=credits,
        max_batch_items=MAX_BATCH_ITEMS,
        max_message_bytes=MAX_MESSAGE_BYTES,
        engine=from_engine_info(engine),
    )


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Runs blocking work off the event loop: a blocked loop fails its own health check.

    A caller that is cancelled waits for the end of the work: nothing that it uses, such as an encoder, may be closed
    under it.
    """
    asked = time.monotonic()

    def run() -> Result:
        metrics.QUEUE_SECONDS.observe(time.monotonic() - asked)
        return work(*arguments)

    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # seen; the cancellation is what counts
        raise


async def finish_in_thread(work: Callable[[], Result], method: str) -> Result:
    """The last work of a stream, in a span of its own. It takes the most memory, which afterwards nobody needs."""
    with tracing.span("finish", method=method):
        done = await in_thread(work)
    await in_thread(return_freed_memory)
    return done


@contextlib.asynccontextmanager
async def entered_in_thread(manager: contextlib.AbstractContextManager[Result]) -> AsyncIterator[Result]:
    """`with` for what takes long to open and to close: both happen off the event loop."""
    entered = await in_thread(manager.__enter__)
    try:
        yield entered
    except BaseException as error:
        if not await in_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await in_thread(manager.__exit__, None, None, None)


async def each_item(
    work: Callable[[Any], Result], items: Sequence[Any], sequence: int
) -> tuple[list[Result], list[media_pb2.ItemError]]:
    """The results of the items that could be done, and an ItemError for each one refused."""
    return split_refused(await in_thread(lambda: [attempt(work, item) for item in items]), sequence)


def split_refused(answers: Sequence[Result | Refusal], sequence: int) -> tuple[list[Result], list[media_pb2.ItemError]]:
    """The results, and an ItemError for each refusal, of a batch whose items were answered in order."""
    results = [answer for answer in answers if not isinstance(answer, Refusal)]
    errors = [
        media_pb2.ItemError(sequence=sequence, item=number, status=to_status(as_failure(answer)))
        for number, answer in enumerate(answers)
        if isinstance(answer, Refusal)
    ]
    return results, errors


async def blob_chunks(blob: Blob) -> AsyncIterator[tuple[media_pb2.BlobChunk, list[bytes]]]:
    """The pieces of a blob, each without its data, and the data's buffers."""
    digest = await in_thread(blob.hash)
    for offset in range(0, max(blob.size, 1), PIECE_BYTES):
        chunk = media_pb2.BlobChunk(digest=digest, total_bytes=blob.size, offset=offset)
        yield chunk, [await in_thread(blob.read, offset, PIECE_BYTES)]
