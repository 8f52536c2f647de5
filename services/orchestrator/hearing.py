"""What can be heard in a sound without understanding it: how loud it is, whether anybody may speak, what is cut off."""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np

from services.orchestrator.artifacts import ArtifactStore
from services.orchestrator.stages import Metadata, Stages
from services.runtime.streams import in_thread

_VERSION = "1"  # changes when the same sound may be heard otherwise
_FRAME_SECONDS = 0.02
_FULL_SCALE = 0.99  # of it: samples that are cut off, after a codec has smoothed them
_CUT_RUN = 3  # samples in a row there that are one peak cut off
_QUIETEST = -90.0  # dBFS
_BARELY_HEARD = -50.0  # dBFS
_STANDS_OUT = 9.0  # decibels above the quietest tenth: syllables do, steady noise does not


@dataclass(frozen=True)
class Heard:
    seconds: float
    peak: float  # dBFS
    voiced_seconds: float  # in which the sound stands out of its own background, as speech does
    cut_peaks: int  # peaks cut off at full scale


async def listen(stages: Stages, artifacts: ArtifactStore, digest: str, metadata: Metadata = ()) -> Heard:
    """Listens to a whole sound, unless that was done before. Raises NoAudio, EmptyAudio and what the decoder says."""
    key = json.dumps([_VERSION, digest])
    kept = await in_thread(artifacts.get_artifact, "heard", key)
    if kept is not None:
        return Heard(**json.loads(kept))
    listener = Listener()
    async for block in stages.decode_audio(digest, metadata):
        await in_thread(listener.add, block.samples, block.sample_rate)
    heard = listener.finish()
    await in_thread(artifacts.put_artifact, "heard", key, [json.dumps(asdict(heard)).encode()])
    return heard


class Listener:
    """Takes a sound in blocks and keeps a number for each frame of it."""

    def __init__(self) -> None:
        self._levels: list[np.ndarray] = []
        self._peak = 0.0
        self._cut_peaks = 0
        self._seconds = 0.0

    def add(self, samples: np.ndarray, rate: int) -> None:
        """`samples`: (n, channels) float32, at least one."""
        self._seconds += len(samples) / rate
        self._peak = max(self._peak, float(np.abs(samples).max()))
        self._cut_peaks += max(_count_runs(np.abs(channel) >= _FULL_SCALE) for channel in samples.T)
        length = max(round(_FRAME_SECONDS * rate), 1)
        mono = samples.mean(axis=1)
        frames = mono[: len(mono) // length * length].reshape(-1, length)
        power = np.square(frames, dtype=np.float64).mean(axis=1)
        self._levels.append(10 * np.log10(np.maximum(power, 10 ** (_QUIETEST / 10))))

    def finish(self) -> Heard:
        levels = np.concatenate([np.zeros(0), *self._levels])
        background = float(np.quantile(levels, 0.1)) if len(levels) else _QUIETEST
        voiced = int((levels > max(background + _STANDS_OUT, _BARELY_HEARD)).sum())
        peak = max(20 * math.log10(max(self._peak, 1e-9)), _QUIETEST)
        return Heard(round(self._seconds, 3), round(peak, 1), round(voiced * _FRAME_SECONDS, 2), self._cut_peaks)


def _count_runs(there: np.ndarray) -> int:
    """Of at least _CUT_RUN in a row."""
    edges = np.flatnonzero(np.diff(there.astype(np.int8), prepend=0, append=0))
    return int(((edges[1::2] - edges[::2]) >= _CUT_RUN).sum())
