"""The sound of a result: its speech as it was recorded, or the mix of all that is to be heard."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.stages import Metadata, Stages
from services.runtime.blobs import Rows, StoredArray
from services.runtime.refusal import Refusal
from services.runtime.streams import in_thread

_MIX_RATE = 48000  # hertz
_LOUDEST = 0.98  # of full scale: what a mix is turned down to when it would clip


@dataclass(frozen=True)
class SoundPart:
    """A sound that a job asks for. Times in seconds; `start` of the result, the others of the sound itself."""

    asset: str  # digest
    start: Fraction = Fraction(0)
    skip: Fraction = Fraction(0)  # how much of its begin is left out
    length: Fraction | None = None  # how much of it is heard after that; None: all
    period: Fraction | None = None  # after which it begins again; 0: when it has ended
    decibels: float = 0.0


@dataclass(frozen=True)
class Track:
    """`samples` (n, 1 or 2) float32, heard from each of `firsts` (samples of the result) on, `level` times as loud."""

    samples: Rows
    firsts: Sequence[int] = (0,)
    level: float = 1.0


@dataclass(frozen=True)
class Sound:
    """`length` samples in blocks (n, channels) float32 of about a second. `gain`: with which they do not clip."""

    rate: int  # hertz
    length: int
    tracks: Sequence[Track]
    gain: float = 1.0

    def blocks(self) -> Iterator[np.ndarray]:
        channels = max(track.samples.shape[1] for track in self.tracks)
        for start in range(0, self.length, self.rate):
            mixed = np.zeros((min(self.rate, self.length - start), channels), np.float32)
            for track in self.tracks:
                for first in track.firsts:
                    low, high = max(start, first), min(start + len(mixed), first + len(track.samples))
                    if low < high:  # mono goes to both sides
                        heard = np.asarray(track.samples[low - first : high - first])
                        mixed[low - start : high - start] += heard * track.level
            yield mixed * np.float32(self.gain)


@contextlib.asynccontextmanager
async def open_sound(
    stages: Stages, artifacts: ArtifactStore, parts: Sequence[SoundPart], duration: Fraction, metadata: Metadata
) -> AsyncIterator[Sound]:
    """The parts together, for `duration` seconds, silence where none is heard. Spooled to files for the block.

    One speech alone keeps its own rate; a mix is turned down as a whole if it would clip.
    """
    with contextlib.ExitStack() as stack:
        tracks = []
        rate = None if len(parts) == 1 and not parts[0].start else _MIX_RATE
        for part in parts:
            path = stack.enter_context(artifacts.scratch())
            rate, samples = await _spool(stages, part, rate, duration - part.start, path, metadata)
            firsts = _find_firsts(part, rate, len(samples), duration)
            tracks.append(Track(samples, firsts, 10 ** (part.decibels / 20)))
        assert rate is not None
        sound = Sound(rate, int(duration * rate), tracks)
        yield sound if len(tracks) == 1 else replace(sound, gain=await in_thread(find_gain, sound))


def _find_firsts(part: SoundPart, rate: int, length: int, duration: Fraction) -> list[int]:
    if part.period is None:
        return [round(part.start * rate)]
    period = part.period or Fraction(length, rate)
    count = max(1, -(-(duration - part.start) // period))
    return [round((part.start + number * period) * rate) for number in range(count)]


async def _spool(
    stages: Stages, part: SoundPart, wanted: int | None, most: Fraction, path: Path, metadata: Metadata
) -> tuple[int, StoredArray]:
    """Rate and samples (n, 1 or 2), left in their file. `wanted`: the rate; None: its own. `most`: seconds."""
    rate = channels = 0
    length = most if part.length is None else min(most, part.length)
    with path.open("wb") as file:
        async for block in stages.decode_audio(part.asset, metadata, wanted):
            samples = block.samples if block.samples.shape[1] <= 2 else _mix_to_mono(block.samples)
            rate, channels = block.sample_rate, samples.shape[1]
            low, high = round(part.skip * rate), round((part.skip + length) * rate)
            kept = samples[max(low - block.first_sample, 0) : max(high - block.first_sample, 0)]
            await in_thread(file.write, kept.tobytes())
            if block.first_sample + len(samples) >= high:
                break
    if not rate:
        raise Refusal("EMPTY_AUDIO", "a sound of the job holds no samples", digest=part.asset)
    return rate, StoredArray.open(path, np.float32, channels)


def find_gain(sound: Sound) -> float:
    peak = max(float(np.abs(block).max(initial=0)) for block in sound.blocks())
    return min(1.0, _LOUDEST / peak) if peak > 0 else 1.0


def _mix_to_mono(samples: np.ndarray) -> np.ndarray:
    """(n, channels) -> (n, 1): speech is in the middle of whatever surrounds it."""
    return samples.mean(axis=1, keepdims=True, dtype=np.float32)
