"""Networks on ONNX Runtime: the default, on the CPU, on CUDA; PyTorch is needed only for the first start's export."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from services.runtime.backends import BackendConfig, Network, Weights
from services.runtime.backends.export import find_onnx
from services.runtime.backends.faults import to_fault
from services.runtime.config import ConfigError


class OnnxRuntimeBackend:
    """Backend of services.runtime.backends."""

    def __init__(self, network: Network, weights: Weights, config: BackendConfig) -> None:
        providers = _providers(config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.log_severity_level = 3  # errors; its warnings are about its own choices
        path = str(find_onnx(network, weights, config))
        self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        self._names = [port.name for port in network.inputs]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        feeds = {name: np.ascontiguousarray(array, np.float32) for name, array in zip(self._names, inputs, strict=True)}
        try:
            outputs: list[np.ndarray] = self._session.run(None, feeds)
            return outputs
        except Exception as error:  # ONNX Runtime's own classes have no common public base
            fault = to_fault(error)
        raise fault


def _providers(config: BackendConfig) -> list[Any]:
    """Raises ConfigError when this build of ONNX Runtime has no CUDA."""
    if config.device == "cpu":
        return ["CPUExecutionProvider"]
    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise ConfigError(f"device={config.device!r}: this ONNX Runtime has only {', '.join(available)}")
    number = int(config.device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number, "cudnn_conv_algo_search": "HEURISTIC"})]
