"""SCRFD as an ONNX file: its cells, its distances, and a tiny file that sees what it is told to see."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from services.detector.config import DetectorConfig
from services.detector.engines import TrackSettings, load_engines
from services.detector.engines._centres import decode_centres, make_centres
from services.runtime.backends import BackendConfig
from services.runtime.config import ConfigError
from services.runtime.models import file_digest
from services.runtime.refusal import Refusal

SETTINGS = TrackSettings((512, 512), (512, 512))
STRIDES = (8, 16, 32)


def test_centres_lie_on_the_corners_of_cells_two_on_each() -> None:
    assert make_centres(64, 32, 16).tolist() == [
        [x, y] for y in (0, 16) for x in (0, 16, 32, 48) for _ in range(2)
    ]  # fmt: skip


def test_distances_are_in_strides() -> None:
    """One face at stride 16, in the second anchor of the cell at x 32, y 16; a better one at stride 8, at 8, 0."""
    size = (64, 32)
    counts = [len(make_centres(*size, stride)) for stride in STRIDES]
    scores, boxes, points = ([np.zeros((count, width), np.float32) for count in counts] for width in (1, 4, 10))
    place = 2 * (1 * 4 + 2) + 1
    scores[1][place], boxes[1][place], points[1][place] = 0.7, [1, 0.5, 0.5, 1], np.arange(10) / 10
    scores[0][2], boxes[0][2] = 0.9, [0.5, 0, 1, 2]
    corners, sure, five = decode_centres([*scores, *boxes, *points], size, 0.5)
    assert sure == pytest.approx([0.9, 0.7])
    assert corners.tolist() == [[4, 0, 16, 16], [16, 8, 40, 32]]
    expected = [[32 + 1.6 * (2 * k), 16 + 1.6 * (2 * k + 1)] for k in range(5)]
    assert five[1] == pytest.approx(np.array(expected), abs=1e-4)


def write_onnx(path: Path, score: float, anchors: int = 2, points: bool = True) -> None:
    """A file that sees a face in the middle of every picture, half as large: named and shaped as InsightFace's."""
    onnx = pytest.importorskip("onnx", reason="the neural group is not installed")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Shape", ["input.1"], ["shape"])]
    constants = {
        "two": np.array([2], np.int64), "three": np.array([3], np.int64), "four": np.array([4], np.int64),
        "one": np.array([1], np.int64),
        "anchors": np.array([anchors], np.int64), "whole": np.array([-1], np.int64),
    }  # fmt: skip
    nodes += [
        helper.make_node("Slice", ["shape", "two", "three"], ["height"]),
        helper.make_node("Slice", ["shape", "three", "four"], ["width"]),
    ]
    outputs = []
    for stride in STRIDES:
        constants[f"stride_{stride}"] = np.array([stride], np.int64)
        nodes += [
            helper.make_node("Div", ["height", f"stride_{stride}"], [f"rows_{stride}"]),
            helper.make_node("Div", ["width", f"stride_{stride}"], [f"columns_{stride}"]),
            helper.make_node("Mul", [f"rows_{stride}", f"columns_{stride}"], [f"cells_{stride}"]),
            helper.make_node("Mul", [f"cells_{stride}", "anchors"], [f"count_{stride}"]),
            helper.make_node("Div", [f"rows_{stride}", "two"], [f"row_{stride}"]),
            helper.make_node("Mul", [f"row_{stride}", f"columns_{stride}"], [f"before_{stride}"]),
            helper.make_node("Div", [f"columns_{stride}", "two"], [f"column_{stride}"]),
            helper.make_node("Add", [f"before_{stride}", f"column_{stride}"], [f"cell_{stride}"]),
            helper.make_node("Mul", [f"cell_{stride}", "anchors"], [f"place_{stride}"]),
            helper.make_node("Concat", [f"count_{stride}", "one"], [f"scores_{stride}"], axis=0),
            helper.make_node("ConstantOfShape", [f"scores_{stride}"], [f"none_{stride}"]),
            helper.make_node("Concat", [f"place_{stride}", "nought"], [f"at_{stride}"], axis=0),
            helper.make_node("Unsqueeze", [f"at_{stride}", "nought"], [f"index_{stride}"]),
        ]
        shown = "score" if stride == 32 else "unseen"
        nodes.append(helper.make_node("ScatterND", [f"none_{stride}", f"index_{stride}", shown], [f"score_{stride}"]))
        for kind, width in (("bbox", 4), ("kps", 10)):
            constants[f"{kind}_of_{stride}"] = np.array(
                [[1.5] * 4 if kind == "bbox" else [-0.5, -0.4, 0.5, -0.4, 0, 0, -0.4, 0.5, 0.4, 0.5]], np.float32
            )
            constants[f"{kind}_width"] = np.array([width], np.int64)
            nodes += [
                helper.make_node("Concat", [f"count_{stride}", "one"], [f"{kind}_times_{stride}"], axis=0),
                helper.make_node("Tile", [f"{kind}_of_{stride}", f"{kind}_times_{stride}"], [f"{kind}_{stride}"]),
            ]
    constants["nought"] = np.array([0], np.int64)
    constants["score"], constants["unseen"] = np.array([score], np.float32), np.array([0], np.float32)
    for kind in ("score", "bbox", *(["kps"] if points else [])):
        outputs += [helper.make_tensor_value_info(f"{kind}_{stride}", kinds.FLOAT, None) for stride in STRIDES]
    graph = helper.make_graph(
        nodes,
        "scrfd",
        [helper.make_tensor_value_info("input.1", kinds.FLOAT, [1, 3, "h", "w"])],
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


@pytest.fixture
def config(models: Path, monkeypatch: pytest.MonkeyPatch) -> DetectorConfig:
    monkeypatch.setenv("SYNCLINE_MODELS", str(models))
    monkeypatch.setenv("SYNCLINE_MANIFEST", str(models / "own.toml"))
    return DetectorConfig(engine="scrfd", scrfd_model="ours")


def keep(folder: Path) -> None:
    (folder / "own.toml").write_text(
        f'[models.ours]\nfile = "ours.onnx"\nsha256 = "{file_digest(folder / "ours.onnx")}"\nlicense = "MIT"\n'
        'commercial = true\npage = "tests"\nnetwork = "scrfd"\n'
    )


@pytest.mark.parametrize(("score", "faces"), [(0.9, 1), (0.3, 0)])
def test_a_file_decides_what_is_a_face(config: DetectorConfig, tmp_path: Path, score: float, faces: int) -> None:
    write_onnx(tmp_path / "ours.onnx", score)
    keep(tmp_path)
    (engine,) = load_engines(config)
    assert engine.info.models[0].name == "ours"
    found = engine.open_tracker(SETTINGS).track(skimage.data.astronaut()).faces
    assert len(found) == faces
    for face in found:  # hers is about 90 pixels wide, around x 222, y 115
        assert abs(face.box.x + face.box.width / 2 - 222) < 25
        assert abs(face.box.y + face.box.height / 2 - 115) < 35


@pytest.mark.parametrize(
    ("made", "told"), [({"points": False}, "1 inputs and 6 outputs, not 1 and 9"), ({"anchors": 1}, "of each cell")]
)
def test_another_file_is_refused(
    config: DetectorConfig, tmp_path: Path, made: dict[str, int | bool], told: str
) -> None:
    write_onnx(tmp_path / "ours.onnx", 0.9, **made)  # type: ignore[arg-type]
    keep(tmp_path)
    with pytest.raises(Refusal, match=told) as refused:
        load_engines(config)
    assert refused.value.reason == "MODEL_MISMATCH"


def test_an_onnx_file_needs_onnxruntime(config: DetectorConfig, tmp_path: Path) -> None:
    write_onnx(tmp_path / "ours.onnx", 0.9)
    keep(tmp_path)
    other = DetectorConfig(engine="scrfd", scrfd_model="ours", network=BackendConfig(backend="torch"))
    with pytest.raises(ConfigError, match="scrfd is an ONNX file: it needs BACKEND='onnxruntime'"):
        load_engines(other)
