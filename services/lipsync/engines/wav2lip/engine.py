"""The engine's steps. Nothing is learned from a source; a plan holds the speech as mel windows and the faces' boxes."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from services.lipsync.config import LipsyncConfig
from services.lipsync.engines import (
    USUAL,
    Expression,
    Matching,
    Planning,
    Preparation,
    Prepared,
    PrepareSettings,
    Rendering,
    TrackPoint,
    check_track,
)
from services.lipsync.engines.rewrite import blob
from services.lipsync.engines.rewrite.engine import is_mesh, pass_through
from services.lipsync.engines.rewrite.match import RewriteMatching
from services.lipsync.engines.wav2lip import mel as spectrogram
from services.lipsync.engines.wav2lip.face import find_box, lay_back, make_mask, smooth_boxes, to_network
from services.runtime.batching import Batcher
from services.runtime.blobs import Blob, StoredArray
from services.runtime.engine import ANYBODY, Caller, EngineInfo
from services.runtime.faces import Crop, CropOutcome
from services.runtime.networks.catalogue import find_network, load_model, model_options
from services.runtime.refusal import Refusal

VERSION = "1"
_MAKER = np.frombuffer(b"wav2lip", np.uint8)


class Wav2LipEngine:
    """Fulfils `services.lipsync.engines.Engine`. `side`: of the faces that the network makes, pixels."""

    def __init__(self, info: EngineInfo, batcher: Batcher, side: int) -> None:
        self.info = info
        self._batcher, self._side = batcher, side

    def open_preparation(self, settings: PrepareSettings) -> Preparation:
        return Wav2LipPreparation()

    def open_planning(
        self, prepared: Blob, frame_count: int, time_base: Fraction, expression: Expression = USUAL
    ) -> Planning:
        _read("prepared", prepared)
        return Wav2LipPlanning(frame_count, time_base)

    def open_rendering(self, prepared: Blob, plan: Blob, expression: Expression = USUAL) -> Rendering:
        _read("prepared", prepared)
        return Wav2LipRendering(self._batcher, self._side, plan, expression.padding)

    def open_matching(self, time_base: Fraction) -> Matching:
        return RewriteMatching(time_base)


def load_wav2lip(config: LipsyncConfig) -> Wav2LipEngine:
    """Raises ConfigError, and Refusal MODEL_MISSING, MODEL_ALTERED, MODEL_MISMATCH, MODEL_FORBIDDEN."""
    network, model = config.network, config.wav2lip_model
    backend, info = load_model(model, "wav2lip", network, config.allow_noncommercial)
    side = int(find_network("wav2lip", model_options(model)).inputs[1].shape[1])
    batcher = Batcher(backend, network)
    shapes = ((1, spectrogram.BANDS, spectrogram.WINDOW_STEPS), (6, side, side))
    batcher.run([[np.zeros(shape, np.float32) for shape in shapes]])  # warmed
    version = "-".join([VERSION, network.backend, network.precision])
    return Wav2LipEngine(EngineInfo("wav2lip", version, (info,), whole_face=True), batcher, side)


class Wav2LipPreparation:
    def __init__(self) -> None:
        self._faces = 0

    def add_speech(self, samples: np.ndarray) -> None:
        """The source's own sound teaches this engine nothing."""

    def add_crops(self, crops: Sequence[Crop]) -> None:
        self._faces += sum(is_mesh(crop.landmarks) for crop in crops)

    def finish(self) -> Prepared:
        return Prepared(blob.pack("prepared", {"maker": _MAKER}), self._faces, False, 0.0)


class Wav2LipPlanning:
    def __init__(self, frame_count: int, time_base: Fraction) -> None:
        self._frame_count, self._time_base = frame_count, time_base
        self._speech: list[np.ndarray] = []
        self._times: list[float] = []
        self._boxes: list[np.ndarray] = []

    def add_speech(self, samples: np.ndarray) -> None:
        self._speech.append(np.asarray(samples, np.float32))

    def add_track(self, points: Sequence[TrackPoint]) -> None:
        for point in points:
            self._times.append(float(point.pts * self._time_base))
            mesh = point.landmarks
            seen = mesh is not None and is_mesh(mesh)
            self._boxes.append(find_box(mesh) if mesh is not None and seen else np.full(4, np.nan, np.float32))

    def finish(self) -> Blob:
        check_track(len(self._times), self._frame_count)
        speech = np.concatenate(self._speech) if self._speech else np.zeros(0, np.float32)
        least = spectrogram.HOP * spectrogram.WINDOW_STEPS
        mel = spectrogram.make_mel(np.pad(speech, (0, max(least - len(speech), 0))))
        boxes = smooth_boxes(np.array(self._boxes, np.float32).reshape(-1, 4))
        return blob.pack(
            "plan",
            {
                "maker": _MAKER,
                "mel": mel.astype("<f2"),  # a thousandth of its range; half the bytes of an hour's speech
                "windows": spectrogram.place_windows(np.array(self._times), mel.shape[1]),
                "seen": np.isfinite(boxes[:, 0]).astype(np.uint8),
                "boxes": np.nan_to_num(boxes),
            },
        )


class Wav2LipRendering:
    def __init__(self, batcher: Batcher, side: int, plan: Blob, padding: float) -> None:
        arrays = _read("plan", plan)
        self._mel = blob.require("plan", arrays, "mel", "<f2", spectrogram.BANDS, None)
        self._windows = blob.require("plan", arrays, "windows", "<i4", None)
        frames = len(self._windows)
        self._boxes = blob.require("plan", arrays, "boxes", "<f4", frames, 4)
        self._seen = blob.require("plan", arrays, "seen", "|u1", frames)
        last = self._mel.shape[1] - spectrogram.WINDOW_STEPS
        if last < 0 or (frames and not 0 <= self._windows.min() <= self._windows.max() <= last):
            blob.refuse("plan", "its windows lie outside its speech")
        self._batcher, self._side, self._padding = batcher, side, padding

    def sync_batch(self, crops: Sequence[Crop], caller: Caller = ANYBODY) -> list[Crop | Refusal]:
        """All faces of the batch in one go, together with those of other streams."""
        answers: list[Crop | Refusal] = [self._refuse_or_pass(crop) for crop in crops]
        spoken = [place for place, crop in enumerate(crops) if self._is_spoken(crop)]
        items = [self._to_items(crops[place]) for place in spoken]
        for place, (output,) in zip(spoken, self._batcher.run(items, caller), strict=True):
            answers[place] = self._finish(crops[place], output)
        return answers

    def _refuse_or_pass(self, crop: Crop) -> Crop | Refusal:
        if 0 <= crop.frame < len(self._windows):
            return pass_through(crop)
        told = f"The plan has {len(self._windows)} output frames, there is no frame {crop.frame}."
        return Refusal("INVALID_BATCH", told, frame=crop.frame)

    def _is_spoken(self, crop: Crop) -> bool:
        known = 0 <= crop.frame < len(self._windows)
        return known and bool(self._seen[crop.frame]) and is_mesh(crop.landmarks)

    def _to_items(self, crop: Crop) -> list[np.ndarray]:
        first = int(self._windows[crop.frame])
        window = self._mel[None, :, first : first + spectrogram.WINDOW_STEPS].astype(np.float32)
        return [window, to_network(crop.pixels[..., :3], self._boxes[crop.frame], self._side)]

    def _finish(self, crop: Crop, output: np.ndarray) -> Crop:
        picture, box, mesh = crop.pixels[..., :3], self._boxes[crop.frame], crop.landmarks
        if mesh is None:  # is_mesh has looked
            return pass_through(crop)
        mask = make_mask(mesh, box, picture.shape, self._padding)
        pixels = lay_back(output, picture, box, mask)
        return Crop(crop.frame, crop.pts, pixels, crop.landmarks, CropOutcome.SYNCED)


def _read(kind: str, packed: Blob) -> dict[str, StoredArray]:
    arrays = blob.unpack(kind, packed)
    maker = arrays.get("maker")
    if maker is None or np.asarray(maker).tobytes() != _MAKER.tobytes():
        blob.refuse(kind, "it was made by another engine")
    return arrays
