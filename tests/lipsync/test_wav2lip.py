"""Wav2Lip's algorithm around networks whose effect is known, and once around a real one on random weights."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.lipsync.config import LipsyncConfig
from services.lipsync.engines import Expression, PrepareSettings, TrackPoint, load_engines
from services.lipsync.engines.rewrite import RewriteEngine
from services.lipsync.engines.wav2lip import Wav2LipEngine
from services.lipsync.engines.wav2lip.face import find_box, make_mask, smooth_boxes, to_network
from services.lipsync.engines.wav2lip.mel import make_mel, place_windows
from services.runtime.backends import BackendConfig
from services.runtime.batching import Batcher
from services.runtime.blobs import Blob, Spool
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop, CropOutcome
from services.runtime.refusal import Refusal
from tests.stages import face_crop

SIDE = 96
TIME_BASE = Fraction(1, 25)


def make_sound() -> np.ndarray:
    noise = np.random.RandomState(3).uniform(-0.3, 0.3, 16000 * 2 + 137).astype(np.float32)
    return noise * np.sin(np.arange(len(noise)) / 3000) ** 2


def test_the_mel_is_librosa_s() -> None:
    """Of librosa 0.11 with Wav2Lip's settings: bands 0, 10, 40 and 79 at steps 0, 7, 80 and 160."""
    mel = make_mel(make_sound())
    assert mel.shape == (80, 161)
    assert mel[[0, 10, 40, 79]][:, [0, 7, 80, 160]] == pytest.approx(
        np.array([
            [-4.0, -2.347663402557373, -1.2233998775482178, -1.43744957447052],
            [-4.0, -1.207230567932129, -0.9313878417015076, -0.05395989492535591],
            [-4.0, -0.38681045174598694, 0.7745998501777649, 0.8550822138786316],
            [-2.850773334503174, 0.484618604183197, 1.3464250564575195, 1.3103904724121094],
        ]),
        abs=1e-5,
    )  # fmt: skip
    assert float(mel.mean()) == pytest.approx(-0.35249323, abs=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 300, 401, 16000])
def test_silence_of_any_length_is_the_lowest_level(samples: int) -> None:
    mel = make_mel(np.zeros(samples, np.float32))
    assert mel.shape == (80, max(samples, 401) // 200 + 1)
    assert (mel == -4).all()


def test_windows_follow_the_frames_own_times() -> None:
    steps = 800
    for rate in (Fraction(30000, 1001), Fraction(25), Fraction(24000, 1001)):
        times = np.array([float(number / rate) for number in range(240)])
        windows = place_windows(times, steps)
        assert np.abs(windows / 80 - times)[windows < steps - 16].max() <= 1 / 80
        assert windows.max() <= steps - 16


class Device:
    """Answers faces of one colour per item: the mean of its mel; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        mel, faces = inputs
        self.asked.append((mel, faces))
        return [np.broadcast_to((mel.mean(axis=(1, 2, 3)) / 8 + 0.5)[:, None, None, None], (len(mel), 3, SIDE, SIDE))]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def engine(device: Device) -> Iterator[Wav2LipEngine]:
    batcher = Batcher(device, BackendConfig(max_batch_size=8, max_queue_delay=0.01))  # type: ignore[arg-type]
    yield Wav2LipEngine(EngineInfo("wav2lip", "1"), batcher, SIDE)
    batcher.close()


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [face_crop(frame) for frame in range(8)]


def plan(engine: Wav2LipEngine, crops: Sequence[Crop], speech: np.ndarray) -> tuple[Blob, Blob]:
    prepared = prepare(engine, crops)
    planning = engine.open_planning(prepared, len(crops), TIME_BASE)
    planning.add_speech(speech)
    planning.add_track([TrackPoint(place, place, place, crop.landmarks) for place, crop in enumerate(crops)])
    return prepared, planning.finish()


def prepare(engine: Wav2LipEngine, crops: Sequence[Crop]) -> Blob:
    preparation = engine.open_preparation(PrepareSettings(TIME_BASE, 1.0))
    preparation.add_crops(crops)
    return preparation.finish().blob


def test_the_lower_face_is_replaced_softly_and_nothing_else(engine: Wav2LipEngine, crops: list[Crop]) -> None:
    rendering = engine.open_rendering(*plan(engine, crops, make_sound()))
    for sent, got in zip(crops, rendering.sync_batch(crops), strict=True):
        assert isinstance(got, Crop)
        assert got.outcome is CropOutcome.SYNCED
        weight, mesh = got.pixels[..., 3], sent.landmarks
        assert mesh is not None
        assert np.array_equal(got.pixels[weight == 0][:, :3], sent.pixels[weight == 0])
        mouth = mesh[[13, 14], :2].mean(axis=0).round().astype(int)
        assert weight[mouth[1], mouth[0]] == 255
        eye = mesh[159, :2].round().astype(int)
        assert weight[max(eye[1], 0), eye[0]] == 0
        assert np.abs(np.diff(weight.astype(int), axis=1)).max() < 80  # no hard edge


def test_the_network_sees_the_speech_of_the_frame_and_a_masked_face(
    engine: Wav2LipEngine, device: Device, crops: list[Crop]
) -> None:
    speech = make_sound()
    rendering = engine.open_rendering(*plan(engine, crops, speech))
    rendering.sync_batch(crops)
    ((mel, faces),) = device.asked  # one batch for all
    expected = make_mel(speech)
    for frame in range(len(crops)):
        first = int(frame / 25 * 80)
        assert np.abs(mel[frame, 0] - expected[:, first : first + 16]).max() < 3e-3
    assert (faces[:, :3, SIDE // 2 :] == 0).all()
    assert np.array_equal(faces[:, :3, : SIDE // 2], faces[:, 3:, : SIDE // 2])
    assert faces[:, 3:].max() <= 1
    assert faces[:, 3:, SIDE // 2 :].std() > 0.02


def test_a_face_in_the_picture_s_own_size_comes_as_it_is() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    faces = to_network(picture, np.array([0, 0, 96, 96], np.float32), 96)
    assert np.allclose(faces[3:].transpose(1, 2, 0)[..., ::-1] * 255, picture, atol=1e-3)


def test_of_384_pixels_the_masked_half_keeps_the_border_that_the_network_was_trained_with() -> None:
    picture = np.full((384, 384, 3), 90, np.uint8)
    black = to_network(picture, np.array([0, 0, 384, 384], np.float32), 384)[0] == 0
    assert np.array_equal(np.argwhere(black)[[0, -1]], [[192, 8], [375, 375]])
    assert black.sum() == 184 * 368


def test_frames_without_a_face_pass_and_others_of_their_batch_do_not(engine: Wav2LipEngine, crops: list[Crop]) -> None:
    rendering = engine.open_rendering(*plan(engine, crops, make_sound()))
    unseen = Crop(1, 1, crops[1].pixels, None)
    beyond = Crop(99, 99, crops[2].pixels, crops[2].landmarks)
    first, passed, refused = rendering.sync_batch([crops[0], unseen, beyond])
    assert isinstance(first, Crop)
    assert first.outcome is CropOutcome.SYNCED
    assert isinstance(passed, Crop)
    assert passed.outcome is CropOutcome.PASSED_THROUGH
    assert isinstance(refused, Refusal)
    assert refused.reason == "INVALID_BATCH"


def test_a_frame_comes_out_alike_alone_and_among_others(engine: Wav2LipEngine, crops: list[Crop]) -> None:
    rendering = engine.open_rendering(*plan(engine, crops, make_sound()))
    together = rendering.sync_batch(crops)
    alone = [rendering.sync_batch([crop])[0] for crop in crops]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Crop)
        assert isinstance(other, Crop)
        assert np.array_equal(one.pixels, other.pixels)


def test_no_speech_at_all_is_silence(engine: Wav2LipEngine, crops: list[Crop]) -> None:
    rendering = engine.open_rendering(*plan(engine, crops, np.zeros(0, np.float32)))
    assert all(isinstance(answer, Crop) for answer in rendering.sync_batch(crops))


def test_blobs_of_another_engine_are_refused_both_ways(engine: Wav2LipEngine, crops: list[Crop]) -> None:
    rewrite = RewriteEngine()
    preparation = rewrite.open_preparation(PrepareSettings(TIME_BASE, 1.0))
    preparation.add_crops(crops)
    prepared, planned = plan(engine, crops, make_sound())
    theirs = preparation.finish().blob
    for refused in (
        lambda: engine.open_planning(theirs, 8, TIME_BASE),
        lambda: engine.open_rendering(prepared, prepared),
        lambda: engine.open_rendering(planned, planned),
        lambda: engine.open_rendering(prepared, Spool.of(planned.read(0, planned.size - 9))),
        lambda: rewrite.open_planning(prepared, 8, TIME_BASE),
    ):
        with pytest.raises(Refusal) as refusal:
            refused()
        assert refusal.value.reason == "BLOB_UNUSABLE"


def test_padding_widens_the_mask(crops: list[Crop]) -> None:
    mesh = crops[0].landmarks
    assert mesh is not None
    areas = [int((make_mask(mesh, find_box(mesh), (256, 256), padding) > 0).sum()) for padding in (0.5, 1.0, 1.5)]
    assert areas[0] < areas[1] < areas[2]
    assert Expression(padding=1.0).padding == 1.0


def test_boxes_are_averaged_and_gaps_stay() -> None:
    boxes = np.tile(np.arange(8, dtype=np.float32)[:, None], (1, 4))
    boxes[3] = np.nan
    smoothed = smooth_boxes(boxes)
    assert np.isnan(smoothed[3]).all()
    assert np.allclose(smoothed[0], np.mean([0, 1, 2, 4]))
    assert np.allclose(smoothed[7], np.mean([4, 5, 6, 7]))


def test_the_real_network_on_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: list[Crop]) -> None:
    pytest.importorskip("torch", reason="the neural group is not installed")
    from tests.neural import make_models

    for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
        monkeypatch.setenv(variable, "")
    make_models(tmp_path, {"wav2lip-gan": ("wav2lip", {})})
    rewrite, loaded = load_engines(LipsyncConfig(engine="rewrite,wav2lip"))
    assert (rewrite.info.name, loaded.info.name) == ("rewrite", "wav2lip")
    assert loaded.info.models[0].name == "wav2lip-gan"
    assert isinstance(loaded, Wav2LipEngine)
    answers = loaded.open_rendering(*plan(loaded, crops[:2], make_sound())).sync_batch(crops[:2])
    assert all(isinstance(answer, Crop) and answer.outcome is CropOutcome.SYNCED for answer in answers)
