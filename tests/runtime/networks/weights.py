"""Weights and inputs that are the same everywhere: from a frozen generator, seeded by each parameter's name."""

import zlib
from typing import Any

import numpy as np
import torch


def seed_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of that network's names and shapes; numbers of such a size that activations stay near 1."""
    return {name: _seed(name, tensor) for name, tensor in network.state_dict().items()}


def _seed(name: str, tensor: torch.Tensor) -> torch.Tensor:
    random = np.random.RandomState(zlib.crc32(name.encode()))  # its numbers never change, unlike default_rng's
    if name.endswith("num_batches_tracked"):
        values: Any = np.zeros(tensor.shape, np.int64)
    elif name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, tensor.shape)
    elif tensor.ndim > 1:
        values = random.uniform(-1, 1, tensor.shape) * np.sqrt(3 / max(int(np.prod(tensor.shape[1:])), 1))
    else:
        values = random.uniform(-1, 1, tensor.shape) * 0.2 + (1.0 if name.endswith("weight") else 0.0)
    return torch.from_numpy(np.asarray(values)).to(tensor.dtype).reshape(tensor.shape)


def seed_input(shape: tuple[int, ...], seed: int, low: float = -1, high: float = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(low, high, shape).astype(np.float32))
