"""What the benchmarks measure with: a real clip, scaled and made longer, and real speech."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
CLIP, SPEECH = CLIPS / "talking" / "azure_1080_delivering.mp4", CLIPS / "speech" / "en_jfk.flac"
RATE = 25  # frames per second of the clips made
_SPEECH_RATE = 16000  # hertz
_GRAIN = 4  # code values of luma, at most


def scale_clip(source: Path, target: Path, width: int, height: int, count: int, bit_rate: int | None = None) -> Path:
    """`count` frames of the clip, again from its begin where it is shorter.

    `bit_rate`: bits per second, with the grain of a camera's sensor, without which a clip has no use for many.
    """
    options = {"preset": "ultrafast", **({} if bit_rate else {"crf": "20"})}
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = bit_rate or 0
        stream.codec_context.time_base = Fraction(1, RATE)
        done = 0
        while done < count:
            given.seek(0)
            for picture in given.decode(video=0):
                scaled = picture.reformat(width, height, "yuv420p")
                if bit_rate:
                    scaled = _add_grain(scaled, done)
                scaled.pts, scaled.time_base = done, Fraction(1, RATE)
                scaled.pict_type = 0  # the coder chooses
                container.mux(stream.encode(scaled))
                done += 1
                if done == count:
                    break
        container.mux(stream.encode(None))
    return target


def _add_grain(picture: av.VideoFrame, number: int) -> av.VideoFrame:
    samples = picture.to_ndarray()
    luma = samples[: picture.height]
    grain = np.random.default_rng(number).integers(-_GRAIN, _GRAIN, luma.shape, np.int8, endpoint=True)
    luma[:] = np.clip(luma + grain.astype(np.int16), 16, 235)
    return av.VideoFrame.from_ndarray(samples, "yuv420p")


def repeat_speech(source: Path, target: Path, seconds: float) -> Path:
    """WAV, the speech again and again."""
    resampler = av.AudioResampler("s16", "mono", _SPEECH_RATE)
    with av.open(str(source)) as given:
        pieces = [piece.to_ndarray()[0] for frame in given.decode(audio=0) for piece in resampler.resample(frame)]
    samples = np.resize(np.concatenate(pieces), round(seconds * _SPEECH_RATE))
    with av.open(str(target), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=_SPEECH_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate = _SPEECH_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target
