"""Networks on TensorRT 10.12 and later, 11 included: strongly typed, so that precision lives in the exported graph.

An engine is good for one GPU, one version of TensorRT and one range of batches; it is kept under all of these, with its
own digest, and built anew when it is missing, foreign or damaged. Has been run against a double of the published Python
API only; see docs/engines.md.
"""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import tensorrt
import torch

from services.runtime.backends import BackendConfig, Network, Weights
from services.runtime.backends.export import (
    PROFILE_SIDES,
    cache_folder,
    cache_key,
    find_onnx,
    profile_shapes,
    write_aside,
)
from services.runtime.backends.faults import to_fault
from services.runtime.config import ConfigError

_log = structlog.get_logger("tensorrt")
_WORKSPACE_BYTES = 2 << 30
_DIGEST_BYTES = 32


class TensorRTBackend:
    """Backend of services.runtime.backends. Every calling thread has an execution context and a stream of its own."""

    def __init__(self, network: Network, weights: Weights, config: BackendConfig) -> None:
        self._network = network
        self._device = torch.device(config.device)
        self._logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._runtime = tensorrt.Runtime(self._logger)  # must outlive its engines
        self._engine = self._find_engine(weights, config)
        self._threads = threading.local()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            return self._run(inputs)
        except RuntimeError as error:
            fault = to_fault(error)
        raise fault

    def _run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        context, stream = self._context()
        with torch.cuda.stream(stream):  # None, off a GPU, changes nothing
            held = []
            for port, array in zip(self._network.inputs, inputs, strict=True):
                host = torch.from_numpy(np.ascontiguousarray(array, np.float32))
                tensor = (host.pin_memory() if stream else host).to(self._device, non_blocking=True)
                held.append(tensor)  # its memory is TensorRT's until the stream has run
                if not context.set_input_shape(port.name, tuple(tensor.shape)):
                    raise ValueError(f"{self._network.name}: a batch of shape {tuple(tensor.shape)} is out of range")
                context.set_tensor_address(port.name, tensor.data_ptr())
            outputs = []
            for port in self._network.outputs:
                output = torch.empty(tuple(context.get_tensor_shape(port.name)), device=self._device)
                context.set_tensor_address(port.name, output.data_ptr())
                outputs.append(output)
            if not context.execute_async_v3(stream.cuda_stream if stream else 0):
                raise RuntimeError(f"TensorRT could not run {self._network.name}: its log has the reason")
            staged = [output.to("cpu", non_blocking=True) for output in outputs]
        if stream:
            stream.synchronize()
        return [host.numpy() for host in staged]

    def _context(self) -> tuple[Any, Any]:
        if not hasattr(self._threads, "context"):
            context = self._engine.create_execution_context()
            if context is None:
                raise RuntimeError("out of memory: TensorRT has none for another execution context")
            self._threads.context = context
            self._threads.stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        return self._threads.context, self._threads.stream

    def _find_engine(self, weights: Weights, config: BackendConfig) -> Any:
        key = cache_key(
            *(self._network.name, weights.sha256, config.precision, config.max_batch_size, PROFILE_SIDES),
            *(tensorrt.__version__, _device_facts(self._device)),
        )
        path = cache_folder(config) / f"{self._network.name}-{key}.engine"
        if path.is_file() and (engine := self._read_engine(path)) is not None:
            return engine
        _log.info("building an engine, which takes minutes", network=self._network.name, path=str(path))
        serialized = self._build(find_onnx(self._network, weights, config), config)
        write_aside(path, lambda part: _write_checked(part, serialized))
        engine = self._read_engine(path)
        if engine is None:
            raise ConfigError(f"TensorRT {tensorrt.__version__} cannot load the engine it built: {path}")
        return engine

    def _read_engine(self, path: Path) -> Any:
        """None for a file that is damaged or that this TensorRT does not take."""
        content = path.read_bytes()
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        engine = self._runtime.deserialize_cuda_engine(body) if hashlib.sha256(body).digest() == digest else None
        if engine is None:
            _log.warning("an engine is damaged or foreign and will be built anew", path=str(path))
        return engine

    def _build(self, onnx: Path, config: BackendConfig) -> bytes:
        builder = tensorrt.Builder(self._logger)
        # Required by 10; 11 knows no other networks and accepts it.
        flags = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = tensorrt.OnnxParser(network, self._logger)
        if not parser.parse(onnx.read_bytes()):
            errors = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
            raise ConfigError(f"TensorRT {tensorrt.__version__} cannot read {onnx.name}: {errors}")
        builder_config = builder.create_builder_config()
        builder_config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        profile = builder.create_optimization_profile()
        for name, shapes in profile_shapes(self._network, config).items():
            profile.set_shape(name, *shapes)
        builder_config.add_optimization_profile(profile)
        timing = cache_folder(config) / f"{cache_key(tensorrt.__version__, _device_facts(self._device))}.timing"
        known = builder_config.create_timing_cache(timing.read_bytes() if timing.is_file() else b"")
        builder_config.set_timing_cache(known, False)
        serialized = builder.build_serialized_network(network, builder_config)
        if serialized is None:
            raise ConfigError(f"TensorRT {tensorrt.__version__} cannot build {self._network.name}: its log has why")
        learned = bytes(builder_config.get_timing_cache().serialize())
        write_aside(timing, lambda part: _write(part, learned))
        return bytes(serialized)


def _device_facts(device: torch.device) -> list[str]:
    if device.type != "cuda":
        return [device.type]
    return [torch.cuda.get_device_name(device), str(torch.cuda.get_device_capability(device))]


def _write_checked(path: Path, body: bytes) -> None:
    path.write_bytes(hashlib.sha256(body).digest() + body)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
