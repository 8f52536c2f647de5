"""Networks on their backends beside plain eager PyTorch in FP32, on the CPU: python -m benchmarks.networks [NAME ...]

Same random weights, same inputs, one after the other in turns, so that whatever else the machine does meets all alike.
Prints milliseconds per face (the best of the rounds) at batches of 1, 4 and 8, and how much faster than eager that is.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from services.runtime.backends import Backend, BackendConfig, Network, Weights, load_backend
from services.runtime.models import file_digest
from services.runtime.networks.catalogue import find_network

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2lip": ("wav2lip", {}),
    "gfpgan": ("gfpgan", {}),
    "codeformer": ("codeformer", {}),
    "retinaface-mobilenet": ("retinaface", {"body": "mobilenet"}),
    "arcface-r50": ("arcface", {"depth": 50}),
}
BATCHES = (1, 4, 8)
BACKENDS = ("torch", "onnxruntime")
SIDES = {"height": 384, "width": 640}  # of RetinaFace's pictures
_ROUNDS = 3

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class Eager:
    """The network as PyTorch runs it when nothing is done about it."""

    def __init__(self, network: Network, state: dict[str, torch.Tensor], device: str = "cpu") -> None:
        assert network.build is not None
        module = network.build()
        module.load_state_dict(state)
        self.module = module.eval().requires_grad_(False).to(device)  # the counter of operations takes no others
        self._device = device

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = self.module(*(torch.from_numpy(array).to(self._device) for array in inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.cpu().numpy() for output in outputs]


def make_state(network: Network) -> dict[str, torch.Tensor]:
    """Random weights of such a size that activations neither vanish nor explode."""
    assert network.build is not None
    torch.manual_seed(0)
    state = network.build().state_dict()
    for name, tensor in state.items():
        if tensor.ndim > 1:
            torch.nn.init.normal_(tensor, std=tensor[0].numel() ** -0.5)
        elif name.endswith("running_var"):
            tensor.fill_(1)
    return state


def save(state: dict[str, torch.Tensor], folder: Path, name: str) -> Weights:
    path = folder / f"{name}.pth"
    torch.save(state, path)
    return Weights(path, file_digest(path))


def make_inputs(network: Network, batch: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = [
        (batch, *(SIDES[side] if isinstance(side, str) else side for side in port.shape)) for port in network.inputs
    ]
    return [random.uniform(0, 1, shape).astype(np.float32) for shape in shapes]


def measure(runs: dict[str, Run], inputs: Sequence[np.ndarray], rounds: int = _ROUNDS) -> dict[str, float]:
    """Seconds of each, the best of some rounds in which they take turns."""
    for run in runs.values():
        run(inputs)
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.perf_counter()
            run(inputs)
            best[name] = min(best[name], time.perf_counter() - begun)
    return best


def compare(name: str, options: argparse.Namespace, folder: Path) -> None:
    network = find_network(*NETWORKS[name])
    state = make_state(network)
    weights = save(state, folder, name)
    torch.set_num_threads(options.threads)
    backends: dict[str, Backend] = {"eager": Eager(network, state)}
    for backend in options.backends:
        config = BackendConfig(backend=backend, threads=options.threads, cache=str(folder))
        backends[backend] = load_backend(network, weights, config)
    for batch in options.batches:
        inputs = make_inputs(network, batch)
        seconds = measure({label: backend.run for label, backend in backends.items()}, inputs, options.rounds)
        told = (f"{label} {s / batch * 1000:8.1f} ms {seconds['eager'] / s:5.2f}x" for label, s in seconds.items())
        print(f"{name:22s} batch {batch}   {'   '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="1 where a batch takes minutes")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    arguments = parser.parse_args()
    for name in arguments.names or NETWORKS:
        with TemporaryDirectory() as folder:
            compare(name, arguments, Path(folder))


if __name__ == "__main__":
    main()
