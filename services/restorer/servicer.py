"""The restorer on the wire."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.restorer.engines import Engine
from services.runtime.convert import from_crops, from_engine_info, to_crops, to_priority
from services.runtime.engine import Caller, choose_engine
from services.runtime.frames import PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.server import Plain
from services.runtime.streams import ServerStream, grant_terms, in_thread
from services.runtime.tracing import trace_of
from services.runtime.wire import Packet
from syncline.v1 import restorer_pb2 as pb
from syncline.v1 import restorer_pb2_grpc


class RestorerServicer(Plain, restorer_pb2_grpc.RestorerServiceServicer):
    service_name = "syncline.v1.RestorerService"

    def __init__(self, *engines: Engine) -> None:
        self._engines = engines  # the first is the default

    def register(self, server: grpc.aio.Server) -> None:
        restorer_pb2_grpc.add_RestorerServiceServicer_to_server(self, server)

    async def GetCapabilities(
        self, request: pb.RestorerServiceGetCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> pb.RestorerServiceGetCapabilitiesResponse:
        return pb.RestorerServiceGetCapabilitiesResponse(
            engines=[from_engine_info(engine.info) for engine in self._engines]
        )

    async def Restore(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        with ServerStream(requests) as stream:
            wanted = await stream.read_open()
            engine = choose_engine(wanted.engine, self._engines)
            job = str(dict(context.invocation_metadata() or ()).get("syncline-job", context.peer()))
            terms = stream.share(grant_terms(engine.info, wanted.transports), wanted, answers=True)
            yield Packet(pb.RestoreResponse(opened=pb.RestoreOpened(terms=terms)))
            async for _, packet in stream.packets("crops"):
                request = packet.message
                strength = request.strength if request.HasField("strength") else 1.0
                if not 0 <= strength <= 1:
                    raise Refusal("INVALID_OPTION", f"strength is {strength:g}; the range is 0 to 1", field="strength")
                crops = to_crops(request.crops, packet.data, PixelFormat.RGBA32)
                # A worker's one stream serves many jobs.
                caller = Caller(trace_of(request.traceparent) or job, to_priority(request.priority))
                restored = await in_thread(engine.restore, crops, strength, caller)
                stream.answered(len(restored))
                batch, payload = from_crops(request.crops.sequence, restored)
                yield stream.place(Packet(pb.RestoreResponse(crops=batch), payload))
            yield Packet(pb.RestoreResponse(completed=stream.completed()))
