"""Restorers that are networks: GFPGAN and CodeFormer. Align the face, restore it, keep to its colours and identity.

Around the network: the face is cut as FFHQ's are (_alignment.py), restored together with the faces of whoever else is
waiting, matched to its own colours, and what changed - not the picture, which resampling would soften - goes back by
the inverse warp within a feathered mask; with a parser, only where nothing covers the face. A face that comes
back as somebody else's is blended towards the one that went in, and the crop says how far. Nothing is remembered from
one crop to the next: over time the caller keeps landmarks and trust calm, as it alone has all frames in their order.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from services.restorer.config import RestorerConfig
from services.restorer.engines._alignment import align_to_ffhq
from services.runtime.alignment import find_five_points
from services.runtime.batching import Batcher
from services.runtime.config import ConfigError
from services.runtime.engine import ANYBODY, Caller, EngineInfo, ModelInfo
from services.runtime.faces import Crop
from services.runtime.networks.catalogue import find_network, load_model, model_options

VERSION = "3"
_OUTSIDE = (132, 133, 135)  # RGB beyond the crop, as the networks were shown it
_FEATHER = 1 / 20  # of the face's side, over which the mask fades, twice that far from its border
PARSED_SIDE = 512  # pixels of the face that the parser is shown
_SOFT = 1 / 64  # of its side, over which the parsed mask fades
_COARSE = 32  # pixels of the picture in which identity is compared: form and proportions, no texture
# Levels of mean difference in the coarse picture: up to the first it is the same face, from the second another.
_SAME, _ANOTHER = 5.0, 15.0


class NeuralRestorer:
    """Engine of services.restorer.engines.

    `constants`: what the network wants beside the face, the same for every face. `parser`: a network that says which
    pixels of a face are the face; None: a feathered mask alone.
    """

    def __init__(
        self,
        info: EngineInfo,
        batcher: Batcher,
        side: int,
        constants: Sequence[np.ndarray] = (),
        parser: Batcher | None = None,
    ) -> None:
        self.info, self._parser = info, parser
        self._batcher, self._side, self._constants = batcher, side, list(constants)
        self._feather = _make_feather(side)

    def restore(self, crops: Sequence[Crop], strength: float, caller: Caller = ANYBODY) -> list[Crop]:
        seen = [place for place, crop in enumerate(crops) if crop.landmarks is not None and crop.pixels[..., 3].any()]
        answered = list(crops)
        if strength <= 0 or not seen:
            return answered
        points = [find_five_points(crops[place].landmarks) for place in seen]  # type: ignore[arg-type]
        matrices = [align_to_ffhq(five, self._side) for five in points]
        faces = [self._cut(crops[place], matrix) for place, matrix in zip(seen, matrices, strict=True)]
        outputs = self._batcher.run([[_to_network(face), *self._constants] for face in faces], caller)
        restored = [_match_colours(_from_network(output), face) for (output,), face in zip(outputs, faces, strict=True)]
        masks = self._find_masks(faces, caller)
        for place, matrix, face, new, mask in zip(seen, matrices, faces, restored, masks, strict=True):
            crop, trust = crops[place], _trust(new, face)
            if trust > 0:
                crop = self._paste(crop, matrix, (new - face) * (mask * np.float32(strength * trust))[..., None])
            answered[place] = replace(crop, trust=trust)
        return answered

    def _cut(self, crop: Crop, matrix: np.ndarray) -> np.ndarray:
        """(side, side, 3) float32 RGB, 0 to 255."""
        picture = cv2.cvtColor(crop.pixels, cv2.COLOR_RGBA2RGB)
        size = (self._side, self._side)
        face = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderValue=_OUTSIDE)
        return face.astype(np.float32)

    def _find_masks(self, faces: Sequence[np.ndarray], caller: Caller) -> list[np.ndarray]:
        """(side, side) float32 for each face: where the restored one takes its place."""
        if self._parser is None:
            return [self._feather] * len(faces)
        shown = [[_to_network(cv2.resize(face, (PARSED_SIDE, PARSED_SIDE)))] for face in faces]
        soft = 2 * max(int(PARSED_SIDE * _SOFT), 1) + 1
        parsed = [cv2.blur(mask, (soft, soft)) for (mask,) in self._parser.run(shown, caller)]
        return [self._feather * cv2.resize(mask, (self._side, self._side)) for mask in parsed]

    def _paste(self, crop: Crop, matrix: np.ndarray, change: np.ndarray) -> Crop:
        """The crop with `change` (side, side, 3), levels, added where it replaces the frame."""
        height, width = crop.pixels.shape[:2]
        back = cv2.warpAffine(change, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        back[crop.pixels[..., 3] == 0] = 0
        pixels = crop.pixels.copy()
        pixels[..., :3] = np.clip(np.rint(crop.pixels[..., :3] + back), 0, 255).astype(np.uint8)
        return replace(crop, pixels=pixels)


def load_gfpgan(config: RestorerConfig) -> NeuralRestorer:
    """Raises ConfigError, and Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH, MODEL_FORBIDDEN."""
    return _load("gfpgan", config.gfpgan_model, config, ())


def load_codeformer(config: RestorerConfig) -> NeuralRestorer:
    """As load_gfpgan."""
    if not 0 <= config.fidelity <= 1:
        raise ConfigError(f"RESTORER_FIDELITY={config.fidelity:g} is outside 0 to 1")
    return _load("codeformer", config.codeformer_model, config, (np.float32(config.fidelity),))


def _load(network: str, model: str, config: RestorerConfig, constants: Sequence[np.floating]) -> NeuralRestorer:
    backend, info = load_model(model, network, config.network, config.allow_noncommercial)
    side = int(find_network(network, model_options(model)).inputs[0].shape[1])
    batcher = Batcher(backend, config.network)
    arrays = [np.asarray(constant) for constant in constants]
    batcher.run([[np.zeros((3, side, side), np.float32), *arrays]])  # warmed
    models, parser = [info], None
    if config.parsing_model:
        parsing, parsing_info = load_model(config.parsing_model, "bisenet", config.network, config.allow_noncommercial)
        parser = Batcher(parsing, config.network)
        parser.run([[np.zeros((3, PARSED_SIDE, PARSED_SIDE), np.float32)]])
        models.append(parsing_info)
    return NeuralRestorer(describe(network, config, constants, models), batcher, side, arrays, parser)


def describe(
    name: str, config: RestorerConfig, constants: Sequence[np.floating], models: Sequence[ModelInfo]
) -> EngineInfo:
    """The version holds all that changes results beside the weights."""
    facts = [VERSION, config.network.backend, config.network.precision, *(f"{number:g}" for number in constants)]
    return EngineInfo(name, "-".join(facts), tuple(models), whole_face=True)


def _to_network(face: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((face / np.float32(127.5) - 1).transpose(2, 0, 1))


def _from_network(output: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.clip((output.transpose(1, 2, 0) + 1) * np.float32(127.5), 0, 255))


def _make_feather(side: int) -> np.ndarray:
    """(side, side) float32: 1 in the middle, falling to 0 at the border."""
    edge = max(int(side * _FEATHER), 1)
    mask = np.zeros((side, side), np.float32)
    mask[2 * edge : -2 * edge, 2 * edge : -2 * edge] = 1
    return cv2.blur(cv2.blur(mask, (2 * edge + 1, 2 * edge + 1)), (2 * edge + 1, 2 * edge + 1))


def _match_colours(restored: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Restored with the mean and deviation that each channel has in the face (Reinhard et al., CG&A 2001)."""
    middle = np.s_[len(face) // 4 : -len(face) // 4]
    (mean, spread), (wanted, wanted_spread) = (
        (part.mean(axis=(0, 1)), part.std(axis=(0, 1))) for part in (restored[middle, middle], face[middle, middle])
    )
    gain = np.clip(wanted_spread / np.maximum(spread, 1e-3), 0.8, 1.25)  # sharper detail may spread a little wider
    return np.asarray(np.clip((restored - mean) * gain + wanted, 0, 255), np.float32)


def _trust(restored: np.ndarray, face: np.ndarray) -> float:
    """1 for the same face, 0 for another or for none: how far the two agree once all texture is gone."""
    coarse, wanted = (
        cv2.cvtColor(cv2.resize(picture, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for picture in (restored, face)
    )
    middle = np.s_[_COARSE // 4 : -_COARSE // 8, _COARSE // 4 : -_COARSE // 4]
    drift = float(np.abs(coarse[middle] - wanted[middle]).mean())
    if np.isnan(drift):  # half precision ran over
        return 0.0
    return float(np.clip((_ANOTHER - drift) / (_ANOTHER - _SAME), 0, 1))
