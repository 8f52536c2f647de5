"""The networks by the names that models.toml uses, with their inputs and outputs; PyTorch is imported to build them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.runtime.backends import Backend, BackendConfig, Network, Port, Weights, load_backend
from services.runtime.config import ConfigError
from services.runtime.engine import ModelInfo
from services.runtime.models import find_model, load_manifest, model_info, model_path


def load_model(name: str, network: str, config: BackendConfig, allow_noncommercial: bool) -> tuple[Backend, ModelInfo]:
    """The model `name` of the manifest on its backend; it must be weights of `network`.

    Raises Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH or MODEL_FORBIDDEN, and ConfigError.
    """
    manifest = load_manifest()
    model = find_model(name, manifest, allow_noncommercial)
    if model.network != network:
        raise ConfigError(f"model {name} holds weights of {model.network or 'no network here'}, not of {network}")
    info = model_info(name, manifest)
    weights = Weights(model_path(name, manifest), info.sha256)
    return load_backend(find_network(network, model.options), weights, config), info


def model_options(name: str) -> Mapping[str, Any]:
    """What models.toml says of the model's network beside its name; empty for an unknown model."""
    model = load_manifest().models.get(name)
    return model.options if model else {}


def find_network(name: str, options: Mapping[str, Any] | None = None) -> Network:
    """Raises ConfigError for a name that no network has, or options that it does not."""
    if name not in _NETWORKS:
        raise ConfigError(f"no network {name!r}; there is: {', '.join(_NETWORKS)}")
    try:
        return _NETWORKS[name](**(options or {}))
    except (TypeError, KeyError) as error:
        raise ConfigError(f"network {name}: options {dict(options or {})} are not its own: {error}") from error


def _gfpgan(side: int = 512, **more: Any) -> Network:
    def build() -> Any:
        from services.runtime.networks.gfpgan import GFPGANv1Clean

        return GFPGANv1Clean(side, **more)

    face = (3, side, side)
    return Network("gfpgan", build, (Port("face", face),), (Port("restored", face),))


def _codeformer(**more: Any) -> Network:
    def build() -> Any:
        from services.runtime.networks.codeformer import CodeFormer

        return CodeFormer(**{**more, "multipliers": multipliers})

    multipliers = tuple(more.get("multipliers", (1, 2, 2, 4, 4, 8)))
    side = 16 << (len(multipliers) - 1)  # the codes are 16 x 16
    face = (3, side, side)
    # The codes are chosen by an argmax: close numbers must not change places.
    single = ("feat_emb", *(f"ft_layers.{number}" for number in range(more.get("layers", 9))), "idx_pred_layer")
    return Network("codeformer", build, (Port("face", face), Port("fidelity")), (Port("restored", face),), single)


def _wav2lip(side: int = 96) -> Network:
    def build() -> Any:
        from services.runtime.networks.wav2lip import Wav2Lip, Wav2Lip384

        return Wav2Lip384() if side == 384 else Wav2Lip(side)

    inputs = (Port("mel", (1, 80, 16)), Port("faces", (6, side, side)))
    return Network("wav2lip", build, inputs, (Port("spoken", (3, side, side)),))


def _retinaface(body: str) -> Network:
    def build() -> Any:
        from services.runtime.networks import retinaface

        return {"mobilenet": retinaface.retinaface_mobilenet, "resnet50": retinaface.retinaface_resnet50}[body]()

    if body not in ("mobilenet", "resnet50"):
        raise KeyError(body)
    outputs = (Port("boxes", ("anchors", 4)), Port("scores", ("anchors", 2)), Port("points", ("anchors", 10)))
    return Network("retinaface", build, (Port("pictures", (3, "height", "width")),), outputs)


def _arcface(depth: int = 50, units: Sequence[int] = ()) -> Network:
    def build() -> Any:
        from services.runtime.networks.arcface import IResNet

        first, second, third, fourth = units or _ARCFACE_UNITS[depth]
        return IResNet((first, second, third, fourth))

    if depth not in _ARCFACE_UNITS:
        raise KeyError(depth)
    return Network("arcface", build, (Port("face", (3, 112, 112)),), (Port("embedding", (512,)),))


def _bisenet() -> Network:
    def build() -> Any:
        from services.runtime.networks.bisenet import FaceMask

        return FaceMask()

    return Network("bisenet", build, (Port("face", (3, 512, 512)),), (Port("mask", (512, 512)),))


def _scrfd() -> Network:
    """An ONNX file as InsightFace exports it with points: scores, boxes and points, each at strides 8, 16 and 32."""
    strides = (8, 16, 32)
    outputs = tuple(
        Port(f"{kind}_{stride}", (f"anchors_{stride}", numbers))
        for kind, numbers in (("score", 1), ("bbox", 4), ("kps", 10))
        for stride in strides
    )
    return Network("scrfd", None, (Port("pictures", (3, "height", "width")),), outputs, one_by_one=True)


_ARCFACE_UNITS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}  # residual units of the four stages
_NETWORKS: dict[str, Callable[..., Network]] = {
    "gfpgan": _gfpgan,
    "codeformer": _codeformer,
    "wav2lip": _wav2lip,
    "retinaface": _retinaface,
    "arcface": _arcface,
    "bisenet": _bisenet,
    "scrfd": _scrfd,
}
