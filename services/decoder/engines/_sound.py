"""The sound of a source as one gap-free run of samples from its time 0."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.audio.layout import AudioLayout

from services.decoder.engines import AudioBlock
from services.decoder.engines._source import Source, refuse_broken
from services.runtime.refusal import Refusal

MIN_RATE, MAX_RATE = 8000, 192_000  # hertz, of AudioChunk in media.proto
MAX_CHANNELS = 8
# Recorders stamp packets a few samples early or late. Filling and trimming at each would click; an offset this small
# cannot be heard, and one that grows (a drifting clock) is put right as soon as it is larger.
_JITTER = Fraction(5, 1000)  # seconds
_MAX_GAP = 3600  # seconds; beyond it timestamps are broken, and the silence would never end
_SILENCE_STEP = 1  # seconds of silence made at a time
# Mixing down must not go beyond full scale; with floats swresample would let it.
_MIXING = {"rematrix_maxval": "1.0"}

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def read_blocks(source: Source, sample_rate: int | None, channels: int | None) -> Iterator[AudioBlock]:
    """Blocks of at most a second. Raises Refusal NO_AUDIO, EMPTY_AUDIO, TRUNCATED_MEDIA, UNSUPPORTED_MEDIA."""
    if source.audio is None:
        if "audio" in source.undecodable:
            message = "The sound is coded in a way that this decoder does not know. Convert it to AAC or WAV."
            raise Refusal("UNSUPPORTED_MEDIA", message)
        raise Refusal("NO_AUDIO", "The file has no sound. Send one with a sound track.")
    rate = sample_rate or min(max(source.audio.rate, MIN_RATE), MAX_RATE)
    wanted = channels or source.audio.channels
    if wanted > MAX_CHANNELS:
        message = f"The sound has {wanted} channels; at most {MAX_CHANNELS} are possible. Mix it down."
        raise Refusal("UNSUPPORTED_MEDIA", message, channels=wanted)
    # The source's own layout when its channels are kept, so that none is moved or mixed.
    layout = _name_layout(source.audio.layout) if wanted == source.audio.channels else _LAYOUTS[wanted]
    return _cut(_resample(_fill_gaps(source), layout, rate), rate)


def _cut(pieces: Iterator[np.ndarray], rate: int) -> Iterator[AudioBlock]:
    first, waiting, count = 0, list[np.ndarray](), 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        while count >= rate:
            joined = np.concatenate(waiting)
            yield AudioBlock(first, rate, joined[:rate])
            first, waiting, count = first + rate, [joined[rate:]], count - rate
    if count:
        yield AudioBlock(first, rate, np.concatenate(waiting))


def _resample(runs: Iterator[tuple[np.ndarray, str, int]], layout: str, rate: int) -> Iterator[np.ndarray]:
    """(n, channels) float32 pieces at the wanted rate and layout."""
    resampler: av.AudioResampler | None = None
    given: tuple[str, int] | None = None
    for samples, own_layout, own_rate in runs:
        if resampler is None or (own_layout, own_rate) != given:  # first, or the stream changes its form midway
            if resampler is not None:
                yield from _to_samples(resampler.resample(None))
            resampler, given = av.AudioResampler("flt", layout, rate, options=_MIXING), (own_layout, own_rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), "flt", own_layout)
        frame.sample_rate = own_rate
        yield from _to_samples(resampler.resample(frame))
    if resampler is not None:
        yield from _to_samples(resampler.resample(None))


def _to_samples(frames: Sequence[av.AudioFrame | None]) -> Iterator[np.ndarray]:
    for frame in frames:
        if frame is not None and frame.samples:  # a resampler with nothing to do hands the flushing None through
            yield frame.to_ndarray().reshape(-1, frame.layout.nb_channels)


def _fill_gaps(source: Source) -> Iterator[tuple[np.ndarray, str, int]]:
    """Runs of (n, channels) float32 samples that follow one another, with their layout and rate."""
    reached = Fraction(0)  # seconds from time 0: where the next sample belongs
    for samples, layout, rate, start in _decode(source):
        gap = Fraction(0) if start is None else start - source.zero - reached
        if gap > _MAX_GAP:
            message = f"The timestamps of the sound jump by {float(gap):.0f} s. Convert the file so that they follow."
            raise Refusal("UNSUPPORTED_MEDIA", message, gap_seconds=round(gap))
        missing = round(gap * rate) if abs(gap) > _JITTER else 0
        for step in range(0, missing, _SILENCE_STEP * rate):
            count = min(_SILENCE_STEP * rate, missing - step)
            yield np.zeros((count, samples.shape[1]), np.float32), layout, rate
        kept = samples[max(-missing, 0) :]
        if len(kept):
            yield kept, layout, rate
        reached += Fraction(max(missing, 0) + len(kept), rate)


def _decode(source: Source) -> Iterator[tuple[np.ndarray, str, int, Fraction | None]]:
    """Samples as they come, with layout, rate and start (seconds in the file's clock)."""
    form, empty = None, True
    for frame in source.decode_audio():
        if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            converter = av.AudioResampler("flt")  # changes the samples' type and nothing else
        start = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        for samples in _to_samples(converter.resample(frame)):
            empty = False
            yield samples, _name_layout(frame.layout), frame.sample_rate, start
    if empty:
        if source.damaged:
            raise refuse_broken(source.path)
        raise Refusal("EMPTY_AUDIO", "The sound track holds no samples. Record or export it again.")


def _name_layout(layout: AudioLayout) -> str:
    """A name that a resampler takes: a track that tells only its number of channels gets the usual layout."""
    return _LAYOUTS.get(layout.nb_channels, layout.name) if layout.name.endswith("channels") else layout.name
