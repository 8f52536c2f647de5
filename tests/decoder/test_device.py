"""Decoding on a graphics card, in whose place software weaves pictures as cards do, against decoding in software."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from services.decoder.config import DecoderConfig
from services.decoder.engines import _device, load_engine
from services.decoder.engines._device import find_device
from services.decoder.engines.pyav import PyAVDecoder
from tests.decoder.corpus import FRAMES, OddFile
from tests.decoder.test_pyav import write_video

CARD: Any = SimpleNamespace(create=lambda codec: None)
LOSSLESS = (("qp", "0"), ("bf", "2"), ("g", "5"))
FILES = [
    OddFile("libx264", LOSSLESS, "mp4", "yuv420p", "90", "variable", (66, 82)),
    OddFile("libx264", LOSSLESS, "mkv", "yuvj420p", "upright", "29.97", (64, 48)),
    OddFile("libx265", (("x265-params", "log-level=none:qp=4"),), "mp4", "yuv420p10le", "mirrored", "late", (66, 82)),
    OddFile("libx264", LOSSLESS, "ts", "yuv422p", "upright", "60", (64, 48)),  # not woven: software's own
]
_WOVEN = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
_open = av.open

Alter = Callable[[int, av.VideoFrame], av.VideoFrame]


class WovenPacket:
    def __init__(self, packet: av.Packet, decode: Callable[[av.Packet], list[av.VideoFrame]]) -> None:
        self._packet, self._decode = packet, decode

    def decode(self) -> list[av.VideoFrame]:
        return self._decode(self._packet)


class WovenContainer:
    """A file whose pictures come as from a card. `alter(number, picture)` changes them, or fails."""

    def __init__(self, container: Any, alter: Alter) -> None:
        self._container, self._alter, self._count = container, alter, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> "WovenContainer":
        self._container.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._container.__exit__(*exc_info)

    def demux(self, *streams: Any) -> Iterator[WovenPacket]:
        return (WovenPacket(packet, self._weave) for packet in self._container.demux(*streams))

    def decode(self, video: int) -> Iterator[av.VideoFrame]:
        for packet in self._container.demux(video=video):
            yield from self._weave(packet)

    def _weave(self, packet: av.Packet) -> list[av.VideoFrame]:
        woven = []
        for picture in packet.decode():
            layout = _WOVEN.get(picture.format.name)
            if layout is not None:
                told, matrix = picture.color_range, picture.colorspace
                picture = picture.reformat(format=layout, src_color_range=told, dst_color_range=told)
                picture.color_range, picture.colorspace = told, matrix
            woven.append(self._alter(self._count, picture))
            self._count += 1
        return woven


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[[Alter], None]:
    """Puts one into the machine that alters pictures so."""

    def put(alter: Alter) -> None:
        def open_file(*arguments: Any, hwaccel: Any = None, **options: Any) -> Any:
            container = _open(*arguments, **options)
            return WovenContainer(container, alter) if hwaccel is CARD else container

        class Accelerator:
            def __new__(cls, *_: Any, **__: Any) -> Any:
                return CARD

        monkeypatch.setattr(av, "open", open_file)
        monkeypatch.setattr(_device, "HWAccel", Accelerator)

    return put


def keep(number: int, picture: av.VideoFrame) -> av.VideoFrame:
    return picture


def fail_after(count: int) -> Alter:
    def alter(number: int, picture: av.VideoFrame) -> av.VideoFrame:
        if number >= count:
            raise av.error.ExternalError(1, "the card gave out")
        return picture

    return alter


def decode(engine: PyAVDecoder, path: Path, start: Fraction | None = None) -> list[tuple[int, bytes]]:
    stream = engine.decode_frames(path, start, None)
    frames = list(stream.frames)
    assert all(frame.format == stream.format for frame in frames)
    return [(frame.pts, b"".join(np.ascontiguousarray(plane).tobytes() for plane in frame.planes)) for frame in frames]


@pytest.mark.parametrize("odd", FILES, ids=lambda odd: odd.name)
def test_a_card_gives_the_frames_of_software(odd: OddFile, card: Callable[[Alter], None], tmp_path: Path) -> None:
    path = odd.write(tmp_path / f"odd.{odd.container}")
    by_software = PyAVDecoder()
    card(keep)
    by_card = PyAVDecoder(CARD)
    assert by_card.decode_frames(path, None, None).format == by_software.decode_frames(path, None, None).format
    assert len(decode(by_card, path)) == FRAMES
    assert decode(by_card, path) == decode(by_software, path)


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("start", [None, Fraction(2)])
def test_where_the_card_gives_out_software_goes_on(
    count: int, start: Fraction | None, card: Callable[[Alter], None], tmp_path: Path
) -> None:
    path = write_video(tmp_path / "video.mp4", count=100)
    card(fail_after(count))
    assert decode(PyAVDecoder(CARD), path, start) == decode(PyAVDecoder(), path, start)


def test_a_damaged_file_gives_what_it_gives_in_software(card: Callable[[Alter], None], tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.ts", count=100)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 40):
        content[place] ^= 0xFF
    path.write_bytes(content)
    card(keep)
    found = decode(PyAVDecoder(CARD), path)
    wanted = decode(PyAVDecoder(), path)
    assert len(found) > 10
    assert [pts for pts, _ in found] == [pts for pts, _ in wanted]
    # Of FFmpeg's threads whichever is ahead conceals damage from: software alone may show such a picture otherwise.
    assert sum(own != other for own, other in zip(found, wanted, strict=True)) <= 3


def test_a_card_is_tried_before_it_is_taken(card: Callable[[Alter], None]) -> None:
    def darken(number: int, picture: av.VideoFrame) -> av.VideoFrame:
        samples = picture.to_ndarray()
        samples[5, 5] -= 1
        return av.VideoFrame.from_ndarray(samples, picture.format.name)

    accelerator: Any
    for alter, taken in ((keep, True), (darken, False), (fail_after(3), False)):
        card(alter)
        accelerator = find_device()
        assert (accelerator is CARD) == taken


@pytest.mark.skipif(find_device() is not None, reason="this machine has such a card")
def test_without_a_card_software_decodes(tmp_path: Path) -> None:
    engine = load_engine("pyav", DecoderConfig(tmp_path).hardware)
    assert engine.info == load_engine("pyav").info
    assert PyAVDecoder(CARD).info.version == engine.info.version + "-nvdec"
