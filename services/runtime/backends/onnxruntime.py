"""Networks on ONNX Runtime: the default, on the CPU, CUDA or TensorRT; PyTorch is for the first export alone."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import structlog

from services.runtime.backends import BackendConfig, Network, Weights
from services.runtime.backends.export import cache_folder, cache_key, find_onnx, profile_shapes
from services.runtime.backends.faults import to_fault
from services.runtime.config import ConfigError
from services.runtime.refusal import Refusal

_log = structlog.get_logger("onnxruntime")
_WORKSPACE_BYTES = 2 << 30


class OnnxRuntimeBackend:
    """Backend of services.runtime.backends."""

    def __init__(self, network: Network, weights: Weights, config: BackendConfig) -> None:
        engines = _engine_folder(network, weights, config)
        providers = _find_providers(network, config, engines)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.log_severity_level = 3  # errors; its warnings are about its own choices
        path = str(find_onnx(network, weights, config))
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's own classes have no common public base
            if config.provider != "tensorrt" or not engines.is_dir() or not any(engines.iterdir()):
                raise
            _log.warning("the engines kept cannot be used and are built anew", path=str(engines), error=str(error))
            shutil.rmtree(engines)
            providers = _find_providers(network, config, engines)
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        _check(self._session, network, weights)
        self._names = [port.name for port in self._session.get_inputs()]
        self._one_by_one = network.one_by_one

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self._one_by_one:
            return self._run(inputs)
        runs = [self._run([array[place : place + 1] for array in inputs]) for place in range(len(inputs[0]))]
        return [
            np.stack([output.reshape(output.shape[-2:]) for output in outputs]) for outputs in zip(*runs, strict=True)
        ]

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        feeds = {name: np.ascontiguousarray(array, np.float32) for name, array in zip(self._names, inputs, strict=True)}
        try:
            outputs: list[np.ndarray] = self._session.run(None, feeds)
            return outputs
        except Exception as error:
            fault = to_fault(error)
        raise fault


def _check(session: Any, network: Network, weights: Weights) -> None:
    """Raises Refusal MODEL_MISMATCH for an ONNX file with other inputs or outputs than the network's."""
    found, wanted = (
        (len(session.get_inputs()), len(session.get_outputs())),
        (len(network.inputs), len(network.outputs)),
    )
    if found != wanted:
        message = (
            f"{weights.path.name} is no {network.name}: it has {found[0]} inputs and {found[1]} outputs, "
            f"not {wanted[0]} and {wanted[1]}"
        )
        raise Refusal("MODEL_MISMATCH", message, path=weights.path)


def _engine_folder(network: Network, weights: Weights, config: BackendConfig) -> Path:
    """Of one network's engines; ONNX Runtime names the files by the GPU and by TensorRT's version."""
    key = cache_key(network.name, weights.sha256, config.precision, config.max_batch_size, onnxruntime.__version__)
    return cache_folder(config) / f"{network.name}-{key}.trt"


def _find_providers(network: Network, config: BackendConfig, engines: Path) -> list[Any]:
    """Raises ConfigError when this build of ONNX Runtime lacks the provider."""
    if config.device == "cpu":
        return ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    wanted = ["TensorrtExecutionProvider"] if config.provider == "tensorrt" else []
    wanted.append("CUDAExecutionProvider")
    if not set(wanted) <= set(available):
        raise ConfigError(f"device={config.device!r}: this ONNX Runtime has only {', '.join(available)}")
    number = int(config.device.partition(":")[2] or 0)
    settings = {
        "CUDAExecutionProvider": {
            "device_id": number,
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",  # batches of changing size would else double it
        }
    }
    if config.provider == "tensorrt":
        settings["TensorrtExecutionProvider"] = _tensorrt_options(network, config, engines, number)
    return [(name, settings[name]) for name in wanted]


def _tensorrt_options(network: Network, config: BackendConfig, engines: Path, number: int) -> dict[str, Any]:
    """Half precision is in the graph, so that no flag asks for it."""
    engines.mkdir(parents=True, exist_ok=True)
    shapes = profile_shapes(network, config)
    profiles = {
        f"trt_profile_{which}_shapes": ",".join(
            f"{name}:{'x'.join(map(str, several[place]))}" for name, several in shapes.items()
        )
        for place, which in enumerate(("min", "opt", "max"))
    }
    return {
        "device_id": number,
        "trt_max_workspace_size": _WORKSPACE_BYTES,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(engines.parent),
        **profiles,
    }
