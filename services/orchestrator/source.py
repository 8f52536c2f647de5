"""What is known of a source before any speech is put to it: analysis and preparation, each made once and kept."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from services.orchestrator.analysis import Analysis, analyse, analysis_key, load_analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.compositing import cut_crop
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.kept_blobs import KeptBlob, keep_blob
from services.orchestrator.stages import Metadata, Stages, transports
from services.runtime.blobs import Rows, StoredArray
from services.runtime.convert import from_crops, from_fraction, from_samples
from services.runtime.faces import Crop
from services.runtime.frames import Frame, view_bytes
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.wire import Buffer, Packet
from syncline.v1 import lipsync_pb2, media_pb2

SPEECH_RATE = 16000  # hertz, of all speech that is analysed
_PREPARE_SECONDS = 180  # of the source; more teaches the engine nothing
_SPEECH_BLOCK = SPEECH_RATE * 10  # samples a message
_CROP_BATCH = 8

Report = Callable[[int], None]


@dataclass(frozen=True)
class Prepared:
    """What the lipsync engine learned of a face of the source."""

    blob: KeptBlob
    summary: dict[str, Any]
    engine: str = ""  # that learned it, and alone can use it


@dataclass(frozen=True)
class Source:
    """A face of an analysed source.

    `key`: of its analysis; `speech`: the source's own, (n,) float32 at SPEECH_RATE, None when silent; `engine`: that is
    to learn it, empty for the default.
    """

    digest: str
    key: str
    analysis: Analysis
    track: SpeakerTrack
    speech: Rows | None
    engine: str = ""


async def find_analysis(
    stages: Stages,
    artifacts: ArtifactStore,
    source: str,
    metadata: Metadata,
    report: Report,
    part: tuple[Fraction, Fraction] | None = None,
) -> tuple[str, Analysis]:
    """The analysis of a source and its key; made now unless it is kept.

    `part`: presentation times, seconds, between which it is enough where that of the whole is not kept.
    """
    engines = await stages.engine("decoder"), await stages.engine("detector")
    for kept in dict.fromkeys((None, part)):
        key = analysis_key(source, *engines, kept)
        if (analysis := await in_thread(load_analysis, artifacts, key)) is not None:
            return key, analysis
    return key, await analyse(stages, artifacts, source, key, metadata, report, part)


async def find_speech(stages: Stages, artifacts: ArtifactStore, source: str, metadata: Metadata) -> StoredArray:
    """The sound of a source for analysis: (n,) float32 mono at SPEECH_RATE from time 0 on, left in its file.

    Raises NoAudio, EmptyAudio and whatever the decoder says of the file.
    """
    key = json.dumps([source, SPEECH_RATE])
    path = await in_thread(artifacts.artifact_path, "speech", key)
    if not path.is_file():
        with artifacts.scratch() as scratch:
            with scratch.open("wb") as file:
                async for block in stages.decode_audio(source, metadata, SPEECH_RATE, 1):
                    await in_thread(file.write, block.samples.tobytes())
            if not scratch.stat().st_size:
                raise Refusal("EMPTY_AUDIO", "the sound track holds no samples", digest=source)
            await in_thread(artifacts.adopt_artifact, "speech", key, scratch)
    return await in_thread(StoredArray.open, path, np.float32)


def place_speech(artifacts: ArtifactStore, digest: str, speech: Rows, start: float, samples: int) -> Rows:
    """The speech begun at `start` seconds, silence before and after it, so many samples long; left in its file.

    A `start` below 0 leaves out its begin.
    """
    first = min(round(start * SPEECH_RATE), samples)
    key = json.dumps([digest, SPEECH_RATE, first, samples])
    speech, first = speech[max(-first, 0) :], max(first, 0)
    if not first and len(speech) >= samples:
        return speech[:samples]
    path = artifacts.artifact_path("placed_speech", key)
    if not path.is_file():
        with artifacts.scratch() as scratch:
            with scratch.open("wb") as file:
                file.truncate(samples * speech.dtype.itemsize)  # zeros
                file.seek(first * speech.dtype.itemsize)
                for block in speech_blocks(speech[: samples - first]):
                    file.write(view_bytes(block))
            artifacts.adopt_artifact("placed_speech", key, scratch)
    return StoredArray.open(path, np.float32)


async def find_prepared(
    stages: Stages, artifacts: ArtifactStore, source: Source, metadata: Metadata, report: Report
) -> Prepared:
    """What the lipsync engine learns of the face; learned now unless it is kept."""
    engine = await stages.engine("lipsync", source.engine)
    prepared_key = json.dumps([source.key, source.track.digest, engine.name, engine.version, _PREPARE_SECONDS])
    kept = await in_thread(_load, artifacts, prepared_key)
    if kept is not None:
        return replace(kept, engine=engine.name)
    wanted = lipsync_pb2.PrepareOpen(
        engine=engine.name,
        time_base=from_fraction(source.analysis.time_base),
        crop_scale=source.track.crop_scale,
        **transports(),
    )
    opening = Packet(lipsync_pb2.PrepareRequest(open=wanted))
    summary, sent = lipsync_pb2.PrepareSummary(), 0

    async def packets() -> AsyncIterator[Packet]:
        nonlocal sent
        for packet in speech_packets(_begin_of(source)):
            yield Packet(lipsync_pb2.PrepareRequest(speech=packet[0]), packet[1])
        async for batch, payload, count in _crop_batches(stages, source, metadata):
            yield Packet(lipsync_pb2.PrepareRequest(crops=batch), payload)
            sent += count
            report(sent)

    async def learn() -> AsyncGenerator[Buffer, None]:
        nonlocal summary
        async with stages.stream("lipsync", "Prepare", opening, metadata) as stream:
            async for packet in stream.exchange(packets()):
                match packet.message.WhichOneof("message"):
                    case "prepared":
                        yield packet.data
                    case "summary":
                        summary = packet.message.summary

    blob = await keep_blob(artifacts, "library", prepared_key, learn())
    facts = {
        "candidates": summary.candidates,
        "fitted": summary.fitted,
        "fit_correlation": round(summary.fit_correlation, 3),
        "notes": list(summary.notes),
    }
    about = json.dumps({"digest": blob.digest, "summary": facts}).encode()
    await in_thread(artifacts.put_artifact, "prepared", prepared_key, [about])
    return Prepared(blob, facts, engine.name)


def _load(artifacts: ArtifactStore, key: str) -> Prepared | None:
    about = artifacts.get_artifact("prepared", key)
    if about is None:
        return None
    facts = json.loads(about)
    path = artifacts.artifact_path("library", key)
    return Prepared(KeptBlob(facts["digest"], artifacts, "library", key), facts["summary"]) if path.is_file() else None


def speech_blocks(speech: Rows) -> Iterator[np.ndarray]:
    """The speech, some seconds at a time."""
    for start in range(0, len(speech), _SPEECH_BLOCK):
        yield np.asarray(speech[start : start + _SPEECH_BLOCK])


def speech_packets(speech: Rows | None) -> Iterator[tuple[media_pb2.AudioChunk, list[memoryview]]]:
    """The speech in messages."""
    for sequence, block in enumerate(() if speech is None else speech_blocks(speech)):
        yield from_samples(sequence, block, SPEECH_RATE, sequence * _SPEECH_BLOCK)


def _begin_of(source: Source) -> Rows | None:
    """The source's speech for as long as its crops are sent, and what is heard just after."""
    if source.speech is None:
        return None
    begin = int(source.analysis.pts[0]) * source.analysis.time_base
    return source.speech[: max(int((begin + _PREPARE_SECONDS + 1) * SPEECH_RATE), 0)]


async def _crop_batches(
    stages: Stages, source: Source, metadata: Metadata
) -> AsyncIterator[tuple[media_pb2.CropBatch, list[memoryview], int]]:
    """The speaker's crops of the source, and the number of frames each batch brings on."""
    pts_to_frame = {int(pts): frame for frame, pts in enumerate(source.analysis.pts)}
    begin = int(source.analysis.pts[0]) * source.analysis.time_base
    waiting: list[Crop] = []
    sequence = passed = 0
    cut = partial(_cut, pts_to_frame, source.track)
    async with stages.decode_frames(source.digest, metadata, cut, begin, begin + Fraction(_PREPARE_SECONDS)) as reader:
        async for crops in reader:
            waiting += [crop for crop in crops if crop is not None]
            passed += len(crops)
            if len(waiting) >= _CROP_BATCH:
                yield *from_crops(sequence, waiting), passed
                waiting, sequence, passed = [], sequence + 1, 0
    if waiting:
        yield *from_crops(sequence, waiting), passed


def _cut(pts_to_frame: dict[int, int], track: SpeakerTrack, frame: Frame) -> Crop | None:
    number = pts_to_frame.get(frame.pts)
    window = None if number is None else track.windows[number]
    if number is None or window is None:
        return None
    return Crop(number, frame.pts, cut_crop(frame, window), track.crop_mesh(number))
