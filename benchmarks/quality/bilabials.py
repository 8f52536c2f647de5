"""When lips must close: at each m, b and p that a recognizer hears in a clip's sound.

The recognizer is PocketSphinx with the US English model, dictionary and language model of its wheel (dependency group
`quality`). It mishears words, so that some phones are missed; seldom does it hear one where nobody said any.
"""

import numpy as np

from services.lipsync.engines import SPEECH_RATE

BILABIALS = frozenset({"M", "B", "P"})  # CMUdict's names of the consonants that both lips make (IPA)
_FRAMES_A_SECOND = 100  # of the recognizer
_PEAK = 0.9  # of full scale


def hear_bilabials(speech: np.ndarray) -> np.ndarray | None:
    """Begin and end of each m, b and p in English speech, (n, 2) seconds; None where PocketSphinx is not installed.

    `speech`: (n,) float32 at SPEECH_RATE. Words are recognized first, then aligned with the sound phone by phone.
    """
    try:
        from pocketsphinx import Decoder
    except ModuleNotFoundError:
        return None
    level = _PEAK * 32767 / max(float(np.abs(speech).max(initial=0.0)), 1e-6)
    data = (speech * level).astype("<i2").tobytes()
    decoder = Decoder(samprate=SPEECH_RATE, loglevel="FATAL")

    def listen() -> None:
        decoder.start_utt()
        decoder.process_raw(data, full_utt=True)
        decoder.end_utt()

    if data:
        listen()
    if decoder.hyp() is None:
        return np.zeros((0, 2))
    decoder.set_alignment()
    listen()
    phones = [phone for word in decoder.get_alignment().words() for phone in word if phone.name in BILABIALS]
    spans = [(phone.start, phone.start + phone.duration) for phone in phones]
    return np.array(spans, np.float64).reshape(-1, 2) / _FRAMES_A_SECOND
