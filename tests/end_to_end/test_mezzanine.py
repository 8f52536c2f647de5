"""Odd videos made ordinary."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from services.orchestrator.mezzanine import Mezzanine, choose_size
from services.runtime.refusal import Refusal
from syncline import AsyncClient, Client, errors
from syncline.cli import app
from tests.decoder.test_pyav import set_rotation, write_video
from tests.stages import run as run_async

RATE = 48000


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turned, of odd times, its sound late: 2.4 s in all."""
    pts = [*range(0, 1200, 40), *range(1200, 2400, 80)]
    path = tmp_path_factory.mktemp("odd") / "odd.mp4"
    tone = Fraction(1, 2), Fraction(3, 2), RATE
    return set_rotation(
        write_video(path, count=len(pts), size=(320, 240), pts=pts, time_base=Fraction(1, 1000), tone=tone), 90
    )


def look(path: Path) -> tuple[av.VideoFrame, list[Fraction], np.ndarray]:
    """The first picture, all times, and the sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return frames[0], [frame.pts * frame.time_base for frame in frames], sound


def test_a_mezzanine_is_upright_and_of_a_constant_rate(client: Client, odd: Path, tmp_path: Path) -> None:
    made = client.normalize(odd, tmp_path / "plain.mp4", frame_rate=25)
    assert (tmp_path / "plain.mp4").stat().st_size == made.size_bytes
    first, times, sound = look(tmp_path / "plain.mp4")
    assert (first.width, first.height, first.format.name) == (240, 320, "yuv420p")
    assert times == [Fraction(number, 25) for number in range(len(times))]
    assert len(times) == pytest.approx(60, abs=2)
    heard = np.flatnonzero(np.abs(sound) > 0.1)
    assert heard[0] / RATE == pytest.approx(0.5, abs=0.03)
    facts = client.inspect(made)
    assert facts.video is not None
    assert facts.audio is not None
    assert not {"VARIABLE_FRAME_RATE", "ROTATED"} & {advice.code for advice in facts.advice}
    luma = first.to_ndarray()[:320]
    assert luma[40:120, 140:220].mean() > luma[40:120, 20:100].mean() + 10  # the brighter quarter, turned
    # Made once; the asset is the same.
    assert client.normalize(odd, tmp_path / "again.mp4", frame_rate=25) == made


def test_a_size_that_is_asked_for_is_filled_up_with_black(client: Client, odd: Path, tmp_path: Path) -> None:
    client.normalize(odd, tmp_path / "wide.mp4", width=640, height=360, bit_rate=2_000_000)
    first, _, _ = look(tmp_path / "wide.mp4")
    luma = first.to_ndarray()[:360, :640]
    assert luma[:, :180].max() <= 20
    assert luma[:, 460:].max() <= 20
    assert luma[:, 200:440].min() >= 18


def test_the_command_and_the_asynchronous_client_do_the_same(
    client: Client, server: str, odd: Path, tmp_path: Path
) -> None:
    out = tmp_path / "by_command.mp4"
    arguments = ["normalize", str(odd), "--out", str(out), "--frame-rate", "25", "--server", server]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "wrote" in result.output

    async def ask() -> None:
        async with AsyncClient(server) as asynchronous:
            await asynchronous.normalize(odd, tmp_path / "by_async.mp4", frame_rate="25")

    run_async(ask())
    assert out.read_bytes() == (tmp_path / "by_async.mp4").read_bytes()


def test_a_job_can_work_on_the_mezzanine(client: Client, media: Path, tmp_path: Path) -> None:
    job = client.run(media / "portrait.mp4", media / "speech.wav", tmp_path / "out.mp4", normalize=True)
    report = client.report(job)
    assert job.options.normalize
    assert report["settings"]["normalize"]
    assert report["source"]["video"] != job.video
    assert "normalize" in report["seconds"]
    assert report["frames"]["by_outcome"].get("synced", 0) + report["frames"]["by_outcome"].get("drawn", 0) > 0


def test_what_cannot_be_normalized_is_refused(client: Client, media: Path, odd: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidOption, match="photo"):
        client.normalize(media / "portrait.png", tmp_path / "out.mp4")
    with pytest.raises(errors.NoVideo):
        client.normalize(media / "speech.wav", tmp_path / "out.mp4")
    with pytest.raises(errors.InvalidOption, match="go together"):
        client.normalize(odd, tmp_path / "out.mp4", width=640)
    with pytest.raises(errors.InvalidOption, match="even"):
        client.normalize(odd, tmp_path / "out.mp4", width=641, height=360)
    with pytest.raises(errors.InvalidOption, match="bit_rate"):
        client.normalize(odd, tmp_path / "out.mp4", bit_rate=1)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("size", "aspect", "wanted", "expected"),
    [
        ((3840, 2160), Fraction(1), Mezzanine(), ((1920, 1080), (1920, 1080))),
        ((2160, 3840), Fraction(1), Mezzanine(), ((1080, 1920), (1080, 1920))),
        ((640, 360), Fraction(1), Mezzanine(), ((640, 360), (640, 360))),
        ((1440, 1080), Fraction(4, 3), Mezzanine(), ((1920, 1080), (1920, 1080))),
        ((720, 576), Fraction(16, 15), Mezzanine(), ((768, 576), (768, 576))),
        ((720, 480), Fraction(8, 9), Mezzanine(), ((720, 540), (720, 540))),
        ((1080, 1920), Fraction(1), Mezzanine(1920, 1080), ((1920, 1080), (608, 1080))),
        ((640, 360), Fraction(1), Mezzanine(1280, 1280), ((1280, 1280), (1280, 720))),
    ],
)
def test_sizes_keep_the_aspect(
    size: tuple[int, int], aspect: Fraction, wanted: Mezzanine, expected: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    assert choose_size(*size, aspect, wanted) == expected


def test_a_side_alone_is_no_size() -> None:
    with pytest.raises(Refusal, match="go together"):
        Mezzanine(height=720)
