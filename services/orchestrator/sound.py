"""The sound of a result: its speech as it was recorded, or the mix of several."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.stages import Metadata, Stages
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread

_MIX_RATE = 48000  # hertz
_LOUDEST = 0.98  # of full scale: what a mix is turned down to when it would clip


@dataclass(frozen=True)
class Sound:
    """Blocks (n, channels) float32 of about a second, from time 0 on. `gain`: with which they do not clip."""

    rate: int  # hertz
    tracks: Sequence[tuple[int, np.ndarray]]  # first sample, samples (n, 1 or 2)
    gain: float = 1.0

    def blocks(self) -> Iterator[np.ndarray]:
        length = max(first + len(samples) for first, samples in self.tracks)
        channels = max(samples.shape[1] for _, samples in self.tracks)
        for start in range(0, length, self.rate):
            mixed = np.zeros((min(self.rate, length - start), channels), np.float32)
            for first, samples in self.tracks:
                low, high = max(start, first), min(start + len(mixed), first + len(samples))
                if low < high:
                    mixed[low - start : high - start] += samples[low - first : high - first]  # mono goes to both sides
            yield mixed * np.float32(self.gain)


@contextlib.asynccontextmanager
async def open_sound(
    stages: Stages,
    artifacts: ArtifactStore,
    speeches: Sequence[tuple[str, float]],
    duration: Fraction,
    metadata: Metadata,
) -> AsyncIterator[Sound]:
    """`speeches`: (digest, start in seconds); none is read beyond `duration` (seconds). Spooled to files for the block.

    One speech keeps its own rate; several are mixed at one, turned down together if they would clip.
    """
    with contextlib.ExitStack() as stack:
        tracks = []
        rate = None if len(speeches) == 1 and not speeches[0][1] else _MIX_RATE
        for digest, start in speeches:
            path = stack.enter_context(artifacts.scratch())
            seconds = max(float(duration) - start, 0.0)
            rate, samples = await _spool(stages, digest, rate, seconds, path, metadata)
            tracks.append((round(start * rate), samples))
        assert rate is not None
        sound = Sound(rate, tracks)
        yield sound if len(tracks) == 1 else Sound(rate, tracks, await in_thread(find_gain, sound))


async def _spool(
    stages: Stages, digest: str, wanted: int | None, seconds: float, path: Path, metadata: Metadata
) -> tuple[int, np.ndarray]:
    """Rate and samples (n, 1 or 2), mapped from their file. `wanted`: the rate; None: the speech's own."""
    rate = channels = 0
    with path.open("wb") as file:
        async for block in stages.decode_audio(digest, metadata, wanted):
            samples = block.samples if block.samples.shape[1] <= 2 else _mix_to_mono(block.samples)
            rate, channels = block.sample_rate, samples.shape[1]
            await in_thread(file.write, samples.tobytes())
            if block.first_sample + len(samples) >= seconds * rate:
                break
    if not rate:
        raise Refusal("EMPTY_AUDIO", "the speech holds no samples", digest=digest)
    return rate, np.memmap(path, np.float32, "r").reshape(-1, channels)


def find_gain(sound: Sound) -> float:
    peak = max(float(np.abs(block).max(initial=0)) for block in sound.blocks())
    return min(1.0, _LOUDEST / peak) if peak > 0 else 1.0


def _mix_to_mono(samples: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n, 1): speech is in the middle of whatever surrounds it."""
    return samples.mean(axis=1, keepdims=True, dtype=np.float32)
