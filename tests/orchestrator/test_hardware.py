"""A graphics card's encoder: its options are held against FFmpeg's own, all else against software in its place."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.error import FFmpegError

from services.orchestrator import hardware
from services.orchestrator.encoding import EncodeSettings, SegmentEncoder, add_video_stream, to_picture
from services.orchestrator.formats import HARDWARE_CODECS, PRESETS, VIDEO_CODECS, VideoCodec
from services.orchestrator.hardware import choose_encoder
from services.orchestrator.light import Light
from services.orchestrator.options import JobOptions
from services.runtime.frames import Color, ContentLight, FrameFormat, PixelFormat
from services.runtime.refusal import Refusal
from tests.orchestrator.test_encoding import YUV420P, decode_pictures, draw_frame, read_number

SETTINGS = EncodeSettings(YUV420P, Fraction(25))
TEN_BITS = FrameFormat(168, 96, PixelFormat.YUV420P10, Color(9, 9, 18))
CARD = VideoCodec(
    "libx264",
    18,
    51,
    tuple({"preset": preset} for preset in PRESETS[:6]),
    (PixelFormat.YUV420P, PixelFormat.YUV420P10),
    {"bf": "0"},
    "qp",
    {PixelFormat.YUV420P: "nv12"},
)


def open_encoder(settings: EncodeSettings, path: Path, **options: str) -> FFmpegError | None:
    """Why it does not open; None where it does: there is a card."""
    with av.open(path, "w", format="mp4") as container:
        stream = add_video_stream(container, settings)
        stream.options = {**stream.options, **options}
        try:
            stream.codec_context.open()
        except FFmpegError as error:
            return error
    return None


@pytest.mark.parametrize("codec", HARDWARE_CODECS)
def test_the_cards_encoder_knows_every_option_that_it_is_given(codec: str, tmp_path: Path) -> None:
    wrong = (av.error.ArgumentError, av.error.OverflowError)  # in time, before FFmpeg looks for the card
    form = HARDWARE_CODECS[codec]
    settings = replace(SETTINGS, codec=codec, crf=form.most_crf, hardware="card")
    for preset in PRESETS[: len(form.presets)]:
        assert not isinstance(open_encoder(replace(settings, preset=preset), tmp_path / "out"), wrong)
    names = {*form.options, *form.presets[0], form.quality}
    for name in names:
        assert isinstance(open_encoder(settings, tmp_path / "out", **{name: "nonsense"}), wrong), name
    layouts = [layout.name for layout in av.codec.Codec(form.encoder, "w").video_formats]
    assert {form.names.get(layout, "yuv420p") for layout in form.layouts} <= set(layouts)


@pytest.mark.skipif(choose_encoder(SETTINGS) != SETTINGS, reason="this machine has such a card")
@pytest.mark.parametrize("codec", VIDEO_CODECS)
def test_without_a_card_software_encodes(codec: str) -> None:
    settings = replace(SETTINGS, codec=codec)
    assert choose_encoder(settings) == settings


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hardware.HARDWARE_CODECS, "h264", CARD)  # type: ignore[arg-type]


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("frame_format", [YUV420P, TEN_BITS])
def test_a_card_that_works_encodes_every_frame(frame_format: FrameFormat, tmp_path: Path) -> None:
    chosen = choose_encoder(replace(SETTINGS, format=frame_format))
    assert chosen.hardware
    assert chosen.video_codec is CARD
    assert chosen.output == frame_format
    with SegmentEncoder(tmp_path / "out", chosen) as encoder:
        for number in range(10):
            encoder.encode(to_picture(draw_frame(number, frame_format))[0])
    pictures = decode_pictures(tmp_path / "out")
    assert [read_number(picture.to_ndarray(format="yuv420p")) for picture in pictures] == list(range(10))


@pytest.mark.usefixtures("card")
def test_cards_that_encode_differently_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = choose_encoder(SETTINGS)
    assert choose_encoder(SETTINGS) == one
    monkeypatch.setitem(hardware.HARDWARE_CODECS, "h264", replace(CARD, options={"bf": "0", "g": "2"}))  # type: ignore[arg-type]
    other = choose_encoder(SETTINGS)
    assert other.hardware
    assert str(other) != str(one)  # and with it the digest of the job's plan


def test_a_card_that_gives_out_sends_the_job_to_be_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(hardware.HARDWARE_CODECS, "h264", replace(CARD, options={"preset": "no such preset"}))  # type: ignore[arg-type]
    with (
        pytest.raises(Refusal) as refused,
        SegmentEncoder(tmp_path / "out", replace(SETTINGS, hardware="card")) as encoder,
    ):
        encoder.encode(to_picture(draw_frame(0))[0])
    assert refused.value.reason == "DEVICE_EXHAUSTED"


@pytest.mark.parametrize(
    "broken",
    [
        replace(CARD, encoder="no_such_encoder"),
        replace(CARD, options={"preset": "no such preset"}),
        replace(CARD, names={PixelFormat.YUV420P: "gray"}),  # loses the colours
        replace(CARD, names={PixelFormat.YUV420P: "yuv444p"}),  # not the layout asked for
        replace(CARD, encoder="libvpx-vp9", presets=({"deadline": "realtime"},) * 6, options={"lag-in-frames": "-1"}),
    ],
    ids=["none", "fails", "colourless", "other layout", "other codec"],
)
def test_an_encoder_that_fails_its_trial_is_not_taken(broken: VideoCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hardware.HARDWARE_CODECS, "h264", broken)  # type: ignore[arg-type]
    assert choose_encoder(SETTINGS) == SETTINGS


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, preset="slow"),
        replace(SETTINGS, format=replace(YUV420P, pixel_format=PixelFormat.YUV444P)),
        replace(SETTINGS, format=TEN_BITS, light=Light(content_light=ContentLight(1000, 400))),
        replace(SETTINGS, codec="vp9", crf=28),
    ],
    ids=["small files", "chroma", "light", "codec"],
)
def test_what_the_card_would_do_worse_is_left_to_software(settings: EncodeSettings) -> None:
    assert choose_encoder(settings) == settings


def test_what_is_neither_auto_nor_off_is_refused() -> None:
    assert JobOptions.from_json(JobOptions(hardware="off").to_json()).hardware == "off"
    with pytest.raises(Refusal) as refused:
        JobOptions(hardware="gpu")
    assert refused.value.reason == "INVALID_OPTION"
    assert "auto, off" in str(refused.value)
