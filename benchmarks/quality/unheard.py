"""Which voice model a clip is judged with: one that did not learn from it.

voices/ holds models beside the engine's own, each taught by all its material but some clips, which its metadata name;
tools/train_voice.py writes them.
"""

import json
from functools import cache
from pathlib import Path

import onnxruntime

from services.lipsync.engines.rewrite import voice

VOICES = Path(__file__).with_name("voices")
_SHIPPED = voice.MODEL_FILE


def choose_voice_model(clip: str) -> Path:
    """The model that never heard the clip of that name: the engine's own, if no other says that it left it out."""
    return next((path for path in sorted(VOICES.glob("*.onnx")) if clip in _read_unheard(path)), _SHIPPED)


def use_unheard(clip: str) -> None:
    """From here on the engine answers with that model."""
    voice.MODEL_FILE = choose_voice_model(clip)
    voice.load_voice_model.cache_clear()


@cache
def _read_unheard(path: Path) -> list[str]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [str(name) for name in json.loads(session.get_modelmeta().custom_metadata_map["unheard"])]
