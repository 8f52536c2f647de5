"""Other rooms, microphones and paces for a recording that a net is to learn from."""

import numpy as np

from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import voice

SPEED_SPREAD = 0.16  # of the logarithm of speed; pitch goes along
_EQ_HERTZ = np.array([0, 150, 400, 1000, 2000, 3500, 5500, 8000])
_BABBLE_VOICES = 4


def vary_speech(speech: np.ndarray, others: list[np.ndarray], random: np.random.Generator) -> tuple[float, np.ndarray]:
    """Speed, and features of the speech at that speed through another channel, with noise or `others` under it."""
    speed = float(np.exp(random.uniform(-SPEED_SPREAD, SPEED_SPREAD)))
    varied = play_faster(speech, speed)
    if random.random() < 0.6:
        varied = filter_channel(varied, random)
    if random.random() < 0.4:
        varied = add_reverb(varied, random)
    if random.random() < 0.75:
        varied = add_noise(varied, others, random)
    peak = 10 ** random.uniform(-1.15, 0.15)
    varied = varied * peak / max(np.abs(varied).max(), 1e-6)
    return speed, voice.make_features(voice.mel_of(varied.astype(np.float32)))


def play_faster(speech: np.ndarray, speed: float) -> np.ndarray:
    places = np.arange(int(len(speech) / speed)) * speed
    return np.interp(places, np.arange(len(speech)), speech)


def filter_channel(speech: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random frequency response, now and then one that loses the treble or the bass."""
    length = _power_of_two(len(speech))
    gains = np.cumsum(random.normal(0, 2.5, len(_EQ_HERTZ)))  # dB
    gains -= gains.mean()
    if random.random() < 0.3:
        gains[-2:] -= random.uniform(5, 20)
    if random.random() < 0.2:
        gains[:2] -= random.uniform(5, 20)
    response = 10 ** (np.interp(np.fft.rfftfreq(length, 1 / SPEECH_RATE), _EQ_HERTZ, gains) / 20)
    return np.fft.irfft(np.fft.rfft(speech, length) * response, length)[: len(speech)]


def add_reverb(speech: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noise that dies away by 60 dB in 0.1 to 0.5 s, after the direct sound."""
    taps = int(random.uniform(0.1, 0.5) * SPEECH_RATE)
    room = random.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / taps)
    room *= random.uniform(0.1, 0.6) / np.sqrt((room**2).sum())
    room[0] = 1
    length = _power_of_two(len(speech) + taps)
    return np.fft.irfft(np.fft.rfft(speech, length) * np.fft.rfft(room, length), length)[: len(speech)]


def add_noise(speech: np.ndarray, others: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """White noise, a rumble, or other people, 2 dB louder than the speech down to 25 dB quieter."""
    ratio = random.uniform(-2, 25)  # dB
    kind = random.integers(3)
    noise = random.standard_normal(len(speech))
    if kind == 1:
        noise = np.cumsum(noise)
        noise -= np.convolve(noise, np.ones(800) / 800, "same")
    elif kind == 2:
        noise = np.zeros(len(speech))
        for _ in range(_BABBLE_VOICES):
            other = np.resize(others[random.integers(len(others))], len(speech))
            noise += np.roll(other / (other.std() + 1e-6), random.integers(len(speech)))
        ratio += 5
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-ratio / 20)
    return speech + noise * level / (noise.std() + 1e-9)


def _power_of_two(samples: int) -> int:
    return 1 << int(np.ceil(np.log2(max(samples, 2))))
