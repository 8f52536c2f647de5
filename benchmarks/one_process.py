"""A whole job in one process: the same stages, called without gRPC and without copies between processes.

    python -m benchmarks.one_process VIDEO AUDIO FOLDER

What the five processes cost beside it is the price of their being five. Prints the job's report as JSON.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from services.decoder.engines.pyav import PyAVDecoder
from services.decoder.servicer import DecoderServicer
from services.detector.config import DetectorConfig
from services.detector.engines import load_engines as load_detectors
from services.detector.servicer import DetectorServicer
from services.lipsync.config import LipsyncConfig
from services.lipsync.engines import load_engines as load_lipsyncs
from services.lipsync.servicer import LipsyncServicer
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.config import OrchestratorConfig
from services.orchestrator.delivering import Deliveries
from services.orchestrator.discovery import FixedList
from services.orchestrator.options import JobOptions
from services.orchestrator.pool import Member, Pool
from services.orchestrator.records import NewJob
from services.orchestrator.stages import Metadata, Stages
from services.orchestrator.store import JobStore
from services.orchestrator.worker import Worker
from services.restorer.config import RestorerConfig
from services.restorer.engines import load_engines as load_restorers
from services.restorer.servicer import RestorerServicer
from services.runtime.process import keep_large_blocks, set_up_logging, stay_in_own_thread
from services.runtime.wire import Packet
from syncline.v1 import media_pb2


class OneProcess(Stages):
    """Stages whose calls go straight to the servicers; frames are handed over in the messages."""

    transports = (media_pb2.TRANSPORT_INLINE,)

    def __init__(self, store: Path) -> None:
        self._stall = OrchestratorConfig.stall_seconds
        servicers = {
            "decoder": DecoderServicer(PyAVDecoder(), store),
            "detector": DetectorServicer(*load_detectors(DetectorConfig())),
            "lipsync": LipsyncServicer(*load_lipsyncs(LipsyncConfig())),
            "restorer": RestorerServicer(*load_restorers(RestorerConfig())),
        }
        self.pools = {stage: _Within(stage, servicer) for stage, servicer in servicers.items()}
        self._dispatchers = {}


class _Within(Pool):
    """The one replica of a stage, in this process."""

    def __init__(self, stage: str, servicer: Any) -> None:
        stub = _Stub(servicer)
        super().__init__(stage, FixedList([f"{stage}:1"]), lambda _: stub, OrchestratorConfig.wait_seconds)

    async def _attend(self, member: Member) -> None:
        """Nobody asks for its health over the channel, which leads nowhere."""


class _Stub:
    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer

    def __getattr__(self, method: str) -> Any:
        bound = getattr(self._servicer, method)
        if method in ("Inspect", "GetCapabilities"):
            return lambda request, metadata=(), timeout=0: bound(request, _Context(metadata))
        if method == "DecodeAudio":
            return lambda request, metadata=(): _Answers(bound(request, _Context(metadata)))
        return lambda metadata=(): _Conversation(bound, _Context(metadata))


class _Context:
    """What servicers ask of gRPC's."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def peer(self) -> str:
        return "this process"


class _Answers:
    """The answers to one request."""

    def __init__(self, answers: AsyncIterator[Any]) -> None:
        self._answers = answers

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for answer in self._answers:
            yield _join(answer)

    def cancel(self) -> None:
        """Whoever stops listening stops the work: answers are made as they are asked for."""


class _Conversation:
    """A stream both ways, as ClientStream uses gRPC's."""

    def __init__(self, method: Any, context: _Context) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._answers = method(self._read(), context)

    async def _read(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def write(self, request: Any) -> None:
        await self._requests.put(_join(request))

    async def done_writing(self) -> None:
        await self._requests.put(None)

    async def read(self) -> Any:
        answer = await anext(self._answers, None)
        return grpc.aio.EOF if answer is None else _join(answer)

    def add_done_callback(self, callback: Any) -> None:
        """Errors come up where the stream is read."""

    def cancel(self) -> None:
        """As in _Answers."""


def _join(message: Any) -> Any:
    """What a receiver has of a packet: its payload in one buffer."""
    if isinstance(message, Packet) and len(message.payload) > 1:
        return Packet(message.message, [b"".join(message.payload)])
    return message


async def make(video: Path, audio: Path, folder: Path) -> bytes:
    """The report."""
    artifacts, store = ArtifactStore(folder), JobStore(f"sqlite:///{folder / 'jobs.db'}")
    pictures, speech = (artifacts.put([path.read_bytes()]).digest for path in (video, audio))
    job = store.create_job(NewJob(pictures, speech, JobOptions().to_json(), assets=(pictures, speech)))
    usual = OrchestratorConfig
    terms = (usual.lease_seconds, usual.segment_seconds, usual.turn_seconds, usual.pace)
    stages = OneProcess(folder)
    working = asyncio.ensure_future(Worker(store, artifacts, stages, Deliveries(), *terms).run())
    while not (job := store.get_job(job.id)).state.ended:
        await asyncio.sleep(0.2)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await stages.close()
    if job.report is None:
        sys.exit(f"the job failed: {job.error}")
    return b"".join(artifacts.read(job.report.digest))


if __name__ == "__main__":
    keep_large_blocks()
    stay_in_own_thread()
    set_up_logging("one process")
    print(asyncio.run(make(*map(Path, sys.argv[1:4]))).decode())
