"""The encoder of a graphics card, taken where there is one and it does what a job asks for.

Whether there is one is found by trying: a few pictures of the job's own size and layout are encoded with its settings
and decoded again in software. What they became, as a digest, tells cards and drivers apart that encode differently.
"""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import structlog
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, to_picture
from services.orchestrator.formats import HARDWARE_CODECS, PRESETS
from services.orchestrator.light import UNTOLD
from services.runtime.frames import Frame, FrameFormat
from services.runtime.refusal import Refusal

_log = structlog.get_logger("hardware")
_TRIAL_FRAMES = 4
_UNTRIED = "untried"
_OFF = 8  # code values of 8 bits that a plane's mean may come back off


def choose_encoder(settings: EncodeSettings) -> EncodeSettings:
    """The settings with the card's encoder, or as they are where there is none that will do.

    A preset slower than medium asks for the small files of the software, and HDR's metadata only that can write.
    """
    card = replace(settings, hardware=_UNTRIED)
    if settings.codec not in HARDWARE_CODECS or settings.light != UNTOLD:
        return settings
    if PRESETS.index(settings.preset) >= len(card.video_codec.presets):
        return settings
    if card.output != settings.output:  # it would convert what the software keeps
        return settings
    digest = _try_encoder(card)
    return replace(card, hardware=digest) if digest else settings


def _try_encoder(settings: EncodeSettings) -> str:
    """What the encoder makes of the trial, as a digest; empty where it fails or its pictures are wrong."""
    encoder = settings.video_codec.encoder
    frames = [_draw(number, settings.format) for number in range(_TRIAL_FRAMES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial"
        try:
            with SegmentEncoder(path, settings) as segment:
                for frame in frames:
                    segment.encode(to_picture(frame)[0])
            error = _check(path, settings)
        except (FFmpegError, UnknownCodecError, Refusal) as raised:
            error = str(raised)
        if error:
            _log.info("no encoder in hardware", encoder=encoder, error=error)
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()


def _draw(number: int, frame_format: FrameFormat) -> Frame:
    """Every plane a gradient, which brightens from frame to frame."""
    planes = []
    for plane, (height, width) in enumerate(frame_format.plane_shapes):
        row = (_mean_of(number, plane) + np.linspace(-32, 32, width)) * (1 << frame_format.bit_depth - 8)
        planes.append(np.broadcast_to(row.astype(frame_format.dtype), (height, width)))
    return Frame(number, frame_format, tuple(planes))


def _mean_of(number: int, plane: int) -> int:
    """In code values of 8 bits."""
    return 80 + 16 * number + 24 * plane


def _check(path: Path, settings: EncodeSettings) -> str:
    """What is wrong with the trial's file, for a person; empty for nothing."""
    output = settings.output
    with av.open(path) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        container.seek(0)
        pictures = list(container.decode(video=0))
    sizes = [(picture.width, picture.height) for picture in pictures]
    if keys[:1] != [True] or sizes != [(output.width, output.height)] * _TRIAL_FRAMES:
        return f"{_TRIAL_FRAMES} pictures of {output.width} x {output.height} came back as {sizes}, keys {keys}"
    for number, picture in enumerate(pictures):
        for plane, (samples, shape) in enumerate(zip(picture.planes, output.plane_shapes, strict=False)):
            rows = np.frombuffer(memoryview(samples), output.dtype).reshape(shape[0], -1)
            mean = float(rows[:, : shape[1]].mean()) / (1 << output.bit_depth - 8)
            if abs(mean - _mean_of(number, plane)) > _OFF:
                return f"plane {plane} of picture {number} came back with a mean of {mean:.0f}"
    return ""
