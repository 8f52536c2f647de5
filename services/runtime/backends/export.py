"""A network and its weights as one ONNX file with a dynamic batch, kept under what it was made from."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from services.runtime.backends import BackendConfig, Network, Weights
from services.runtime.models import file_digest, models_folder

_VERSION = 1  # of the networks' code and of how they are exported; other files are made anew
_OPSET = 20
PROFILE_SIDES = (64, 640, 2048)  # least, usual and most of a side that may vary, pixels
_EXAMPLE_SIDE = 64  # what a side that may vary has in an example


def cache_folder(config: BackendConfig) -> Path:
    return Path(config.cache) if config.cache else models_folder() / "cache"


def cache_key(*facts: Any) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *facts]).encode()).hexdigest()[:32]


def find_onnx(network: Network, weights: Weights, config: BackendConfig) -> Path:
    """The exported file, made now unless a sound one is kept: from then on PyTorch is not needed. Or the weights' own.

    Half precision is in the graph itself, inputs and outputs are float32. Raises Refusal MODEL_MISMATCH.
    """
    if network.build is None:
        return weights.path
    path = cache_folder(config) / f"{network.name}-{cache_key(network.name, weights.sha256, config.precision)}.onnx"
    record = path.with_suffix(".sha256")
    if not path.is_file() or not record.is_file() or file_digest(path) != record.read_text():
        write_aside(path, lambda part: _export(network, weights, config.precision, part))
        digest = file_digest(path)
        write_aside(record, lambda part: _write_text(part, digest))
    return path


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)


def profile_shapes(network: Network, config: BackendConfig) -> dict[str, tuple[tuple[int, ...], ...]]:
    """The least, the usual and the largest shape of each input, which TensorRT builds its engines for."""
    batches = (1, max(1, config.max_batch_size // 2), config.max_batch_size)
    return {
        port.name: tuple(
            (batch, *(side if isinstance(name, str) else name for name in port.shape))
            for batch, side in zip(batches, PROFILE_SIDES, strict=True)
        )
        for port in network.inputs
    }


def write_aside(path: Path, write: Callable[[Path], None]) -> None:
    """The file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_example(network: Network, batch: int) -> list[np.ndarray]:
    """Inputs of zeros, float32, for so many faces."""
    shapes = [[_EXAMPLE_SIDE if isinstance(side, str) else side for side in port.shape] for port in network.inputs]
    return [np.zeros((batch, *shape), np.float32) for shape in shapes]


def _export(network: Network, weights: Weights, precision: str, path: Path) -> None:
    import torch

    from services.runtime.backends.precision import in_precision
    from services.runtime.networks.checkpoint import load_network

    assert network.build is not None
    module = in_precision(load_network(network.build, weights.path), network, precision)
    ports = (*network.inputs, *network.outputs)
    axes = {
        port.name: {0: "batch"} | {axis: side for axis, side in enumerate(port.shape, 1) if isinstance(side, str)}
        for port in ports
    }
    examples = tuple(torch.from_numpy(example) for example in make_example(network, 2))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracer, about Python numbers in the graph: batch and sides are not
        torch.onnx.export(
            module,
            examples,
            str(path),
            input_names=[port.name for port in network.inputs],
            output_names=[port.name for port in network.outputs],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
