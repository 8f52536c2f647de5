"""Published weights into our networks: every container and prefix they come in, and nothing but numbers."""

from collections.abc import Callable, Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from services.runtime.refusal import Refusal

_CONTAINERS = ("params_ema", "params", "state_dict")  # the first that is there holds the weights
_PREFIX = "module."  # of a network that was trained in parallel
_SHOWN = 4  # keys of each kind that an error names


def load_network(build: Callable[[], nn.Module], path: Path) -> nn.Module:
    """The network with the file's weights, float32, for inference.

    Raises Refusal MODEL_MISMATCH when the file is no checkpoint of this network; it says which keys differ.
    """
    with torch.device("meta"):  # no memory and no time for weights that are about to be replaced
        network = build()
    state = read_checkpoint(path)
    _check(network.state_dict(), state, path)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a PyTorch checkpoint, by name; nothing in it is ever executed.

    Raises Refusal MODEL_MISMATCH.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise Refusal("MODEL_MISMATCH", f"{path.name} is no checkpoint that can be read: {first}", path=path) from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for name in _CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise Refusal("MODEL_MISMATCH", f"{path.name} holds no state dict of tensors", path=path)
    return {name.removeprefix(_PREFIX): _as_single(tensor) for name, tensor in content.items()}


def _as_single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _check(wanted: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    differences = {
        "missing": [name for name in wanted if name not in found],
        "not the network's": [name for name in found if name not in wanted],
        "of another shape": shapes,
    }
    told = [f"{len(names)} {kind} ({_list(names)})" for kind, names in differences.items() if names]
    if told:
        raise Refusal("MODEL_MISMATCH", f"{path.name} belongs to another network: {'; '.join(told)}", path=path)


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
