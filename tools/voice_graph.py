"""ONNX graphs written node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[str | int | None]


class Graph:
    """Grows by add(); names of what nodes give are what other nodes take."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._stored: list[onnx.TensorProto] = []

    def store(self, values: object) -> str:
        array = np.ascontiguousarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self._stored.append(numpy_helper.from_array(array, f"w{len(self._stored)}"))
        return str(self._stored[-1].name)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [f"x{len(self._nodes)}"], **attributes))
        return str(self._nodes[-1].output[0])

    def build(self, inputs: dict[str, Shape], outputs: dict[str, tuple[str, Shape]], facts: dict[str, str]) -> bytes:
        """`inputs`: name and shape; `outputs`: name, whose value it is, and shape; `facts`: the file's metadata."""
        nodes = self._nodes + [
            helper.make_node("Identity", [value], [name]) for name, (value, _) in outputs.items()
        ]  # fmt: skip
        graph = helper.make_graph(
            nodes,
            "voice",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            self._stored,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        helper.set_model_props(model, facts)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
