"""Every backend gives the plain network's numbers, at any batch size; TensorRT as far as its double can tell."""

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the neural group is not installed")

from services.runtime import backends  # noqa: E402
from services.runtime.backends import Backend, BackendConfig, Network, Port, Weights, load_backend  # noqa: E402
from services.runtime.backends.faults import to_fault  # noqa: E402
from services.runtime.config import ConfigError, read_env  # noqa: E402
from services.runtime.networks.catalogue import find_network  # noqa: E402
from tests.neural import CODEFORMER, GFPGAN, save_weights  # noqa: E402
from tests.runtime.backends.tensorrt_double import make_tensorrt  # noqa: E402
from tests.runtime.networks.weights import seed_input, seed_state  # noqa: E402

NETWORKS = {
    "gfpgan": find_network("gfpgan", GFPGAN),
    "codeformer": find_network("codeformer", CODEFORMER),
    "retinaface": find_network("retinaface", {"body": "mobilenet"}),
}
SIDES = {"height": 96, "width": 64}
# Version 11.4 is the newest that is published, 10.16 the newest of 10.
VERSIONS = ("10.16.1.11", "11.4.0.106")


def make_inputs(network: Network, batch: int) -> list[np.ndarray]:
    shapes = [(batch, *(SIDES.get(str(side), side) for side in port.shape)) for port in network.inputs]
    return [seed_input(shape, seed, 0, 1).numpy() for seed, shape in enumerate(shapes)]  # type: ignore[arg-type]


def run_plain(network: Network, inputs: list[np.ndarray]) -> list[np.ndarray]:
    module = network.build()
    module.load_state_dict(seed_state(module))
    with torch.inference_mode():
        outputs = module.eval()(*map(torch.from_numpy, inputs))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


def open_backend(name: str, network: Network, folder: Path, **settings: Any) -> Backend:
    config = BackendConfig(backend=name, cache=str(folder / "cache"), max_batch_size=4, **settings)
    return load_backend(network, save_weights(folder, network), config)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_numbers_are_the_plain_network_s_at_any_batch_size(backend: str, name: str, folder: Path) -> None:
    network = NETWORKS[name]
    opened = open_backend(backend, network, folder)
    for batch in (1, 3):
        inputs = make_inputs(network, batch)
        for found, wanted in zip(opened.run(inputs), run_plain(network, inputs), strict=True):
            assert relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize(("backend", "precision"), [("torch", "bf16"), ("torch", "fp16"), ("onnxruntime", "fp16")])
def test_half_precision_stays_near(backend: str, precision: str, folder: Path) -> None:
    network = NETWORKS["gfpgan"]
    inputs = make_inputs(network, 2)
    (found,) = open_backend(backend, network, folder, precision=precision).run(inputs)
    (wanted,) = run_plain(network, inputs)
    noise = float(np.square(found - wanted).mean())
    psnr = 10 * np.log10(float(np.ptp(wanted)) ** 2 / noise)
    assert psnr > (30 if precision == "bf16" else 40)


def test_what_chooses_codeformer_s_codes_stays_in_single_precision(folder: Path) -> None:
    opened = open_backend("torch", NETWORKS["codeformer"], folder, precision="fp16")
    module = opened._module.module  # type: ignore[attr-defined]
    kinds = {name: parameter.dtype for name, parameter in module.named_parameters()}
    chooses = ("feat_emb", "ft_layers", "idx_pred_layer")
    for name, kind in kinds.items():
        assert (kind == torch.float32) == name.startswith(chooses), name
    assert np.isfinite(opened.run(make_inputs(NETWORKS["codeformer"], 2))[0]).all()


def test_an_exported_network_needs_no_torch_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["gfpgan"]
    opened = open_backend("onnxruntime", network, folder)
    monkeypatch.setattr("services.runtime.backends.export._export", lambda *_: pytest.fail("exported again"))
    weights = Weights(Path("/gone"), save_weights(folder, network).sha256)
    config = BackendConfig(cache=str(folder / "cache"))
    inputs = make_inputs(network, 1)
    assert np.array_equal(load_backend(network, weights, config).run(inputs)[0], opened.run(inputs)[0])


def test_an_exported_network_that_was_damaged_is_exported_again(folder: Path) -> None:
    network = NETWORKS["gfpgan"]
    open_backend("onnxruntime", network, folder)
    for path in (folder / "cache").glob("gfpgan-*.onnx"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + bytes(64) + content[len(content) // 2 + 64 :])
    inputs = make_inputs(network, 1)
    (found,), (wanted,) = open_backend("onnxruntime", network, folder).run(inputs), run_plain(network, inputs)
    assert relative_error(found, wanted) < 1e-4


@pytest.fixture(params=VERSIONS)
def tensorrt(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for left in (folder / "cache").glob("*.engine"):  # the exported networks stay
        left.unlink()
    double = make_tensorrt(request.param)
    double.__spec__ = ModuleSpec("tensorrt", None)  # PyTorch looks whether there is one
    monkeypatch.setitem(sys.modules, "tensorrt", double)
    name = "services.runtime.backends.tensorrt"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield double
    sys.modules.pop(name, None)


def open_tensorrt(network: Network, folder: Path, **settings: Any) -> Backend:
    """On the CPU, which the configuration does not allow: there the double's addresses are."""
    module: ModuleType = importlib.import_module("services.runtime.backends.tensorrt")
    config = BackendConfig(cache=str(folder / "cache"), max_batch_size=4, **settings)
    backend: Backend = module.TensorRTBackend(network, save_weights(folder, network), config)
    return backend


def test_tensorrt_builds_once_and_runs(tensorrt: Any, folder: Path) -> None:
    network = NETWORKS["gfpgan"]
    opened = open_tensorrt(network, folder)
    for batch in (1, 4):
        inputs = make_inputs(network, batch)
        for found, wanted in zip(opened.run(inputs), run_plain(network, inputs), strict=True):
            assert relative_error(found, wanted) < 1e-4
    with pytest.raises(ValueError, match="out of range"):
        opened.run(make_inputs(network, 5))
    open_tensorrt(network, folder)
    assert tensorrt.builds == 1
    assert list((folder / "cache").glob("*.timing"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "foreign"])
def test_a_damaged_or_foreign_engine_is_built_anew(tensorrt: Any, folder: Path, damage: str) -> None:
    network = NETWORKS["gfpgan"]
    open_tensorrt(network, folder)
    (path,) = (folder / "cache").glob("*.engine")
    content = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        module = importlib.import_module("services.runtime.backends.tensorrt")
        module._write_checked(path, content[32:].replace(tensorrt.__version__.encode(), b"9.9"))
    opened = open_tensorrt(network, folder)
    assert tensorrt.builds == 2
    inputs = make_inputs(network, 1)
    assert relative_error(opened.run(inputs)[0], run_plain(network, inputs)[0]) < 1e-4


@pytest.mark.parametrize("change", ["batch", "version", "gpu"])
def test_an_engine_is_kept_under_all_it_depends_on(
    tensorrt: Any, folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NETWORKS["gfpgan"]
    open_tensorrt(network, folder)
    module = importlib.import_module("services.runtime.backends.tensorrt")
    config = BackendConfig(
        cache=str(folder / "cache"),
        max_batch_size=2 if change == "batch" else 4,
    )
    if change == "version":
        tensorrt.__version__ = "11.9.9"
    if change == "gpu":
        monkeypatch.setattr(module, "_device_facts", lambda _: ["another", "(12, 0)"])
    module.TensorRTBackend(network, save_weights(folder, network), config)
    assert tensorrt.builds == 2


def test_a_graph_that_tensorrt_cannot_read_is_explained(
    tensorrt: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("services.runtime.backends.tensorrt")
    monkeypatch.setattr(
        "services.runtime.backends.tensorrt.find_onnx", lambda *_: save_weights(folder, NETWORKS["gfpgan"]).path
    )
    with pytest.raises(ConfigError, match=r"TensorRT .* cannot read gfpgan\.pth"):
        open_tensorrt(NETWORKS["gfpgan"], folder)


def test_a_backend_that_is_not_installed_names_its_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.delitem(sys.modules, "services.runtime.backends.tensorrt", raising=False)
    config = BackendConfig(backend="tensorrt", device="cuda")
    with pytest.raises(ConfigError, match=r"BACKEND='tensorrt': .*'tensorrt' is not installed.*group 'gpu'"):
        load_backend(NETWORKS["gfpgan"], save_weights(folder, NETWORKS["gfpgan"]), config)


def test_a_device_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    with pytest.raises(ConfigError, match="this ONNX Runtime has only"):
        open_backend("onnxruntime", NETWORKS["gfpgan"], folder, device="cuda")
    assert "expandable_segments:True" in os.environ["PYTORCH_ALLOC_CONF"]  # before the device is touched


class Sessions:
    """ONNX Runtime as it is built for GPUs: keeps what it was asked for; the CPU computes.

    A file of engines named `damaged` cannot be read.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self._real = onnxruntime.InferenceSession

    def __call__(self, path: str, options: Any, providers: list[Any]) -> Any:
        self.asked.append(dict(providers))
        for _, settings in providers:
            folder = settings.get("trt_engine_cache_path")
            if folder and (Path(folder) / "damaged").exists():
                raise RuntimeError("TensorRT EP failed to deserialize engine")
        return self._real(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    made = Sessions()
    known = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", made)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    return made


def test_onnxruntime_is_told_how_to_use_a_gpu(sessions: Sessions, folder: Path) -> None:
    network = NETWORKS["gfpgan"]
    open_backend("onnxruntime", network, folder, device="cuda:1")
    open_backend("onnxruntime", network, folder, device="cuda:1", provider="tensorrt")
    plain, built = sessions.asked
    assert list(plain) == ["CUDAExecutionProvider"]
    assert plain["CUDAExecutionProvider"]["device_id"] == 1
    assert list(built) == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
    ]  # what the first cannot, the second does
    options = built["TensorrtExecutionProvider"]
    assert options["device_id"] == 1
    assert options["trt_profile_min_shapes"] == "face:1x3x64x64"
    assert options["trt_profile_opt_shapes"] == "face:2x3x64x64"
    assert options["trt_profile_max_shapes"] == "face:4x3x64x64"
    assert Path(options["trt_engine_cache_path"]).parent == folder / "cache"


def test_engines_of_onnxruntime_that_cannot_be_read_are_built_anew(sessions: Sessions, folder: Path) -> None:
    network = NETWORKS["gfpgan"]
    open_backend("onnxruntime", network, folder, device="cuda", provider="tensorrt")
    (kept,) = (folder / "cache").glob("gfpgan-*.trt")
    (kept / "damaged").touch()
    opened = open_backend("onnxruntime", network, folder, device="cuda", provider="tensorrt")
    assert not (kept / "damaged").exists()
    inputs = make_inputs(network, 1)
    assert relative_error(opened.run(inputs)[0], run_plain(network, inputs)[0]) < 1e-4


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"X_BACKEND": "caffe"}, "X_BACKEND='caffe' is not one of onnxruntime, torch, tensorrt"),
        ({"X_PRECISION": "int8"}, "X_PRECISION='int8' is not one of fp32, fp16"),
        ({"X_DEVICE": "tpu"}, "X_DEVICE='tpu' is not cpu"),
        ({"X_BACKEND": "tensorrt"}, "X_BACKEND='tensorrt' needs a DEVICE that is cuda"),
        ({"X_PROVIDER": "directml"}, "X_PROVIDER='directml' is not one of cuda, tensorrt"),
        ({"X_PROVIDER": "tensorrt"}, "X_PROVIDER='tensorrt' is for BACKEND='onnxruntime' with a DEVICE that is cuda"),
        ({"X_MAX_BATCH_SIZE": "0"}, "X_MAX_BATCH_SIZE=0 is below 1"),
        ({"X_MAX_QUEUE_DELAY": "2"}, "X_MAX_QUEUE_DELAY=2 is outside"),
    ],
)
def test_bad_settings_name_their_variable(variables: dict[str, str], told: str) -> None:
    from services.restorer.config import RestorerConfig

    with pytest.raises(ConfigError, match=f"^{told}"):
        read_env(RestorerConfig, "X_", variables)


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", backends.OutOfMemory),
        ("Failed to allocate memory for requested buffer of size 1073741824", backends.OutOfMemory),
        ("CUDA error: an illegal memory access was encountered", backends.DeviceLost),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", backends.OutOfMemory),
        ("CUDA error: misaligned address", backends.DeviceLost),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", backends.DeviceLost),
        ("shape '[2]' is invalid", RuntimeError),
    ],
)
def test_errors_of_devices_are_told_apart(message: str, fault: type[Exception]) -> None:
    assert type(to_fault(RuntimeError(message))) is fault


def test_a_compiled_network_is_ready_for_every_batch_before_it_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Any:
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())

    network = Network("small", build, (Port("face", (3, 16, 16)),), (Port("changed", (4, 14, 14)),))
    compiled: list[int] = []  # sizes of the batches that graphs were made for

    def compile_for(graph: Any, examples: list[Any]) -> Any:
        compiled.append(next(int(each.shape[0]) for each in examples if getattr(each, "ndim", 0) == 4))
        return graph.forward

    monkeypatch.setattr(
        torch, "compile", lambda module, mode, compile=torch.compile: compile(module, backend=compile_for)
    )
    opened = open_backend("torch", network, folder, compile=True)
    assert len(compiled) == 2
    for batch in (1, 2, 3, 4):
        inputs = make_inputs(network, batch)
        assert relative_error(opened.run(inputs)[0], run_plain(network, inputs)[0]) < 1e-5
    assert len(compiled) == 2
