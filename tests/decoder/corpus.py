"""Odd files whose truth is known: every codec and container with turns, clocks, layouts and sizes."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, product
from pathlib import Path

import av
import numpy as np

from services.runtime.process import leave_real_time

FRAMES = 8
BASE, STEP, BRIGHTER = 50, 10, 70  # luma of the first frame, from frame to frame, and of the top left quarter
CHROMA = 108, 150
MATRICES = {  # of FFmpeg: (a, b, u, c, d, v, x, y, w)
    "upright": (1, 0, 0, 1),
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "mirrored 90": (0, -1, -1, 0),
    "mirrored 270": (0, 1, 1, 0),
}
_CLOCKS = {  # time base; ticks of each frame
    "25": (Fraction(1, 25), [*range(FRAMES)]),
    "23.976": (Fraction(1001, 24000), [*range(FRAMES)]),
    "29.97": (Fraction(1001, 30000), [*range(FRAMES)]),
    "60": (Fraction(1, 60), [*range(FRAMES)]),
    "late": (Fraction(1, 25), [*range(50, 50 + FRAMES)]),
    "variable": (Fraction(1, 1000), [0, 40, 80, 200, 233, 266, 500, 533]),
}
_TURNING = ("mp4", "mov", "m4v")  # containers that can say that a picture is turned
_EVEN = ("libx264", "libx265", "libsvtav1", "prores_ks")  # coders that want whole chroma samples
_SIZES = {True: [(64, 48), (66, 82)], False: [(64, 48), (75, 49), (66, 81)]}  # by whether they must be even

_LOSSLESS = {"qp": "0", "bf": "2", "g": "5"}
_CODERS: list[tuple[str, dict[str, str], list[str], list[str]]] = [  # coder, its options, containers, layouts
    ("libx264", _LOSSLESS, ["mp4", "mov", "m4v", "mkv", "ts"],
     ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuvj420p"]),
    ("libx265", {"x265-params": "log-level=none:qp=4"}, ["mp4", "mov", "mkv"], ["yuv420p", "yuv422p10le"]),
    ("libvpx", {"crf": "4", "b": "4M"}, ["webm", "mkv"], ["yuv420p"]),
    ("libvpx-vp9", {"lossless": "1", "deadline": "realtime", "cpu-used": "8"}, ["webm", "mp4"],
     ["yuv420p", "yuv444p"]),
    ("libsvtav1", {"crf": "4", "preset": "12", "svtav1-params": "lp=1"}, ["mp4", "webm"], ["yuv420p", "yuv420p10le"]),
    ("mpeg4", {"qmin": "1", "qmax": "2"}, ["avi", "mp4"], ["yuv420p"]),
    ("mjpeg", {"qmin": "1", "qmax": "2"}, ["avi", "mov"], ["yuvj420p", "yuvj444p"]),
    ("prores_ks", {"profile": "3"}, ["mov"], ["yuv422p10le"]),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class OddFile:
    coder: str
    options: tuple[tuple[str, str], ...]
    container: str
    layout: str
    turn: str
    clock: str
    size: tuple[int, int]  # as coded

    @property
    def name(self) -> str:
        size = "x".join(map(str, self.size))
        return f"{self.coder} {self.layout} {size} {self.turn} at {self.clock}.{self.container}"

    @property
    def is_transposed(self) -> bool:
        return MATRICES[self.turn][0] == 0

    @property
    def shown_size(self) -> tuple[int, int]:
        """Upright, without the last column or row of an odd size."""
        width, height = (side & ~1 for side in self.size)
        return (height, width) if self.is_transposed else (width, height)

    @property
    def times(self) -> list[Fraction]:
        """Of the frames, in seconds from the first."""
        time_base, ticks = _CLOCKS[self.clock]
        return [(tick - ticks[0]) * time_base for tick in ticks]

    @property
    def rotation(self) -> int:
        """Clockwise degrees, once it is mirrored."""
        degrees = self.turn.removeprefix("mirrored").removeprefix("upright")
        return int(degrees or 0)

    @property
    def corner(self) -> tuple[int, int]:
        """(right, lower) of the quarter that is brighter once it is shown: 0 or 1."""
        a, b, c, d = MATRICES[self.turn]
        return int(a + c < 0), int(b + d < 0)

    def write(self, path: Path) -> Path:
        time_base, ticks = _CLOCKS[self.clock]
        format_name = "mp4" if self.container == "m4v" else None
        with av.open(str(path), "w", format=format_name) as file:
            rate = 25 if time_base.denominator == 1000 else 1 / time_base
            stream = file.add_stream(self.coder, rate=rate, options=dict(self.options))
            stream.width, stream.height = self.size
            stream.pix_fmt = self.layout
            stream.codec_context.time_base = stream.time_base = time_base
            stream.codec_context.colorspace = 5 if "j" in self.layout else 1  # of H.273: what JPEG means, BT.709
            if self.turn != "upright":
                a, b, c, d = (number * 65536 for number in MATRICES[self.turn])
                stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
            stream.codec_context.open()
            leave_real_time()  # into which SVT-AV1 may have taken the tests
            for number, tick in enumerate(ticks):
                picture = self._paint(number)
                picture.pts, picture.time_base = tick, time_base
                file.mux(stream.encode(picture))
            file.mux(stream.encode(None))
        return path

    def _paint(self, number: int) -> av.VideoFrame:
        picture = av.VideoFrame(*self.size, self.layout)
        kind, scale = (np.dtype("<u2"), 4) if "10" in self.layout else (np.dtype("u1"), 1)
        for index, plane in enumerate(picture.planes):
            samples = np.full((plane.height, plane.line_size // kind.itemsize), 0, kind)
            if index:
                samples[:] = CHROMA[index - 1] * scale
            else:
                samples[:] = (BASE + STEP * number) * scale
                samples[: self.size[1] // 2, : self.size[0] // 2] += BRIGHTER * scale
            plane.update(samples.tobytes())
        return picture


def odd_files() -> Iterator[OddFile]:
    """Every coder in every container and layout, and with each of these every turn and clock that it can tell."""
    sizes = {even: cycle(choices) for even, choices in _SIZES.items()}
    for coder, options, containers, layouts in _CODERS:
        for place, (container, layout) in enumerate(product(containers, layouts)):
            turns = list(MATRICES) if container in _TURNING else ["upright"]
            clocks = ["25", "29.97", "60"] if container == "avi" else list(_CLOCKS)
            for step in range(max(len(turns), len(clocks))):
                # Each turn once and each clock once, paired anew in the next file.
                turn, clock = turns[step % len(turns)], clocks[(step + place) % len(clocks)]
                even = coder in _EVEN and layout != "yuv444p"
                yield OddFile(coder, tuple(options.items()), container, layout, turn, clock, next(sizes[even]))
