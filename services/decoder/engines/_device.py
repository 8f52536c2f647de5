"""NVIDIA's decoder (NVDEC), taken where the machine has one that decodes exactly as software does."""

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import structlog
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Interpolation

_log = structlog.get_logger("decoder")
_WIDTH, _HEIGHT, _FRAMES = 256, 144, 12  # of the trial
_EXACT = Interpolation.POINT | Interpolation.ACCURATE_RND  # without the second 10 bits are not kept
_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le", "p016le": "yuv420p12le"}


def find_device() -> HWAccel | None:
    """What av.open takes. None where there is no such card, or where a trial's pictures come out otherwise by it.

    Streams that the card does not know are decoded in software: FFmpeg sees to that.
    """
    try:
        device = HWAccel("cuda", allow_software_fallback=True)
        device.create(av.codec.Codec("h264", "r"))
        with tempfile.TemporaryDirectory() as folder:
            path = _write_trial(Path(folder) / "trial.mp4")
            same = _decode(path, device) == _decode(path, None)
    except (FFmpegError, NotImplementedError, RuntimeError, ValueError) as error:  # the last three: PyAV lacks it
        _log.info("no decoder in hardware", error=str(error))
        return None
    _log.info("decoder in hardware", exact=same)
    return device if same else None


def to_planar(picture: av.VideoFrame) -> av.VideoFrame:
    """The same samples laid out as software decoders do; cards weave the two planes of chroma into one."""
    planar = _PLANAR.get(picture.format.name)
    if planar is None:
        return picture
    told = ColorRange.JPEG if picture.color_range == ColorRange.JPEG else ColorRange.MPEG
    laid_out = picture.reformat(format=planar, src_color_range=told, dst_color_range=told, interpolation=_EXACT)
    laid_out.colorspace, laid_out.color_range = picture.colorspace, picture.color_range
    return laid_out


def _write_trial(path: Path) -> Path:
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(_FRAMES):
            samples = noise.integers(16, 200, (_HEIGHT * 3 // 2, _WIDTH), np.uint8)
            picture = av.VideoFrame.from_ndarray(samples, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def _decode(path: Path, device: HWAccel | None) -> list[bytes]:
    with av.open(str(path), hwaccel=device) as container:
        return list(_read(container.decode(video=0)))


def _read(pictures: Iterator[av.VideoFrame]) -> Iterator[bytes]:
    for picture in pictures:
        yield to_planar(picture).to_ndarray().tobytes()
