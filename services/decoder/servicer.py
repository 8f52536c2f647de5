"""The decoder on the wire."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from services.decoder.convert import from_facts
from services.decoder.engines import Engine
from services.decoder.outlet import FrameOutlet
from services.runtime.bucket_cache import BucketCache
from services.runtime.config import MAX_MESSAGE_BYTES
from services.runtime.convert import (
    from_engine_info,
    from_fraction,
    from_frame_format,
    from_samples,
    to_fraction,
)
from services.runtime.frames import Frame
from services.runtime.refusal import Refusal
from services.runtime.server import Plain
from services.runtime.streams import MAX_BATCH_ITEMS, grant_terms, in_thread
from services.runtime.wire import Packet
from syncline.v1 import decoder_pb2 as pb
from syncline.v1 import decoder_pb2_grpc, media_pb2

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BATCH_BYTES = 8 * 1024 * 1024  # messages of 1 to 8 MB cost least per byte
_MAX_FRAME_BYTES = MAX_MESSAGE_BYTES - 64 * 1024  # a frame and what is said of it travel in one message
_MAX_CREDITS = 16


class DecoderServicer(Plain, decoder_pb2_grpc.DecoderServiceServicer):
    service_name = "syncline.v1.DecoderService"

    def __init__(self, engine: Engine, store: Path, cache: BucketCache | None = None) -> None:
        """`store`: folder of the artifacts; of a bucket, `cache` brings them there."""
        self._engine = engine
        self._store = store
        self._cache = cache

    def register(self, server: grpc.aio.Server) -> None:
        decoder_pb2_grpc.add_DecoderServiceServicer_to_server(self, server)

    async def GetCapabilities(
        self, request: pb.DecoderServiceGetCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> pb.DecoderServiceGetCapabilitiesResponse:
        return pb.DecoderServiceGetCapabilitiesResponse(engines=[from_engine_info(self._engine.info)])

    async def Inspect(self, request: pb.InspectRequest, context: grpc.aio.ServicerContext) -> pb.InspectResponse:
        path = await in_thread(self._path_of, request.source)
        facts = await in_thread(self._engine.inspect, path)
        return pb.InspectResponse(info=from_facts(facts))

    async def DecodeFrames(
        self, requests: AsyncIterator[pb.DecodeFramesRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "open":
            raise Refusal("OUT_OF_ORDER", "the first message of the stream must be open")
        wanted = first.open
        credits = wanted.credits if wanted.HasField("credits") else 2
        if not 1 <= credits <= _MAX_CREDITS:
            raise Refusal("INVALID_OPTION", f"credits is {credits}; the range is 1 to {_MAX_CREDITS}", field="credits")
        path = await in_thread(self._path_of, wanted.source)
        start, end = to_fraction(wanted.start), to_fraction(wanted.end)
        stream = await in_thread(self._engine.decode_frames, path, start, end)
        if stream.format.frame_bytes > _MAX_FRAME_BYTES:
            told = f"{stream.format.width} x {stream.format.height}"
            raise Refusal("UNSUPPORTED_MEDIA", f"a frame of {told} pixels has too many bytes: scale the video down")
        size = max(1, min(_BATCH_BYTES // stream.format.frame_bytes, MAX_BATCH_ITEMS))
        with contextlib.closing(FrameOutlet(wanted, credits, size * stream.format.frame_bytes)) as outlet:
            terms = outlet.grant(grant_terms(self._engine.info, wanted.transports, credits))
            opened = pb.DecodeFramesOpened(
                terms=terms, format=from_frame_format(stream.format), time_base=from_fraction(stream.time_base)
            )
            yield Packet(pb.DecodeFramesResponse(opened=opened))
            sequence, items, credits = 0, 0, terms.credits
            while frames := await in_thread(_take, stream.frames, size):
                if credits == 0:
                    credits = await _read_credit(requests)
                batch, payload = await in_thread(outlet.pack, sequence, frames)
                yield Packet(pb.DecodeFramesResponse(batch=batch), payload)
                sequence, items, credits = sequence + 1, items + len(frames), credits - 1
            yield Packet(pb.DecodeFramesResponse(completed=media_pb2.Completed(batches=sequence, items=items)))
            async for _ in requests:  # credit that was on its way; ending the call under it would make it fail
                pass

    async def DecodeAudio(
        self, request: pb.DecodeAudioRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        rate = _in_range("sample_rate", request, 8000, 192000)
        channels = _in_range("channels", request, 1, 8)
        path = await in_thread(self._path_of, request.source)
        blocks = await in_thread(self._engine.decode_audio, path, rate, channels)
        sequence = items = 0
        while (block := await in_thread(next, blocks, None)) is not None:
            chunk, payload = from_samples(sequence, block.samples, block.sample_rate, block.first_sample)
            yield Packet(pb.DecodeAudioResponse(chunk=chunk), payload)
            sequence, items = sequence + 1, items + len(block.samples)
        yield Packet(pb.DecodeAudioResponse(completed=media_pb2.Completed(batches=sequence, items=items)))

    def _path_of(self, source: str) -> Path:
        """Where the artifact store keeps an asset: assets/ab/abcd..."""
        if not _DIGEST.fullmatch(source):
            raise Refusal("INVALID_NAME", "a source is the SHA-256 of an asset: 64 lower-case hexadecimal digits")
        name = f"assets/{source[:2]}/{source}"
        path = self._cache.find(name, source) if self._cache else self._store / name
        if path is None or not path.is_file():
            raise Refusal("ASSET_NOT_FOUND", f"no asset {source} in the store", digest=source)
        return path


def _take(frames: Iterator[Frame], count: int) -> list[Frame]:
    return list(islice(frames, count))


def _in_range(name: str, request: pb.DecodeAudioRequest, least: int, most: int) -> int | None:
    if not request.HasField(name):
        return None
    value: int = getattr(request, name)
    if not least <= value <= most:
        raise Refusal("INVALID_OPTION", f"{name} is {value}; the range is {least} to {most}", field=name)
    return value


async def _read_credit(requests: AsyncIterator[pb.DecodeFramesRequest]) -> int:
    request = await anext(requests, None)
    if request is None or request.WhichOneof("message") != "credit" or request.credit.batches < 1:
        raise Refusal("OUT_OF_ORDER", "the decoder is out of credit and waits for a credit message, nothing else")
    return request.credit.batches
