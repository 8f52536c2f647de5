"""Networks on a GPU, from plain eager FP32 to TensorRT: python -m benchmarks.gpu [NAME ...]

For every network and batch of 1 to 32: milliseconds per face with copies there and back, faces per second, peak of
memory, how far that is from the arithmetic floor (the device's own matrix product of the same precision), PSNR against
eager FP32, and the gain over it. What cannot be run here is told and left out.

`--device cpu` runs the same on a machine without a GPU, which says little of speed, but proves the command.
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
from services.runtime.networks.catalogue import find_network

BATCHES = (1, 2, 4, 8, 16, 32)
EAGER = "eager fp32"
STEPS = {
    "fp16": {"backend": "torch", "precision": "fp16"},
    "fp16 compiled": {"backend": "torch", "precision": "fp16", "compile": True},
    "onnxruntime fp16": {"backend": "onnxruntime", "precision": "fp16"},
    "onnxruntime trt": {"backend": "onnxruntime", "precision": "fp16", "provider": "tensorrt"},
    "tensorrt fp32": {"backend": "tensorrt"},
    "tensorrt fp16": {"backend": "tensorrt", "precision": "fp16"},
}
_ROUNDS = 10
_PRODUCT, _CPU_PRODUCT = 8192, 1024  # side of the matrices that the arithmetic floor is measured with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    arguments = parser.parse_args()
    if arguments.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks.gpu: PyTorch sees no CUDA device here; --device cpu proves the command without one"
        )
    name = "CPU" if arguments.device == "cpu" else torch.cuda.get_device_name(arguments.device)
    print(f"{name}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    floors = {kind: measure_floor(arguments.device, kind) for kind in (torch.float32, torch.float16)}
    for name in arguments.names or NETWORKS:
        with TemporaryDirectory() as folder:
            compare(name, arguments.device, arguments.batches, arguments.steps, floors, Path(folder))


def compare(
    name: str,
    device: str,
    batches: Sequence[int],
    steps: Sequence[str],
    floors: dict[torch.dtype, float],
    folder: Path,
) -> None:
    network = find_network(*NETWORKS[name])
    state = make_state(network)
    weights = save(state, folder, name)
    eager = Eager(network, state, device)
    work = count_operations(network, eager)
    runs: dict[str, Callable[[Sequence[np.ndarray]], list[np.ndarray]]] = {EAGER: eager.run}
    base = BackendConfig(backend="torch", device=device, cache=str(folder), max_batch_size=max(batches))
    for label in steps:
        try:
            runs[label] = load_backend(network, weights, replace(base, **STEPS[label])).run  # type: ignore[arg-type]
        except Exception as error:  # each library has its own: it is not installed, no compiler
            print(f"{name:22s} {label}: left out: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    for batch in batches:
        inputs = make_inputs(network, batch)
        wanted, eager_seconds = None, 0.0
        for label, run in runs.items():
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats(device)
            try:
                seconds = measure({label: run}, inputs, rounds=1 if device == "cpu" else _ROUNDS)[label]
                found = run(inputs)[0]
            except Exception as error:  # as above: too little memory for the batch
                reason = str(error).partition("\n")[0]
                print(f"{name:22s} batch {batch:2d}  {label:17s} left out: {type(error).__name__}: {reason}")
                continue
            if label == EAGER:
                wanted, eager_seconds = found, seconds
            floor = work * batch / floors[torch.float16 if "fp16" in label or "trt" in label else torch.float32]
            beside = ""
            if wanted is not None:
                beside = f"PSNR {psnr(found, wanted):5.1f} dB {eager_seconds / seconds:5.2f}x eager"
            print(
                f"{name:22s} batch {batch:2d}  {label:17s} {seconds / batch * 1000:8.2f} ms/face "
                f"{batch / seconds:8.1f} faces/s {measure_memory(device)} {seconds / floor:6.1f}x floor  {beside}",
                flush=True,
            )


def count_operations(network: Network, eager: Eager) -> float:
    """Floating-point operations for one face."""
    counter: Any = FlopCounterMode(display=False)
    with counter:
        eager.run(make_inputs(network, 1))
    return float(counter.get_total_flops())


def measure_memory(device: str) -> str:
    """The peak since it was last reset, of what PyTorch has taken; other libraries take theirs past it."""
    return "" if device == "cpu" else f"{torch.cuda.max_memory_allocated(device) / 2**30:6.2f} GiB"


def measure_floor(device: str, kind: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = _CPU_PRODUCT if device == "cpu" else _PRODUCT
    left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))

    def multiply(_: Sequence[np.ndarray]) -> list[np.ndarray]:
        torch.matmul(left, right)
        if device != "cpu":
            torch.cuda.synchronize(device)
        return []

    return 2 * side**3 / measure({"product": multiply}, [], _ROUNDS)["product"]


def psnr(found: np.ndarray, wanted: np.ndarray) -> float:
    noise = float(np.square(found - wanted).mean())
    return float(10 * np.log10(max(float(np.ptp(wanted)) ** 2, 1e-12) / max(noise, 1e-12)))


if __name__ == "__main__":
    main()
