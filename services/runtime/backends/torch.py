"""Networks on PyTorch: the plain one, and on a GPU half precision, channels last, compiled with CUDA graphs."""

import contextlib
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from services.runtime.backends import BackendConfig, Network, OutOfMemory, Weights
from services.runtime.backends.export import make_example
from services.runtime.backends.faults import to_fault
from services.runtime.backends.precision import in_precision
from services.runtime.networks.checkpoint import load_network


class TorchBackend:
    """Backend of services.runtime.backends. On a GPU every calling thread has a stream of its own.

    Inputs and outputs pass through pinned memory, so that the copies of one thread overlap the work of another.
    """

    def __init__(self, network: Network, weights: Weights, config: BackendConfig) -> None:
        self._device = torch.device(config.device)
        assert network.build is not None  # load_backend has looked
        module = in_precision(load_network(network.build, weights.path), network, config.precision)
        self._module = _channels_last(module.to(self._device))
        if self._device.type == "cpu":
            torch.set_num_threads(config.threads)
        if config.compile:
            mode = "reduce-overhead" if self._device.type == "cuda" else "default"
            self._module = torch.compile(self._module, mode=mode)
        self._threads = threading.local()
        if config.compile:  # now, not under the first jobs; the second graph serves every batch above 1
            for batch in sorted({1, config.max_batch_size}):
                with contextlib.suppress(OutOfMemory):  # whoever makes the batches finds out what fits
                    self.run(make_example(network, batch))

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in inputs]
        try:
            with torch.inference_mode():
                return self._run_on_gpu(tensors) if self._device.type == "cuda" else self._run(tensors)
        except RuntimeError as error:
            fault = to_fault(error)
        raise fault  # outside the except block: a traceback would keep the failed batch's memory

    def _run(self, tensors: list[Tensor]) -> list[np.ndarray]:
        return [output.numpy() for output in self._forward(tensors)]

    def _run_on_gpu(self, tensors: list[Tensor]) -> list[np.ndarray]:
        if not hasattr(self._threads, "stream"):
            self._threads.stream = torch.cuda.Stream(self._device)
        stream = self._threads.stream
        with torch.cuda.stream(stream):
            moved = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            outputs = self._forward(moved)
            staged = [torch.empty(output.shape, dtype=output.dtype, pin_memory=True) for output in outputs]
            for host, output in zip(staged, outputs, strict=True):
                host.copy_(output, non_blocking=True)
        stream.synchronize()
        return [host.numpy() for host in staged]

    def _forward(self, tensors: list[Tensor]) -> tuple[Tensor, ...]:
        tensors = [
            tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor for tensor in tensors
        ]
        result = self._module(*tensors)
        return result if isinstance(result, tuple) else (result,)


def _channels_last(module: torch.nn.Module) -> torch.nn.Module:
    """The weights of convolutions in the order that the device's fast kernels want."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module
