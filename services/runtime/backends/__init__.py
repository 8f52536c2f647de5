"""One interface to what runs a network: PyTorch, ONNX Runtime or TensorRT. Heavy imports only for the one chosen.

A backend takes and gives NumPy arrays, float32, the batch first, and any batch size from 1 to the configured one.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from services.runtime.config import ConfigError


class OutOfMemory(Exception):
    """The device has no memory for this batch; a smaller one may fit."""


class DeviceLost(Exception):
    """The device or its driver is in a state that nothing but a new process mends."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output. `shape` leaves the batch out; a side that may vary has a name instead of a number."""

    name: str
    shape: tuple[int | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """What a backend runs. `build` makes the torch.nn.Module of `services.runtime.networks`.

    Without `build` the weights are an ONNX file, which holds the network itself; its inputs and outputs are known by
    their order, as exporters name them differently. `one_by_one`: it takes no batches.

    `single`: submodules that stay in single precision when the rest does not, because their numbers decide.
    """

    name: str
    build: Callable[[], Any] | None
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    single: tuple[str, ...] = ()
    one_by_one: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    path: Path
    sha256: str


@dataclass(frozen=True)
class BackendConfig:
    """How networks are run; variables begin with the stage's name: RESTORER_BACKEND."""

    backend: str = "onnxruntime"  # or torch, tensorrt
    device: str = "cpu"  # or cuda, cuda:1, ...
    provider: str = "cuda"  # of onnxruntime on a GPU; or tensorrt, which builds engines at the start
    precision: str = "fp32"  # or fp16; torch also does bf16
    compile: bool = False  # torch: compiled, with CUDA graphs on a GPU
    threads: int = 2  # of one inference on the CPU
    max_batch_size: int = 8  # items
    max_queue_delay: float = 0.005  # seconds that an item waits for others to share its batch
    instances: int = 1  # batches under way at once on the device; copies of one overlap the work of another
    cache: str = ""  # folder of exported networks and built engines; default: cache/ in the models' folder

    def __post_init__(self) -> None:
        _one_of("backend", self.backend, tuple(_BACKENDS))
        _one_of("precision", self.precision, ("fp32", "fp16", "bf16") if self.backend == "torch" else ("fp32", "fp16"))
        if self.device != "cpu" and self.device.partition(":")[0] != "cuda":
            raise ConfigError(f"DEVICE={self.device!r} is not cpu, cuda or cuda:1")
        _one_of("provider", self.provider, ("cuda", "tensorrt"))
        if self.provider == "tensorrt" and (self.backend != "onnxruntime" or self.device == "cpu"):
            raise ConfigError("PROVIDER='tensorrt' is for BACKEND='onnxruntime' with a DEVICE that is cuda")
        if self.backend == "tensorrt" and self.device == "cpu":
            raise ConfigError("BACKEND='tensorrt' needs a DEVICE that is cuda")
        for name in ("threads", "max_batch_size", "instances"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name.upper()}={getattr(self, name)} is below 1")
        if not 0 <= self.max_queue_delay <= 1:
            raise ConfigError(f"MAX_QUEUE_DELAY={self.max_queue_delay:g} is outside 0 to 1 s")


class Backend(Protocol):
    """Safe to call from several threads."""

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One batch: (B, *shape) float32 for each port, in order. Raises OutOfMemory, DeviceLost."""
        ...


# Batches of changing size would leave the device's memory in pieces: segments that grow, large blocks left whole.
_ALLOCATOR = "expandable_segments:True,max_split_size_mb:256"
_BACKENDS = {"onnxruntime": "OnnxRuntimeBackend", "torch": "TorchBackend", "tensorrt": "TensorRTBackend"}


def load_backend(network: Network, weights: Weights, config: BackendConfig) -> Backend:
    """The network on the configured backend, loaded; built first where it has to be, which can take minutes.

    Raises ConfigError when the backend's packages are not installed, or cannot run an ONNX file as it is; Refusal
    MODEL_MISMATCH.
    """
    if network.build is None and (config.backend, config.precision) != ("onnxruntime", "fp32"):
        raise ConfigError(f"{network.name} is an ONNX file: it needs BACKEND='onnxruntime' and PRECISION='fp32'")
    if config.device != "cpu":
        os.environ.setdefault("PYTORCH_ALLOC_CONF", _ALLOCATOR)  # read when PyTorch first allocates on the device
    try:
        module = import_module(f"services.runtime.backends.{config.backend}")
        backend: Backend = getattr(module, _BACKENDS[config.backend])(network, weights, config)
    except ModuleNotFoundError as error:
        group = "gpu" if config.backend == "tensorrt" else "neural"
        raise ConfigError(
            f"BACKEND={config.backend!r}: Python package {error.name!r} is not installed; "
            f"it is in the dependency group {group!r}"
        ) from error
    return backend


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name.upper()}={value!r} is not one of {', '.join(known)}")
