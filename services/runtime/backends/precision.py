"""Networks in half precision, with single precision where their numbers decide."""

from typing import Any

import torch
from torch import Tensor, nn

from services.runtime.backends import Network

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Cast(nn.Module):
    """A network that computes in `dtype` and is fed and read in float32."""

    def __init__(self, module: nn.Module, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.module = module.to(dtype)
        for name in network.single:
            part = module.get_submodule(name)
            part.float()
            part.register_forward_pre_hook(lambda _, arguments: _cast(arguments, torch.float32))
            part.register_forward_hook(lambda _, __, result: _cast(result, dtype))

    def forward(self, *inputs: Tensor) -> Any:
        return _cast(self.module(*_cast(inputs, self._dtype)), torch.float32)


def in_precision(module: nn.Module, network: Network, precision: str) -> nn.Module:
    return module if precision == "fp32" else Cast(module, network, DTYPES[precision])


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) else tuple(_cast(part, dtype) for part in value)
