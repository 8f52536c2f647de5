"""The four stages as the worker calls them: stubs, and the calls that are more than one message."""

import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Generic, TypeVar

import grpc
import numpy as np

from services.orchestrator.discovery import find_discovery
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.pacing import Pace, Stride
from services.orchestrator.pool import Member, Pool
from services.runtime.calls import ClientStream, name_peer
from services.runtime.convert import from_fraction, to_fraction, to_frame_format, to_frames, to_samples
from services.runtime.frames import Frame, FrameFormat
from services.runtime.ring import RingReader, see_shared_memory
from services.runtime.streams import in_thread
from services.runtime.tls import ClientKeys
from services.runtime.tracing import with_trace
from services.runtime.wire import Packet
from syncline.errors import InternalError, SynclineError, Unavailable, UnknownEngine, from_rpc_error
from syncline.v1 import (
    decoder_pb2,
    decoder_pb2_grpc,
    detector_pb2,
    detector_pb2_grpc,
    lipsync_pb2,
    lipsync_pb2_grpc,
    media_pb2,
    restorer_pb2,
    restorer_pb2_grpc,
)

Metadata = Sequence[tuple[str, str]]
Taken = TypeVar("Taken")
_FRAME_CREDITS = 3
_TRIES = 3  # of a call that is one question and one answer, each on another replica where there is one


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """`samples`: (n, channels) float32; `first_sample` counts from time 0 of the source."""

    first_sample: int
    sample_rate: int
    samples: np.ndarray


class Stages:
    """The replicas of each stage: "decoder", "detector", "lipsync", "restorer".

    The addresses are as `find_discovery` reads them. `stall`: seconds that a stage may be silent; `wait`: seconds that
    work waits for a replica to be ready; `zone`: where this process runs, if replicas near it are to be preferred;
    `keys`: the files to speak TLS with the stages, where they do.
    """

    _pace: Pace | None = None

    def __init__(
        self,
        decoder: str,
        detector: str,
        lipsync: str,
        restorer: str,
        stall: float = 120,
        wait: float = 60,
        zone: str = "",
        keys: ClientKeys | None = None,
    ) -> None:
        self._stall = stall
        stubs: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "decoder": (decoder, decoder_pb2_grpc.DecoderServiceStub),
            "detector": (detector, detector_pb2_grpc.DetectorServiceStub),
            "lipsync": (lipsync, lipsync_pb2_grpc.LipsyncServiceStub),
            "restorer": (restorer, restorer_pb2_grpc.RestorerServiceStub),
        }
        self.pools = {
            stage: Pool(stage, find_discovery(target, f"ORCHESTRATOR_{stage.upper()}"), make_stub, wait, zone, keys)
            for stage, (target, make_stub) in stubs.items()
        }
        self._dispatchers: dict[str, Dispatcher] = {}  # by restorer engine

    def at_pace(self, pace: Pace) -> "Stages":
        """The same stages for the work of one job, whose frames are read at that pace."""
        paced = copy.copy(self)
        paced._pace = pace
        return paced

    async def close(self) -> None:
        for dispatcher in self._dispatchers.values():
            await dispatcher.close()
        for pool in self.pools.values():
            await pool.close()

    @contextlib.asynccontextmanager
    async def stream(
        self, stage: str, method: str, open_request: Any, metadata: Metadata
    ) -> AsyncIterator[ClientStream]:
        """A batch stream with one replica of any stage, for example "lipsync", "Sync"."""
        async with self.pools[stage].use() as member:
            call = getattr(member.stub, method)
            stream = ClientStream(call, open_request, with_trace(metadata), self._stall, peer=f"the {stage}")
            try:
                async with stream:
                    yield stream
            finally:
                member.note(stream.failure)

    def restorers(self, engine: str = "") -> Dispatcher:
        """Who gives batches to whichever restorer is free; `engine`: of that name, empty for their default."""
        if engine not in self._dispatchers:
            open_stream = partial(open_restorer, engine=engine)
            self._dispatchers[engine] = Dispatcher(self.pools["restorer"], open_stream, self._stall)
        return self._dispatchers[engine]

    @property
    def pending(self) -> int:
        """Batches that wait for a restorer with credit."""
        return sum(dispatcher.pending for dispatcher in self._dispatchers.values())

    async def engine(self, stage: str, wanted: str = "") -> media_pb2.EngineInfo:
        """The stage's engine of that name, its default one for an empty name. Raises UnknownEngine."""
        request = {
            "decoder": decoder_pb2.DecoderServiceGetCapabilitiesRequest(),
            "detector": detector_pb2.DetectorServiceGetCapabilitiesRequest(),
            "lipsync": lipsync_pb2.LipsyncServiceGetCapabilitiesRequest(),
            "restorer": restorer_pb2.RestorerServiceGetCapabilitiesRequest(),
        }[stage]
        response = await self._ask(stage, "GetCapabilities", request)
        for engine in response.engines:
            if wanted in ("", engine.name):
                found: media_pb2.EngineInfo = engine
                return found
        names = ", ".join(engine.name for engine in response.engines)
        told = f"the {stage} has no engine {wanted!r}; there is: {names}"
        raise UnknownEngine(told, {"field": f"options.{stage}_engine", "engines": names})

    async def check_engines(self, options: Mapping[str, Any]) -> None:
        """Raises UnknownEngine now, not when a worker gets to it; a stage whose default will do is not asked."""
        for stage in ("lipsync", "restorer"):
            if options[f"{stage}_engine"]:
                await self.engine(stage, options[f"{stage}_engine"])

    async def inspect(self, source: str, metadata: Metadata = ()) -> decoder_pb2.MediaInfo:
        request = decoder_pb2.InspectRequest(source=source)
        info: decoder_pb2.MediaInfo = (await self._ask("decoder", "Inspect", request, metadata)).info
        return info

    def decode_frames(
        self,
        source: str,
        metadata: Metadata,
        take: Callable[[Frame], Taken],
        start: Fraction | None = None,
        end: Fraction | None = None,
    ) -> "FrameReader[Taken]":
        """What `take` makes of the frames with start <= presentation time < end, in seconds."""
        wanted = decoder_pb2.DecodeFramesOpen(
            source=source,
            start=from_fraction(start),
            end=from_fraction(end),
            credits=_FRAME_CREDITS,
            **transports(),
        )
        opening = decoder_pb2.DecodeFramesRequest(open=wanted)
        return FrameReader(self.stream("decoder", "DecodeFrames", opening, metadata), take, self._pace)

    async def decode_audio(
        self, source: str, metadata: Metadata, sample_rate: int | None = None, channels: int | None = None
    ) -> AsyncIterator[AudioBlock]:
        """The sound of a source from its time 0 on, without gaps; None keeps the source's own rate or channels."""
        request = decoder_pb2.DecodeAudioRequest(source=source, sample_rate=sample_rate, channels=channels)
        async with self.pools["decoder"].use() as member:
            call: Any = member.stub.DecodeAudio(request, metadata=with_trace(metadata))
            try:
                async for packet in call:
                    if packet.message.HasField("chunk"):
                        chunk = packet.message.chunk
                        yield AudioBlock(chunk.first_sample, chunk.sample_rate, to_samples(chunk, packet.data))
            except grpc.RpcError as error:
                raise _noted(member, error, "the decoder") from error
            finally:
                call.cancel()

    async def _ask(self, stage: str, method: str, request: Any, metadata: Metadata = ()) -> Any:
        """The answer of the first replica that can be reached."""
        for tries_left in reversed(range(_TRIES)):
            async with self.pools[stage].use() as member:
                call = getattr(member.stub, method)
                try:
                    return await call(request, metadata=with_trace(metadata), timeout=self._stall)
                except grpc.RpcError as error:
                    failure = _noted(member, error, f"the {stage}")
                    if not (tries_left and isinstance(failure, Unavailable)):
                        raise failure from error
        raise AssertionError  # the last try returns or raises


def transports() -> dict[str, Any]:
    """What an Open offers pixels to travel by, the best first."""
    offered = (media_pb2.TRANSPORT_SHARED_MEMORY, media_pb2.TRANSPORT_INLINE)
    return {"transports": offered, "shared_memory": see_shared_memory()}


def open_restorer(member: Member, engine: str = "") -> ClientStream:
    """A stream for the batches of all jobs. How long it may be silent is the dispatcher's to judge."""
    wanted = restorer_pb2.RestoreOpen(engine=engine, **transports())
    opening = Packet(restorer_pb2.RestoreRequest(open=wanted))
    return ClientStream(member.stub.Restore, opening, (), stall=None, peer=f"the restorer at {member.address}")


def _noted(member: Member, error: grpc.RpcError, peer: str) -> SynclineError:
    failure = from_rpc_error(error)
    member.note(failure)
    return name_peer(failure, peer)


class FrameReader(Generic[Taken]):
    """A run of frames on its way from the decoder. Use as `async with`, then iterate: a list for each batch.

    `take` gets every frame where it came in, often memory that the decoder soon writes over; what it gives back is
    kept and must not refer to the frame's planes. It runs in a thread of its own.
    """

    format: FrameFormat
    time_base: Fraction  # seconds
    terms: media_pb2.StreamTerms

    def __init__(
        self,
        opening: contextlib.AbstractAsyncContextManager[ClientStream],
        take: Callable[[Frame], Taken],
        pace: Pace | None = None,
    ) -> None:
        self._opening = opening
        self._take = take
        self._stride = Stride(pace) if pace else None
        self._ring: RingReader | None = None

    async def __aenter__(self) -> "FrameReader[Taken]":
        self._stream = await self._opening.__aenter__()
        try:
            opened = self._stream.opened
            time_base = to_fraction(opened.time_base)
            if time_base is None:
                raise InternalError("the decoder opened a stream without a time base")
            self.format, self.time_base, self.terms = to_frame_format(opened.format), time_base, opened.terms
            if opened.terms.transport == media_pb2.TRANSPORT_SHARED_MEMORY:
                self._ring = RingReader.open(opened.terms.ring)
                await self._give_credit(opened.terms.ring.slots)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._ring is not None:
            self._ring.close()
        await self._opening.__aexit__(None, None, None)  # leaving early is no failure, whatever the reason

    async def __aiter__(self) -> AsyncIterator[list[Taken]]:
        while (packet := await self._stream.read()) is not None:
            kind = packet.message.WhichOneof("message")
            if kind == "batch":
                if self._stride is not None:
                    await self._stride.rest()
                taken = await in_thread(self._take_batch, packet)
                if self._ring is not None:
                    await self._give_credit(1)  # the slot is free; what was taken waits here for its turn
                yield taken
                if self._ring is None:
                    await self._give_credit(1)
            elif kind == "completed":
                await self._stream.half_close()  # no credit is on its way any more: the server may end the call

    def _take_batch(self, packet: Packet) -> list[Taken]:
        batch = packet.message.batch
        pixels = packet.data
        if self._ring is not None and batch.HasField("ref"):  # else it had no room there
            pixels = self._ring.read(batch.sequence, batch.ref)
        return [self._take(frame) for frame in to_frames(batch, pixels)]

    async def _give_credit(self, batches: int) -> None:
        await self._stream.send(decoder_pb2.DecodeFramesRequest(credit=media_pb2.Credit(batches=batches)))
