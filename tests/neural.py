"""Tiny networks with random weights, as checkpoint files in a models' folder with a manifest of its own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the neural group is not installed")

from services.runtime.backends import Network, Weights  # noqa: E402
from services.runtime.models import file_digest  # noqa: E402
from services.runtime.networks.catalogue import find_network  # noqa: E402
from tests.runtime.networks.weights import seed_state  # noqa: E402

GFPGAN: dict[str, Any] = {"side": 64, "styles": 32, "channel_multiplier": 1, "narrow": 0.125, "mapping_layers": 2}
CODEFORMER: dict[str, Any] = {
    "width": 32, "multipliers": [1, 1, 2], "code_width": 32, "codes": 64, "embedding": 32, "heads": 2, "layers": 1
}  # fmt: skip


def save_weights(folder: Path, network: Network, file: str = "", container: str = "") -> Weights:
    """A checkpoint of seeded weights; `container`: as the published files wrap theirs."""
    state = seed_state(network.build())
    path = folder / (file or f"{network.name}.pth")
    torch.save({container: state} if container else state, path)
    return Weights(path, file_digest(path))


def make_models(folder: Path, entries: Mapping[str, tuple[str, Mapping[str, Any]]], commercial: bool = True) -> None:
    """Checkpoints of `entries` (model -> network, options), a manifest, and the variables that name them."""
    folder.mkdir(exist_ok=True)
    lines = []
    for name, (network, options) in entries.items():
        weights = save_weights(folder, find_network(network, options), f"{name}.pth")
        table = ", ".join(
            f"{key} = {list(value) if isinstance(value, tuple) else value!r}" for key, value in options.items()
        )
        lines += [
            f'[models."{name}"]',
            f'file = "{name}.pth"',
            f'sha256 = "{weights.sha256}"',
            'license = "MIT"',
            f"commercial = {str(commercial).lower()}",
            'page = "tests"',
            f'network = "{network}"',
            f"options = {{ {table} }}",
        ]
    manifest = folder / "models.toml"
    manifest.write_text("\n".join(lines))
    os.environ["SYNCLINE_MODELS"], os.environ["SYNCLINE_MANIFEST"] = str(folder), str(manifest)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for make_models; the variables are put back afterwards."""
    for variable in ("SYNCLINE_MODELS", "SYNCLINE_MANIFEST"):
        monkeypatch.setenv(variable, "")
    return tmp_path / "models"
