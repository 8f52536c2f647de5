"""What is known of a source before any speech is put to it: analysis and preparation, each made once and kept."""

import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from services.orchestrator.analysis import Analysis, analyse, analysis_key, load_analysis
from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.compositing import cut_crop
from services.orchestrator.faces import SpeakerTrack
from services.orchestrator.stages import Metadata, Stages
from services.runtime.convert import from_crops, from_fraction, from_samples
from services.runtime.faces import Crop
from services.runtime.frames import Frame, view_bytes
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread
from services.runtime.wire import Packet
from syncline.v1 import lipsync_pb2, media_pb2

SPEECH_RATE = 16000  # hertz, of all speech that is analysed
_PREPARE_SECONDS = 180  # of the source; more teaches the engine nothing
_SPEECH_BLOCK = SPEECH_RATE * 10  # samples a message
_CROP_BATCH = 8

Report = Callable[[int], None]


@dataclass(frozen=True)
class Prepared:
    """What the lipsync engine learned of a face of the source."""

    digest: str
    artifacts: ArtifactStore
    key: str
    summary: dict[str, Any]
    engine: str = ""  # that learned it, and alone can use it

    def read(self) -> bytes:
        """Blocks. Raises Refusal SERVICE_UNAVAILABLE when it is there no longer: the next attempt learns it anew."""
        blob = self.artifacts.get_artifact("library", self.key)
        if blob is None:
            message = "What was learned of the source was cleaned up meanwhile: it is learned again."
            raise Refusal("SERVICE_UNAVAILABLE", message, digest=self.digest)
        return blob


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
    speech: np.ndarray | None
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


async def find_speech(stages: Stages, artifacts: ArtifactStore, source: str, metadata: Metadata) -> np.ndarray:
    """The sound of a source for analysis: (n,) float32 mono at SPEECH_RATE from time 0 on, mapped from its file.

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
    return np.memmap(path, np.float32, "r")


def place_speech(artifacts: ArtifactStore, digest: str, speech: np.ndarray, start: float, samples: int) -> np.ndarray:
    """The speech begun at `start` seconds, silence before and after it, so many samples long; mapped from a file.

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
                file.truncate(samples * speech.itemsize)  # zeros
                file.seek(first * speech.itemsize)
                file.write(view_bytes(speech[: samples - first]))
            artifacts.adopt_artifact("placed_speech", key, scratch)
    return np.memmap(path, np.float32, "r")


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
    )
    opening = Packet(lipsync_pb2.PrepareRequest(open=wanted))
    blob, summary, sent = io.BytesIO(), lipsync_pb2.PrepareSummary(), 0

    async def packets() -> AsyncIterator[Packet]:
        nonlocal sent
        for packet in speech_packets(source.speech):
            yield Packet(lipsync_pb2.PrepareRequest(speech=packet[0]), packet[1])
        async for batch, payload, count in _crop_batches(stages, source, metadata):
            yield Packet(lipsync_pb2.PrepareRequest(crops=batch), payload)
            sent += count
            report(sent)

    async with stages.stream("lipsync", "Prepare", opening, metadata) as stream:
        async for packet in stream.exchange(packets()):
            match packet.message.WhichOneof("message"):
                case "prepared":
                    blob.write(packet.data)
                case "summary":
                    summary = packet.message.summary
    facts = {
        "candidates": summary.candidates,
        "fitted": summary.fitted,
        "fit_correlation": round(summary.fit_correlation, 3),
        "notes": list(summary.notes),
    }
    asset = await in_thread(artifacts.put_artifact, "library", prepared_key, [blob.getvalue()])
    about = json.dumps({"digest": asset.digest, "summary": facts}).encode()
    await in_thread(artifacts.put_artifact, "prepared", prepared_key, [about])
    return Prepared(asset.digest, artifacts, prepared_key, facts, engine.name)


def _load(artifacts: ArtifactStore, key: str) -> Prepared | None:
    about = artifacts.get_artifact("prepared", key)
    if about is None:
        return None
    facts = json.loads(about)
    path = artifacts.artifact_path("library", key)
    return Prepared(facts["digest"], artifacts, key, facts["summary"]) if path.is_file() else None


def speech_packets(speech: np.ndarray | None) -> list[tuple[media_pb2.AudioChunk, list[memoryview]]]:
    """The speech in messages."""
    if speech is None:
        return []
    starts = range(0, len(speech), _SPEECH_BLOCK)
    return [
        from_samples(sequence, speech[start : start + _SPEECH_BLOCK], SPEECH_RATE, start)
        for sequence, start in enumerate(starts)
    ]


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
