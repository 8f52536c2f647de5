"""Our networks beside the public reference implementations: the same names, the same shapes, the same numbers.

expected.json holds what the references (TencentARC/GFPGAN, sczhou/CodeFormer, Rudrabha/Wav2Lip,
primepake/wav2lip_288x288, biubug6/Pytorch_Retinaface, deepinsight/insightface's arcface_torch, xinntao/facexlib,
Kedreamix/Linly-Talker, nghiakvnvsd/wav2lip384; PyTorch 2.13, CPU) make of the weights and inputs of weights.py: the
number of parameters and buffers and the SHA-256 of their sorted names and shapes; of every output its shape, mean,
deviation and 24 of its numbers, at places drawn by RandomState(7). GFPGAN ran with its stored noise, CodeFormer with
w = 0.5 and adaptive instance normalisation, as its inference does; Wav2Lip of 384 pixels was given faces of -1 to 1 and
its answer brought back to 0 to 1.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the neural group is not installed")

from services.runtime.networks import bisenet, codeformer, gfpgan, retinaface, wav2lip  # noqa: E402
from services.runtime.networks.catalogue import find_network  # noqa: E402
from tests.runtime.networks.weights import seed_input, seed_state  # noqa: E402

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text())
MEL, MEL_OF_EXPERT = (seed_input((2, 1, 80, 16), seed, -4, 4) for seed in (3, 5))
PICTURE = seed_input((1, 3, 160, 192), 9, -123, 151)
FACES = seed_input((2, 3, 112, 112), 8)

NETWORKS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "gfpgan": (gfpgan.GFPGANv1Clean, (seed_input((1, 3, 512, 512), 1),)),
    "codeformer": (codeformer.CodeFormer, (seed_input((1, 3, 512, 512), 2), torch.tensor([0.5]))),
    "wav2lip-96": (wav2lip.Wav2Lip, (MEL, seed_input((2, 6, 96, 96), 4, 0, 1))),
    "wav2lip-256": (lambda: wav2lip.Wav2Lip(256), (MEL, seed_input((2, 6, 256, 256), 4, 0, 1))),
    "wav2lip-288": (lambda: wav2lip.Wav2Lip(288), (MEL, seed_input((2, 6, 288, 288), 4, 0, 1))),
    "wav2lip-384": (wav2lip.Wav2Lip384, (MEL, seed_input((2, 6, 384, 384), 4, 0, 1))),
    "sync-expert": (wav2lip.SyncExpert, (MEL_OF_EXPERT, seed_input((2, 15, 48, 96), 6, 0, 1))),
    "arcface-r50": (find_network("arcface", {"depth": 50}).build, (FACES,)),
    "arcface-r100": (find_network("arcface", {"depth": 100}).build, (FACES,)),
    "bisenet": (bisenet.BiSeNet, (seed_input((1, 3, 512, 512), 12),)),
    "retinaface-mobilenet": (retinaface.retinaface_mobilenet, (PICTURE,)),
    "retinaface-resnet50": (retinaface.retinaface_resnet50, (PICTURE,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_those_of_the_published_files(name: str) -> None:
    with torch.device("meta"):
        state = NETWORKS[name][0]().state_dict()
    table = "\n".join(f"{key} {tuple(tensor.shape)}" for key, tensor in sorted(state.items()))
    assert len(state) == EXPECTED[name]["keys"]
    assert hashlib.sha256(table.encode()).hexdigest() == EXPECTED[name]["key_digest"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_give_the_reference_s_numbers(name: str) -> None:
    build, inputs = NETWORKS[name]
    with torch.device("meta"):
        network = build()
    network.load_state_dict(seed_state(network), strict=True, assign=True)
    with torch.inference_mode():
        outputs = network.eval()(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output, expected in zip(outputs, EXPECTED[name]["outputs"], strict=True):
        assert list(output.shape) == expected["shape"]
        numbers = output.double().flatten()
        places = np.random.RandomState(7).randint(0, len(numbers), 24)
        largest = float(numbers.abs().max())
        assert np.abs(numbers[places].numpy() - expected["samples"]).max() <= 1e-4 * largest
        assert float(numbers.mean()) == pytest.approx(expected["mean"], abs=1e-4 * largest)
        assert float(numbers.std()) == pytest.approx(expected["std"], abs=1e-4 * largest)
