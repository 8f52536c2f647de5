"""Checkpoints: every wrapping that published files have, and what is no checkpoint or another network's."""

import pickle
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the neural group is not installed")

from services.runtime.networks.arcface import IResNet  # noqa: E402
from services.runtime.networks.checkpoint import load_network, read_checkpoint  # noqa: E402
from services.runtime.refusal import Refusal  # noqa: E402


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2)


STATE = {name: torch.full_like(tensor, 2) for name, tensor in Small().state_dict().items()}
PARALLEL = {f"module.{name}": tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        PARALLEL,
        {"state_dict": PARALLEL, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"params": {"layer.weight": torch.zeros(1)}, "params_ema": STATE},
        {"params": STATE},
        {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()},
    ],
    ids=["plain", "parallel", "state_dict", "ema first", "params", "half"],
)
def test_published_wrappings(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "small.pth")
    network = load_network(Small, tmp_path / "small.pth")
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, STATE[name]), name
        assert tensor.dtype == STATE[name].dtype


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / "small.safetensors")
    assert torch.equal(load_network(Small, tmp_path / "small.safetensors").layer.weight, STATE["layer.weight"])


def test_a_wrong_file_says_which_keys_differ(tmp_path: Path) -> None:
    wrong = {**STATE, "layer.weight": torch.zeros(3, 3), "extra": torch.zeros(1)}
    del wrong["norm.bias"]
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(Refusal) as refused:
        load_network(Small, tmp_path / "wrong.pth")
    assert refused.value.reason == "MODEL_MISMATCH"
    assert "wrong.pth belongs to another network" in refused.value.message
    for difference in (
        "1 missing (norm.bias)", "1 not the network's (extra)",
        "1 of another shape (layer.weight (3, 3) instead of (2, 3))",
    ):  # fmt: skip
        assert difference in refused.value.message


def test_many_differences_are_told_in_few_words(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "small.pth")
    with pytest.raises(Refusal, match=r"missing \(conv1\.weight, bn1\.weight, bn1\.bias, bn1\.running_mean, \.\.\.\)"):
        load_network(lambda: IResNet((1, 1, 1, 1)), tmp_path / "small.pth")


class Trap:
    def __reduce__(self) -> Any:
        return (Path("/tmp/syncline-trap").touch, ())


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"layer.weight": Trap()}), pickle.dumps([1, 2])],
    ids=["empty", "text", "code", "list"],
)
def test_what_is_no_checkpoint_is_refused_and_never_executed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(Refusal) as refused:
        read_checkpoint(tmp_path / "bad.pth")
    assert refused.value.reason == "MODEL_MISMATCH"
    assert not Path("/tmp/syncline-trap").exists()
