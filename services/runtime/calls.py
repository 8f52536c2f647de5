"""The client's side of every batch stream: credit, stalls, and what ended a call."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from services.runtime.picture_rings import PictureRings
from services.runtime.wire import Packet
from syncline.errors import ServiceUnavailable, Stalled, SynclineError, from_rpc_error

_WRITE_FAILED = "Internal error from Core"  # gRPC's own words


class ClientStream:
    """One call as its client sees it. Use as `async with`; leaving it early cancels the call.

    Raises the classes of syncline.errors; Stalled when the server says nothing for `stall` seconds (None: ever).
    """

    def __init__(
        self,
        method: Any,
        open_request: Any,
        metadata: Sequence[tuple[str, str]],
        stall: float | None = 120,
        peer: str = "the server",
    ) -> None:
        self._peer = peer  # as errors name it
        self._call = method(metadata=metadata)
        self._ended: grpc.aio.AioRpcError | None = None
        self._call.add_done_callback(self._note_ending)
        self._open_request = open_request
        self._stall = stall
        self._credit = asyncio.Semaphore(0)
        self._rings: PictureRings | None = None
        self.opened: Any = None
        self.failure: Exception | None = None  # what the call raised, once it has

    async def __aenter__(self) -> "ClientStream":
        try:
            await self._write(self._open_request)
            first = await self.read()
            if first is None or first.message.WhichOneof("message") != "opened":
                self.failure = Stalled(f"{self._peer} ended the stream without opening it")
                raise self.failure
            self.opened = first.message.opened
            self._rings = PictureRings.accept(self.opened.terms)
            self.grant(self.opened.terms.credits)
            return self
        except BaseException:
            self._call.cancel()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        self._call.cancel()  # does nothing to a call that has ended
        if self._rings is not None:
            self._rings.close()

    def grant(self, credits: int) -> None:
        """Gives credit back: for an answered batch, or as the server's Credit says."""
        for _ in range(credits):
            self._credit.release()

    async def send_batch(self, packet: Packet) -> None:
        """Waits for credit, then sends."""
        await self._credit.acquire()
        await self._write(packet)

    async def send(self, packet: Any) -> None:
        """Sends what needs no credit."""
        await self._write(packet)

    async def half_close(self) -> None:
        await self._call.done_writing()

    async def read(self) -> Packet | None:
        """The next message; None at the end of a stream that ended well."""
        try:
            async with asyncio.timeout(self._stall):  # unlike wait_for of Python 3.11 it swallows no cancel
                message = await self._call.read()
        except TimeoutError:
            self.failure = Stalled(f"no answer from {self._peer} for {self._stall:g} seconds")
            raise self.failure from None
        except grpc.RpcError as error:
            self.failure = await self._ending()
            raise self.failure from error
        if message is grpc.aio.EOF:
            return None
        if not isinstance(message, Packet):
            return Packet(message)  # light messages come as they are
        return message if self._rings is None else self._rings.fetch(message)

    async def exchange(self, packets: AsyncIterator[Packet]) -> AsyncIterator[Packet]:
        """Sends the packets as credit allows, half-closes, and yields all answers up to Completed."""
        sender = asyncio.ensure_future(self._send_all(packets))
        try:
            while (packet := await self._read_or_fail(sender)) is not None:
                kind = packet.message.WhichOneof("message")
                if kind == "completed":
                    continue
                if kind == "credit":
                    self.grant(packet.message.credit.batches)
                elif kind not in ("error", "progress"):
                    self.grant(1)
                    yield packet
                else:
                    yield packet
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)  # an error told twice is told once

    async def _send_all(self, packets: AsyncIterator[Packet]) -> None:
        async for packet in packets:
            await self.send_batch(packet)
        await self.half_close()

    async def _read_or_fail(self, sender: "asyncio.Future[None]") -> Packet | None:
        """The next answer; the sender's error when that comes first: it is the cause, the stall only follows."""
        reader = asyncio.ensure_future(self.read())
        try:
            waiting: set[asyncio.Future[Any]] = (
                {reader} if sender.done() and not sender.exception() else {reader, sender}
            )
            while reader not in (await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))[0]:
                sender.result()
                waiting = {reader}
            return reader.result()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _write(self, packet: Any) -> None:
        if self._rings is not None:
            packet = self._rings.place(packet)
        try:
            await self._call.write(packet)
        except (grpc.RpcError, asyncio.InvalidStateError):
            self.failure = await self._ending()
            raise self.failure from None  # the call has ended, and its status says why

    async def _ending(self) -> Exception:
        """What ended the call, once a read or write has failed on it."""
        for _ in range(20):  # a write that meets the end marks the call before the status that ended it is read
            if self._call.done():
                self._note_ending(self._call)
            if self._ended is not None and self._ended.details() != _WRITE_FAILED:
                break
            await asyncio.sleep(0.05)
        if self._ended is None:
            return Stalled(f"{self._peer} ended the stream without saying why")
        if self._ended.code() == grpc.StatusCode.OK:
            return Stalled(f"{self._peer} ended the stream before all was sent")
        if self._ended.details() == _WRITE_FAILED:  # the server died: no status was sent, and none will come
            return ServiceUnavailable(f"{self._peer} broke off the stream")
        return name_peer(from_rpc_error(self._ended), self._peer)

    def _note_ending(self, call: Any) -> None:
        """Keeps the status that ended the call: a write that fails at the same moment overwrites it with its own."""
        if self._ended is None or self._ended.details() == _WRITE_FAILED:
            status = _status_of(call)
            try:
                status.send(None)  # a call that has ended answers at once; a task would be too late
            except StopIteration as answer:
                self._ended = answer.value
            finally:
                status.close()


def name_peer(error: SynclineError, peer: str) -> SynclineError:
    """The error, saying who could not be reached where gRPC says only at which address."""
    if isinstance(error, ServiceUnavailable):
        return ServiceUnavailable(f"{peer} cannot be reached: {error.message}", error.metadata)
    return error


async def _status_of(call: Any) -> grpc.aio.AioRpcError:
    code, details, trailing = await call.code(), await call.details(), await call.trailing_metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)
