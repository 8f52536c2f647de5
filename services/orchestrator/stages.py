"""The four stages as the worker calls them: stubs, and the calls that are more than one message."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import grpc
import numpy as np

from services.runtime.calls import ClientStream, name_peer
from services.runtime.channel import open_channel
from services.runtime.convert import from_fraction, to_fraction, to_frame_format, to_frames, to_samples
from services.runtime.frames import Frame, FrameFormat
from services.runtime.ring import RingReader, see_shared_memory
from syncline.errors import InternalError, UnknownEngine, from_rpc_error
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
_FRAME_CREDITS = 3


@dataclass(frozen=True, slots=True)
class AudioBlock:
    """`samples`: (n, channels) float32; `first_sample` counts from time 0 of the source."""

    first_sample: int
    sample_rate: int
    samples: np.ndarray


class Stages:
    """One channel to each stage: "decoder", "detector", "lipsync", "restorer"."""

    def __init__(self, decoder: str, detector: str, lipsync: str, restorer: str, stall: float = 120) -> None:
        self._channels = [open_channel(address) for address in (decoder, detector, lipsync, restorer)]
        self._stall = stall
        self._stubs: dict[str, Any] = {
            "decoder": decoder_pb2_grpc.DecoderServiceStub(self._channels[0]),
            "detector": detector_pb2_grpc.DetectorServiceStub(self._channels[1]),
            "lipsync": lipsync_pb2_grpc.LipsyncServiceStub(self._channels[2]),
            "restorer": restorer_pb2_grpc.RestorerServiceStub(self._channels[3]),
        }

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    def stream(self, stage: str, method: str, open_request: Any, metadata: Metadata) -> ClientStream:
        """A batch stream of any stage, for example "lipsync", "Sync"."""
        call = getattr(self._stubs[stage], method)
        return ClientStream(call, open_request, metadata, self._stall, peer=f"the {stage}")

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
        self, source: str, metadata: Metadata, start: Fraction | None = None, end: Fraction | None = None
    ) -> "FrameReader":
        """Frames with start <= presentation time < end, in seconds."""
        wanted = decoder_pb2.DecodeFramesOpen(
            source=source,
            start=from_fraction(start),
            end=from_fraction(end),
            credits=_FRAME_CREDITS,
            transports=[media_pb2.TRANSPORT_SHARED_MEMORY, media_pb2.TRANSPORT_INLINE],
            shared_memory=see_shared_memory(),
        )
        opening = decoder_pb2.DecodeFramesRequest(open=wanted)
        return FrameReader(self.stream("decoder", "DecodeFrames", opening, metadata))

    async def decode_audio(
        self, source: str, metadata: Metadata, sample_rate: int | None = None, channels: int | None = None
    ) -> AsyncIterator[AudioBlock]:
        """The sound of a source from its time 0 on, without gaps; None keeps the source's own rate or channels."""
        request = decoder_pb2.DecodeAudioRequest(source=source, sample_rate=sample_rate, channels=channels)
        call: Any = self._stubs["decoder"].DecodeAudio(request, metadata=metadata)
        try:
            async for packet in call:
                if packet.message.HasField("chunk"):
                    chunk = packet.message.chunk
                    yield AudioBlock(chunk.first_sample, chunk.sample_rate, to_samples(chunk, packet.data))
        except grpc.RpcError as error:
            raise name_peer(from_rpc_error(error), "the decoder") from error
        finally:
            call.cancel()

    async def _ask(self, stage: str, method: str, request: Any, metadata: Metadata = ()) -> Any:
        try:
            return await getattr(self._stubs[stage], method)(request, metadata=metadata, timeout=self._stall)
        except grpc.RpcError as error:
            raise name_peer(from_rpc_error(error), f"the {stage}") from error


class FrameReader:
    """A run of frames on its way from the decoder. Use as `async with`, then iterate: a list of frames per batch."""

    format: FrameFormat
    time_base: Fraction  # seconds
    terms: media_pb2.StreamTerms

    def __init__(self, stream: ClientStream) -> None:
        self._stream = stream
        self._ring: RingReader | None = None

    async def __aenter__(self) -> "FrameReader":
        await self._stream.__aenter__()
        try:
            opened = self._stream.opened
            time_base = to_fraction(opened.time_base)
            if time_base is None:
                raise InternalError("the decoder opened a stream without a time base")
            self.format, self.time_base, self.terms = to_frame_format(opened.format), time_base, opened.terms
            if opened.terms.transport == media_pb2.TRANSPORT_SHARED_MEMORY:
                self._ring = RingReader(opened.terms.ring)
                await self._give_credit(opened.terms.ring.slots)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._ring is not None:
            self._ring.close()
        await self._stream.__aexit__(*exc_info)

    async def __aiter__(self) -> AsyncIterator[list[Frame]]:
        while (packet := await self._stream.read()) is not None:
            kind = packet.message.WhichOneof("message")
            if kind == "batch":
                batch = packet.message.batch
                if self._ring is None:
                    yield to_frames(batch, packet.data)
                    await self._give_credit(1)
                else:
                    pixels = self._ring.read(batch.ref)
                    await self._give_credit(1)  # the slot is free; what was copied out waits here for its turn
                    yield to_frames(batch, pixels)
            elif kind == "completed":
                await self._stream.half_close()  # no credit is on its way any more: the server may end the call

    async def _give_credit(self, batches: int) -> None:
        await self._stream.send(decoder_pb2.DecodeFramesRequest(credit=media_pb2.Credit(batches=batches)))
