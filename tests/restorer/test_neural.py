"""The neural restorers around networks whose effect is known, and once with real ones on tiny random weights."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.restorer.engines._alignment import align_to_ffhq
from services.restorer.engines.neural import NeuralRestorer
from services.restorer.servicer import RestorerServicer
from services.runtime.alignment import find_five_points
from services.runtime.backends import BackendConfig, OutOfMemory
from services.runtime.batching import Batcher
from services.runtime.config import ConfigError
from services.runtime.engine import EngineInfo
from services.runtime.faces import Crop
from services.runtime.refusal import Refusal
from syncline import errors
from syncline.v1 import restorer_pb2, restorer_pb2_grpc
from tests.restorer.test_servicer import OPEN, crops_of, packet_of
from tests.stages import converse, face_crop, is_refused, run, serving, with_weight

SIDE = 128


class Device:
    """Runs a function of faces (B, 3, side, side) as if it were a network; has memory for `room` of them."""

    def __init__(self, effect: Callable[[np.ndarray], np.ndarray], room: int = 64) -> None:
        self.effect, self.room = effect, room
        self.batches: list[int] = []

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(inputs[0]) > self.room:
            raise OutOfMemory("CUDA out of memory")
        self.batches.append(len(inputs[0]))
        return [self.effect(inputs[0]).astype(np.float32)]


def sharpen(faces: np.ndarray) -> np.ndarray:
    return np.stack([face + (face - cv2.blur(face.transpose(1, 2, 0), (5, 5)).transpose(2, 0, 1)) for face in faces])


def somebody_else(faces: np.ndarray) -> np.ndarray:
    rows = np.linspace(-1, 1, faces.shape[2])[:, None] * np.linspace(1, -1, faces.shape[3])
    return np.broadcast_to(np.sign(rows), faces.shape)


@pytest.fixture
def make() -> Iterator[Callable[[Device], NeuralRestorer]]:
    opened: list[Batcher] = []

    def make_restorer(device: Device) -> NeuralRestorer:
        opened.append(Batcher(device, BackendConfig(max_batch_size=8, max_queue_delay=0.01)))
        return NeuralRestorer(EngineInfo("fake", "1"), opened[-1], SIDE)

    yield make_restorer
    for batcher in opened:
        batcher.close()


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [with_weight(face_crop(frame)) for frame in range(4)]


def test_the_points_of_the_template_stay_where_they_are() -> None:
    template = np.array([[192.98, 239.95], [318.9, 240.19], [256.63, 314.02], [201.26, 371.41], [313.09, 371.15]])
    assert np.allclose(align_to_ffhq(template + 0.5, 512), [[1, 0, 0], [0, 1, 0]], atol=0.02)


@pytest.mark.parametrize(("turn", "scale"), [(0.0, 2.0), (0.4, 0.5), (-2.0, 1.3)])
def test_alignment_undoes_any_turn_scale_and_shift(turn: float, scale: float) -> None:
    template = np.array([[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935],
                         [201.26117, 371.41043], [313.08905, 371.15118]]) / 2  # fmt: skip
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = template @ rotation.T + [40, -7]
    matrix = align_to_ffhq(moved + 0.5, 256)
    assert np.allclose(moved @ matrix[:, :2].T + matrix[:, 2], template, atol=1e-6)


def test_a_crop_comes_out_alike_in_any_company(make: Callable[[Device], NeuralRestorer], crops: list[Crop]) -> None:
    """What replicas need to share one face: nothing is remembered, and nobody's neighbours count."""
    engine = make(Device(sharpen))
    together = engine.restore(crops, 1.0)
    alone = [engine.restore([crop], 1.0)[0] for crop in reversed(crops)]
    for one, other in zip(together, reversed(alone), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.trust == other.trust == 1


def test_only_the_replaced_part_changes_and_more_with_strength(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop]
) -> None:
    engine = make(Device(sharpen))
    half, whole = (engine.restore(crops, strength) for strength in (0.5, 1.0))
    for sent, some, all_ in zip(crops, half, whole, strict=True):
        kept = sent.pixels[..., 3] == 0
        assert np.array_equal(all_.pixels[kept], sent.pixels[kept])
        assert np.array_equal(all_.pixels[..., 3], sent.pixels[..., 3])
        changes = [np.abs(crop.pixels.astype(int) - sent.pixels).sum() for crop in (some, all_)]
        assert 0 < changes[0] < changes[1]


def test_strength_0_and_faces_that_are_not_there_cost_nothing(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop]
) -> None:
    device = Device(sharpen)
    engine = make(device)
    unseen = [replace(crops[0], landmarks=None), replace(crops[1], pixels=crops[1].pixels * [[[1, 1, 1, 0]]])]
    assert engine.restore(crops, 0.0) == crops
    assert engine.restore(unseen, 1.0) == unseen
    assert device.batches == []


def test_a_network_that_changes_nothing_changes_nothing(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop]
) -> None:
    for sent, got in zip(crops, make(Device(lambda faces: faces)).restore(crops, 1.0), strict=True):
        assert np.abs(got.pixels.astype(int) - sent.pixels).max() <= 1


def test_another_tint_is_taken_back(make: Callable[[Device], NeuralRestorer], crops: list[Crop]) -> None:
    (got,) = make(Device(lambda faces: faces + np.array([0.2, 0, -0.2])[:, None, None])).restore(crops[:1], 1.0)
    assert np.abs(got.pixels.astype(int) - crops[0].pixels).mean() < 1.5


@pytest.mark.parametrize("wrong", [somebody_else, lambda faces: faces * np.nan], ids=["another", "no numbers"])
def test_another_face_is_not_let_in(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop], wrong: Callable[[np.ndarray], np.ndarray]
) -> None:
    (got,) = make(Device(wrong)).restore(crops[:1], 1.0)
    assert np.array_equal(got.pixels, crops[0].pixels)
    assert got.trust == 0


class Parser:
    """Says that the right half of every face is covered."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        masks = np.ones((len(inputs[0]), 512, 512), np.float32)
        masks[:, :, 256:] = 0
        return [masks]


def test_what_covers_the_face_is_left_as_it_is(crops: list[Crop]) -> None:
    config = BackendConfig(max_queue_delay=0)
    device, parser = Batcher(Device(sharpen), config), Batcher(Parser(), config)
    try:
        (plain,), (parsed,) = (
            NeuralRestorer(EngineInfo("fake", "1"), device, SIDE, (), over).restore(crops[:1], 1.0)
            for over in (None, parser)
        )
    finally:
        device.close()
        parser.close()
    assert crops[0].landmarks is not None
    middle = int(crops[0].landmarks[4, 0])  # the tip of the nose, which lies in the middle
    left, right = np.s_[:, : middle - 12, :3], np.s_[:, middle + 12 :, :3]
    changed = [np.abs(crop.pixels.astype(int) - crops[0].pixels) for crop in (plain, parsed)]
    assert changed[0][right].any()
    assert not changed[1][right].any()
    assert np.array_equal(changed[0][left], changed[1][left])


def restore_on(engine: NeuralRestorer, crops: Sequence[Crop]) -> list[Crop]:
    async def call() -> list[Crop]:
        async with serving(RestorerServicer(engine)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            return crops_of(await converse(stub.Restore, OPEN, [packet_of(0, crops)]))

    return run(call())


def test_little_memory_makes_smaller_batches_and_the_same_pictures(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop]
) -> None:
    device = Device(sharpen, room=1)
    ample, scarce = restore_on(make(Device(sharpen)), crops), restore_on(make(device), crops)
    assert device.batches == [1, 1, 1, 1]
    for one, other in zip(ample, scarce, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_no_memory_at_all_is_told_with_the_time_to_try_again(
    make: Callable[[Device], NeuralRestorer], crops: list[Crop]
) -> None:
    engine = make(Device(sharpen, room=0))

    async def call() -> errors.SynclineError:
        async with serving(RestorerServicer(engine)) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            return await is_refused(errors.DeviceExhausted, converse(stub.Restore, OPEN, [packet_of(0, crops)]))

    refused = run(call())
    assert refused.retryable
    assert "RetryInfo" in str(errors.to_status(refused).details)


def test_a_stream_chooses_among_the_engines(make: Callable[[Device], NeuralRestorer], crops: list[Crop]) -> None:
    from services.restorer.engines.classic import ClassicRestorer

    device = Device(sharpen)
    servicer = RestorerServicer(ClassicRestorer(), make(device))

    async def call() -> None:
        async with serving(servicer) as served:
            stub = restorer_pb2_grpc.RestorerServiceStub(served.channel)
            can = await stub.GetCapabilities(restorer_pb2.RestorerServiceGetCapabilitiesRequest())
            assert [engine.name for engine in can.engines] == ["classic", "fake"]
            await converse(stub.Restore, OPEN, [packet_of(0, crops)])
            assert device.batches == []
            await converse(stub.Restore, opening("fake"), [packet_of(0, crops)])
            assert sum(device.batches) == len(crops)
            refused = await is_refused(errors.UnknownEngine, converse(stub.Restore, opening("gpen"), []))
            assert "there is: classic, fake" in refused.message

    def opening(engine: str) -> object:
        return type(OPEN)(restorer_pb2.RestoreRequest(open=restorer_pb2.RestoreOpen(engine=engine)))

    run(call())


def test_engines_are_named_once() -> None:
    from services.restorer.config import RestorerConfig
    from services.restorer.engines import load_engines

    assert [engine.info.name for engine in load_engines(RestorerConfig())] == ["classic"]
    for engine in ("", "classic,classic", "classic,gpen"):
        with pytest.raises(ConfigError):
            load_engines(RestorerConfig(engine=engine))


class TestOnTinyWeights:
    """The real networks, small, with random weights, from checkpoint files to pictures."""

    @pytest.fixture
    def config(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
        pytest.importorskip("torch", reason="the neural group is not installed")
        from services.restorer.config import RestorerConfig
        from tests.neural import CODEFORMER, GFPGAN, make_models

        for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
            monkeypatch.setenv(variable, "")
        make_models(tmp_path, {"gfpgan-v1.4": ("gfpgan", GFPGAN), "codeformer": ("codeformer", CODEFORMER)}, False)
        return RestorerConfig(engine="codeformer,gfpgan", allow_noncommercial=True)

    def test_both_restore(self, config: object, crops: list[Crop]) -> None:
        from services.restorer.engines import load_engines

        for name, engine in zip(("codeformer", "gfpgan"), load_engines(config), strict=True):  # type: ignore[arg-type]
            assert engine.info.name == name
            assert [model.license for model in engine.info.models] == ["MIT"]
            assert len(engine.info.models[0].sha256) == 64
            again = [engine.restore(crops, 1.0)[0].pixels for _ in range(2)]
            assert np.array_equal(*again)

    def test_non_commercial_weights_are_refused_at_the_start(self, config: object) -> None:
        from services.restorer.engines import load_engines

        with pytest.raises(Refusal, match="may not be used commercially") as refused:
            load_engines(replace(config, allow_noncommercial=False))  # type: ignore[type-var]
        assert refused.value.reason == "MODEL_FORBIDDEN"

    def test_weights_of_another_network_are_refused(self, config: object) -> None:
        from services.restorer.engines import load_engines

        with pytest.raises(ConfigError, match="holds weights of codeformer, not of gfpgan"):
            load_engines(replace(config, engine="gfpgan", gfpgan_model="codeformer"))  # type: ignore[type-var]


def test_five_points_lie_on_the_face(crops: list[Crop]) -> None:
    mesh = crops[0].landmarks
    assert mesh is not None
    left, right, nose, *corners = find_five_points(mesh)
    assert left[0] < nose[0] < right[0]
    assert corners[0][0] < corners[1][0]
    assert max(left[1], right[1]) < nose[1] < min(corner[1] for corner in corners)
