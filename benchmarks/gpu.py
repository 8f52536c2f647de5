"""Networks on a GPU, from plain eager FP32 to TensorRT: python -m benchmarks.gpu [NAME ...]

For every network and batch of 1 to 32: milliseconds per face with copies there and back, faces per second, peak of
memory, how far that is from the arithmetic floor (the device's own matrix product of the same precision), PSNR against
eager FP32, and the gain over it. What cannot be run here is told and left out.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import NETWORKS, Eager, make_inputs, make_state, measure, save
from services.runtime.backends import BackendConfig, Network, load_backend
from services.runtime.config import ConfigError
from services.runtime.networks.catalogue import find_network

BATCHES = (1, 2, 4, 8, 16, 32)
STEPS = {
    "fp16": {"backend": "torch", "precision": "fp16"},
    "fp16 compiled": {"backend": "torch", "precision": "fp16", "compile": True},
    "onnxruntime fp16": {"backend": "onnxruntime", "precision": "fp16"},
    "tensorrt fp32": {"backend": "tensorrt"},
    "tensorrt fp16": {"backend": "tensorrt", "precision": "fp16"},
}
_PRODUCT = 8192  # side of the matrices that the arithmetic floor is measured with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu: PyTorch sees no CUDA device here")
    print(f"{torch.cuda.get_device_name(arguments.device)}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    floors = {kind: measure_floor(arguments.device, kind) for kind in (torch.float32, torch.float16)}
    for name in arguments.names or NETWORKS:
        with TemporaryDirectory() as folder:
            compare(name, arguments.device, arguments.batches, floors, Path(folder))


def compare(name: str, device: str, batches: Sequence[int], floors: dict[torch.dtype, float], folder: Path) -> None:
    network = find_network(*NETWORKS[name])
    state = make_state(network)
    weights = save(state, folder, name)
    eager = Eager(network, state, device)
    work = count_operations(network, eager)
    runs: dict[str, Callable[[Sequence[np.ndarray]], list[np.ndarray]]] = {"eager fp32": eager.run}
    base = BackendConfig(backend="torch", device=device, cache=str(folder), max_batch_size=max(batches))
    for label, settings in STEPS.items():
        try:
            runs[label] = load_backend(network, weights, replace(base, **settings)).run  # type: ignore[arg-type]
        except (ConfigError, RuntimeError) as error:
            print(f"{name:22s} {label}: left out: {str(error).partition(chr(10))[0]}")
    for batch in batches:
        inputs = make_inputs(network, batch)
        wanted = eager.run(inputs)[0]
        eager_seconds = 0.0
        for label, run in runs.items():
            torch.cuda.reset_peak_memory_stats(device)
            seconds = measure({label: run}, inputs, rounds=10)[label]
            eager_seconds = eager_seconds or seconds
            floor = work * batch / floors[torch.float16 if "fp16" in label else torch.float32]
            print(
                f"{name:22s} batch {batch:2d}  {label:17s} {seconds / batch * 1000:8.2f} ms/face "
                f"{batch / seconds:8.1f} faces/s {torch.cuda.max_memory_allocated(device) / 2**30:6.2f} GiB "
                f"{seconds / floor:6.1f}x floor  PSNR {psnr(run(inputs)[0], wanted):5.1f} dB "
                f"{eager_seconds / seconds:5.2f}x eager",
                flush=True,
            )


def count_operations(network: Network, eager: Eager) -> float:
    """Floating-point operations for one face."""
    counter: Any = FlopCounterMode(display=False)
    with counter:
        eager.run(make_inputs(network, 1))
    return float(counter.get_total_flops())


def measure_floor(device: str, kind: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    left, right = (torch.randn(_PRODUCT, _PRODUCT, device=device, dtype=kind) for _ in range(2))

    def multiply(_: Sequence[np.ndarray]) -> list[np.ndarray]:
        torch.matmul(left, right)
        torch.cuda.synchronize(device)
        return []

    return 2 * _PRODUCT**3 / measure({"product": multiply}, [], rounds=10)["product"]


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    noise = float(np.square(found - wanted).mean())
    return float(10 * np.log10(max(float(np.ptp(wanted)) ** 2, 1e-12) / max(noise, 1e-12)))


if __name__ == "__main__":
    main()
