"""Wav2Lip as an engine: what is around the network (services.runtime.networks.wav2lip)."""

from services.lipsync.engines.wav2lip.engine import Wav2LipEngine, load_wav2lip

__all__ = ["Wav2LipEngine", "load_wav2lip"]
