"""Files in and out, on the wire."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.convert import from_asset, to_mezzanine, to_tenant, to_ttl
from services.orchestrator.importing import ImportRules, import_asset
from services.orchestrator.inspecting import inspect_asset
from services.orchestrator.mezzanine import find_mezzanine
from services.orchestrator.stages import Stages
from services.orchestrator.store import JobStore
from services.orchestrator.uploads import Upload
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from syncline.v1 import orchestrator_pb2 as pb

_MAX_CHUNK_BYTES = 4 * 1024 * 1024


class AssetCalls:
    _store: JobStore
    _artifacts: ArtifactStore
    _stages: Stages
    _imports: ImportRules

    async def UploadAsset(
        self, requests: AsyncIterator[pb.UploadAssetRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.UploadAssetResponse]:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("message") != "open":
            raise Refusal("OUT_OF_ORDER", "the first message of an upload must be open")
        wanted, tenant = first.open.asset, to_tenant(context)
        if wanted.size_bytes == 0:
            raise Refusal("NOT_MEDIA", "the file is empty", digest=wanted.digest)
        if await in_thread(self._artifacts.find_asset, wanted.digest) is None:
            await in_thread(self._store.check_room, tenant, wanted.size_bytes)
        upload = await in_thread(self._artifacts.open_upload, wanted.digest, wanted.size_bytes)
        yield pb.UploadAssetResponse(opened=pb.UploadAssetOpened(offset=upload.offset))
        await _receive(upload, requests, wanted.size_bytes)
        stored = await in_thread(upload.finish)
        await in_thread(self._store.put_asset, stored, tenant)
        yield pb.UploadAssetResponse(asset=from_asset(stored))

    async def ImportAsset(
        self, request: pb.ImportAssetRequest, context: grpc.aio.ServicerContext
    ) -> pb.ImportAssetResponse:
        tenant = to_tenant(context)
        await in_thread(self._store.check_room, tenant, 0)
        stored = await in_thread(import_asset, self._artifacts, self._imports, request.uri)
        await in_thread(self._store.put_asset, stored, tenant)
        return pb.ImportAssetResponse(asset=from_asset(stored))

    async def DownloadAsset(
        self, request: pb.DownloadAssetRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadAssetResponse]:
        size = (await in_thread(self._artifacts.get_asset, request.digest)).size
        if request.offset > size:
            raise Refusal("INVALID_OPTION", f"offset is {request.offset}; the asset has {size} bytes", field="offset")
        yield pb.DownloadAssetResponse(size_bytes=size)
        chunks = self._artifacts.read(request.digest, request.offset)
        while chunk := await in_thread(next, chunks, b""):
            yield pb.DownloadAssetResponse(size_bytes=size, data=chunk)

    async def GenerateDownloadUrl(
        self, request: pb.GenerateDownloadUrlRequest, context: grpc.aio.ServicerContext
    ) -> pb.GenerateDownloadUrlResponse:
        seconds, now = to_ttl(request), datetime.now(UTC)
        url = await in_thread(self._artifacts.sign, request.digest, seconds)
        response = pb.GenerateDownloadUrlResponse(url=url)
        response.expire_time.FromDatetime(now + timedelta(seconds=seconds))
        return response

    async def InspectAsset(
        self, request: pb.InspectAssetRequest, context: grpc.aio.ServicerContext
    ) -> pb.InspectAssetResponse:
        return await inspect_asset(self._stages, self._artifacts, self._store, request)

    async def NormalizeAsset(
        self, request: pb.NormalizeAssetRequest, context: grpc.aio.ServicerContext
    ) -> pb.NormalizeAssetResponse:
        wanted, tenant = to_mezzanine(request.mezzanine), to_tenant(context)
        await in_thread(self._store.check_room, tenant, 0)
        asset = await find_mezzanine(self._stages, self._artifacts, request.digest, wanted)
        await in_thread(self._store.put_asset, asset, tenant)
        return pb.NormalizeAssetResponse(asset=from_asset(asset))


async def _receive(upload: Upload, requests: AsyncIterator[pb.UploadAssetRequest], size: int) -> None:
    async for request in requests:
        if request.WhichOneof("message") != "data" or not 1 <= len(request.data) <= _MAX_CHUNK_BYTES:
            raise Refusal("OUT_OF_ORDER", f"after open come pieces of 1 to {_MAX_CHUNK_BYTES} bytes")
        await in_thread(upload.append, request.data)
    if upload.offset != size:
        message = f"the upload ended at byte {upload.offset} of {size}; the next one goes on from what is stored of it"
        raise Refusal("SERVICE_UNAVAILABLE", message, offset=upload.offset)
