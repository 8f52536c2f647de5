"""The lipsync stage on the wire."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.lipsync import convert
from services.lipsync.blobs import BlobCache
from services.lipsync.engines import Engine, PrepareSettings
from services.runtime.convert import from_crops, from_engine_info, to_crops, to_priority
from services.runtime.engine import Caller, choose_engine
from services.runtime.frames import PixelFormat
from services.runtime.refusal import Refusal
from services.runtime.server import Plain
from services.runtime.streams import ServerStream, blob_chunks, finish_in_thread, grant_terms, in_thread, split_refused
from services.runtime.wire import Packet
from syncline.v1 import lipsync_pb2 as pb
from syncline.v1 import lipsync_pb2_grpc, media_pb2

_CREDIT = media_pb2.Credit(batches=1)


class LipsyncServicer(Plain, lipsync_pb2_grpc.LipsyncServiceServicer):
    service_name = "syncline.v1.LipsyncService"

    def __init__(self, *engines: Engine) -> None:
        self._engines = engines  # the first is the default
        self._blobs = BlobCache()

    def register(self, server: grpc.aio.Server) -> None:
        lipsync_pb2_grpc.add_LipsyncServiceServicer_to_server(self, server)

    async def GetCapabilities(
        self, request: pb.LipsyncServiceGetCapabilitiesRequest, context: grpc.aio.ServicerContext
    ) -> pb.LipsyncServiceGetCapabilitiesResponse:
        return pb.LipsyncServiceGetCapabilitiesResponse(
            engines=[from_engine_info(engine.info) for engine in self._engines]
        )

    async def Prepare(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        with ServerStream(requests) as stream:
            wanted = await stream.read_open()
            engine = choose_engine(wanted.engine, self._engines)
            time_base = convert.to_time_base(wanted.time_base)
            if not 0 < wanted.crop_scale <= 1:
                raise Refusal("INVALID_OPTION", "crop_scale must be above 0 and at most 1", field="crop_scale")
            preparation = engine.open_preparation(PrepareSettings(time_base, wanted.crop_scale))
            opened = pb.PrepareOpened(terms=stream.share(grant_terms(engine.info, wanted.transports), wanted))
            yield Packet(pb.PrepareResponse(opened=opened))
            speech = convert.SpeechReader()
            async for kind, packet in stream.packets("speech", "crops"):
                if kind == "speech":
                    await in_thread(preparation.add_speech, speech.read(packet))
                else:
                    crops = to_crops(packet.message.crops, packet.data, PixelFormat.RGB24)
                    await in_thread(preparation.add_crops, crops)
                    stream.answered(len(crops))
                yield Packet(pb.PrepareResponse(credit=_CREDIT))
            prepared = await finish_in_thread(preparation.finish, "Prepare")
            yield Packet(pb.PrepareResponse(summary=convert.from_summary(prepared)))
            async for chunk, payload in blob_chunks(prepared.blob):
                yield Packet(pb.PrepareResponse(prepared=chunk), payload)
            yield Packet(pb.PrepareResponse(completed=stream.completed()))

    async def Plan(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        stream = ServerStream(requests)
        wanted = await stream.read_open()
        engine = choose_engine(wanted.engine, self._engines)
        time_base = convert.to_time_base(wanted.time_base)
        if wanted.frame_count < 1:
            raise Refusal("INVALID_OPTION", "frame_count must be 1 or more", field="frame_count")
        expression = convert.to_expression(wanted.expression)
        blobs, missing = self._blobs.find(wanted.prepared_digest)
        opened = pb.PlanOpened(
            terms=grant_terms(engine.info, ()), missing=missing, expression=convert.from_expression(expression)
        )
        yield Packet(pb.PlanResponse(opened=opened))
        blobs |= await stream.read_blobs("prepared", missing)
        self._blobs.put(blobs)
        prepared = blobs[wanted.prepared_digest]
        planning = await in_thread(engine.open_planning, prepared, wanted.frame_count, time_base, expression)
        speech, points = convert.SpeechReader(), 0
        async for kind, packet in stream.packets("speech", "track"):
            if kind == "speech":
                await in_thread(planning.add_speech, speech.read(packet))
            else:
                track = convert.to_track(packet.message.track, points)
                points += len(track)
                await in_thread(planning.add_track, track)
                stream.answered(len(track))
            yield Packet(pb.PlanResponse(credit=_CREDIT))
        if points != wanted.frame_count:
            raise Refusal("OUT_OF_ORDER", f"the track has {points} frames where open said {wanted.frame_count}")
        plan = await finish_in_thread(planning.finish, "Plan")
        async for chunk, payload in blob_chunks(plan):
            yield Packet(pb.PlanResponse(plan=chunk), payload)
        yield Packet(pb.PlanResponse(completed=stream.completed()))

    async def Sync(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        with ServerStream(requests) as stream:
            wanted = await stream.read_open()
            engine = choose_engine(wanted.engine, self._engines)
            expression = convert.to_expression(wanted.expression)
            job = dict(context.invocation_metadata() or ()).get("syncline-job", context.peer())
            caller = Caller(str(job), to_priority(wanted.priority))
            blobs, missing = self._blobs.find(wanted.prepared_digest, wanted.plan_digest)
            opened = pb.SyncOpened(
                terms=stream.share(grant_terms(engine.info, wanted.transports), wanted, answers=True),
                missing=missing,
                expression=convert.from_expression(expression),
            )
            yield Packet(pb.SyncResponse(opened=opened))
            blobs |= await stream.read_blobs("blob", missing)
            self._blobs.put(blobs)
            prepared, plan = blobs[wanted.prepared_digest], blobs[wanted.plan_digest]
            rendering = await in_thread(engine.open_rendering, prepared, plan, expression)
            async for _, packet in stream.packets("crops"):
                sequence = packet.message.crops.sequence
                crops = to_crops(packet.message.crops, packet.data, PixelFormat.RGB24)
                synced, errors = split_refused(await in_thread(rendering.sync_batch, crops, caller), sequence)
                for error in errors:
                    yield Packet(pb.SyncResponse(error=error))
                stream.answered(len(crops), len(errors))
                batch, payload = from_crops(sequence, synced)
                yield stream.place(Packet(pb.SyncResponse(crops=batch), payload))
            yield Packet(pb.SyncResponse(completed=stream.completed()))

    async def Match(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        stream = ServerStream(requests)
        wanted = await stream.read_open()
        engine = choose_engine(wanted.engine, self._engines)
        matching = engine.open_matching(convert.to_time_base(wanted.time_base))
        yield pb.MatchResponse(opened=pb.MatchOpened(terms=grant_terms(engine.info, ())))
        speech = convert.SpeechReader()
        async for kind, packet in stream.packets("speech", "mouths"):
            if kind == "speech":
                await in_thread(matching.add_speech, speech.read(packet))
            else:
                mouths = convert.to_mouths(packet.message.mouths)
                await in_thread(matching.add_mouths, mouths)
                stream.answered(len(mouths))
            yield pb.MatchResponse(credit=_CREDIT)
        yield pb.MatchResponse(matches=convert.from_matches(await in_thread(matching.finish)))
        yield pb.MatchResponse(completed=stream.completed())
