"""The engine's three steps: learn a face (Prepare), choose every mouth of a job (Plan), render frames (Sync)."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from threading import Lock

import cv2
import numpy as np

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
from services.lipsync.engines.rewrite import blob, shape, voice
from services.lipsync.engines.rewrite.fit import PersonFit, fit_person, read_fit
from services.lipsync.engines.rewrite.library import Library, LibraryBuilder, read_library
from services.lipsync.engines.rewrite.match import RewriteMatching
from services.lipsync.engines.rewrite.occlusion import weigh_mouth, weigh_turn
from services.lipsync.engines.rewrite.path import OWN, Wish, find_path, shows_inside
from services.lipsync.engines.rewrite.render import render_candidate, render_own
from services.lipsync.engines.rewrite.trajectory import NEIGHBOURS, mix_neighbours, plan_shapes
from services.lipsync.engines.rewrite.wish import limit_opening, wish_shapes
from services.runtime.blobs import Blob
from services.runtime.engine import ANYBODY, Caller, EngineInfo, ModelInfo
from services.runtime.faces import LANDMARK_COUNT, Crop, CropOutcome
from services.runtime.refusal import Refusal, attempt

VERSION = "9"
MODEL_LICENSE = "LicenseRef-research-data"  # the weights are ours, the data they come from are for research
_DECODED = 64  # candidates kept decoded by a rendering
_OPAQUE = 0.35  # share of the way from its own mouth from which on a turned head shows nothing of that
_MOST_WIDENED = 0.3  # spans by which the opening wanted may be above the widest recorded


class RewriteEngine:
    """Fulfils `services.lipsync.engines.Engine`."""

    def __init__(self) -> None:
        voice.load_voice_model()
        shape.load_face_model()
        digest = hashlib.sha256(voice.MODEL_FILE.read_bytes()).hexdigest()
        self.info = EngineInfo("rewrite", VERSION, (ModelInfo("voice_model", digest, MODEL_LICENSE),))

    def open_preparation(self, settings: PrepareSettings) -> Preparation:
        return RewritePreparation(settings)

    def open_planning(
        self, prepared: Blob, frame_count: int, time_base: Fraction, expression: Expression = USUAL
    ) -> Planning:
        library, fit = read_prepared(prepared)
        return RewritePlanning(library, fit, frame_count, time_base, expression)

    def open_rendering(self, prepared: Blob, plan: Blob, expression: Expression = USUAL) -> Rendering:
        library, fit = read_prepared(prepared)
        return RewriteRendering(library, fit, plan, expression.padding)

    def open_matching(self, time_base: Fraction) -> Matching:
        return RewriteMatching(time_base)


def read_prepared(prepared: Blob) -> tuple[Library, PersonFit]:
    arrays = blob.unpack("prepared", prepared)
    return read_library(arrays), read_fit(arrays)


class RewritePreparation:
    def __init__(self, settings: PrepareSettings) -> None:
        self._time_base = settings.time_base
        self._mel = voice.MelStream()
        self._builder = LibraryBuilder()
        self._times: list[float] = []
        self._measures: list[np.ndarray] = []

    def add_speech(self, samples: np.ndarray) -> None:
        self._mel.add(samples)

    def add_crops(self, crops: Sequence[Crop]) -> None:
        seen = [crop for crop in crops if is_mesh(crop.landmarks)]
        if not seen:
            return
        meshes = np.array([crop.landmarks for crop in seen])
        measures, poses = shape.measure_faces(meshes)
        self._builder.add(seen, measures, poses)
        self._times += [float(crop.pts * self._time_base) for crop in seen]
        self._measures += list(measures)

    def finish(self) -> Prepared:
        library = self._builder.finish()
        measures = np.array(self._measures).reshape(-1, shape.MEASURES)
        fit = fit_person(self._mel.finish(), np.array(self._times), measures)
        notes = fit.notes
        if fit.offset:
            order = "before" if fit.offset > 0 else "after"
            lag, kept = round(abs(fit.offset) * 1000), round(abs(fit.kept_offset) * 1000)
            output = f"{kept} ms {order} it" if kept else "in time"
            notes += (f"The source's lips move {lag} ms {order} its sound; the output's move {output}.",)
        if len(library) and not shows_inside(library):
            notes += ("The source shows no open mouths to choose from: the inside of the mouth will be drawn.",)
        packed = blob.pack("prepared", library.to_arrays() | fit.to_arrays())
        return Prepared(packed, len(library), fit.fitted, fit.correlation, notes)


class RewritePlanning:
    def __init__(
        self, library: Library, fit: PersonFit, frame_count: int, time_base: Fraction, expression: Expression
    ) -> None:
        self._library, self._fit, self._expression = library, fit, expression
        self._frame_count, self._time_base = frame_count, time_base
        self._mel = voice.MelStream()
        self._times: list[float] = []
        self._source_frames: list[int] = []
        self._faces: list[np.ndarray] = []  # (n, measures + 4) each

    def add_speech(self, samples: np.ndarray) -> None:
        self._mel.add(samples)

    def add_track(self, points: Sequence[TrackPoint]) -> None:
        for point in points:
            if point.frame != len(self._times):
                raise Refusal(
                    "OUT_OF_ORDER",
                    f"Output frame {point.frame} came where {len(self._times)} was due; send them in order.",
                    frame=point.frame,
                    due=len(self._times),
                )
            self._times.append(float(point.pts * self._time_base))
            self._source_frames.append(point.source_frame)
        faces = np.full((len(points), shape.MEASURES + 4), np.nan)
        visible = [place for place, point in enumerate(points) if is_mesh(point.landmarks)]
        if visible:
            meshes = np.array([points[place].landmarks for place in visible])
            faces[visible] = np.concatenate(shape.measure_faces(meshes), axis=1)
        self._faces.append(faces)

    def finish(self) -> Blob:
        check_track(len(self._times), self._frame_count)
        faces = np.concatenate(self._faces) if self._faces else np.zeros((0, shape.MEASURES + 4))
        own, poses = faces[:, : shape.MEASURES], faces[:, shape.MEASURES :]
        times = np.array(self._times)
        wanted = wish_shapes(self._fit, self._mel.finish(), times, own, self._expression)
        if shows_inside(self._library):  # a wider mouth than any recorded would have to be drawn
            widest = self._library.measures[:, shape.Measure.OPENING].max()
            most = widest + _MOST_WIDENED * self._fit.known.span[shape.Measure.OPENING]
            wanted = limit_opening(wanted, self._fit.known, most)
        wish = Wish(wanted, own, poses, np.array(self._source_frames, np.int64))
        path = find_path(wish, self._library, self._fit.known)
        interval = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        shown = plan_shapes(path.candidates, wish, self._library, self._fit.known, interval)
        return blob.pack(
            "plan",
            {
                "candidates": path.candidates,
                "outcomes": path.outcomes,
                "wanted": wanted.astype(np.float32),
                "shown": shown.astype(np.float32),
            },
        )


class RewriteRendering:
    def __init__(self, library: Library, fit: PersonFit, plan: Blob, padding: float) -> None:
        self._library, self._fit, self._padding = library, fit, padding
        arrays = blob.unpack("plan", plan)
        self._candidates = blob.require("plan", arrays, "candidates", "<i4", None)
        frames = len(self._candidates)
        self._outcomes = blob.require("plan", arrays, "outcomes", "|u1", frames)
        self._shown = blob.require("plan", arrays, "shown", "<f4", frames, shape.MEASURES)
        if ((self._candidates < OWN) | (self._candidates >= len(library))).any():
            blob.refuse("plan", "it was made for another prepared source")
        if not np.isin(self._outcomes, list(CropOutcome)).all():
            blob.refuse("plan", "its outcomes are damaged")
        self._decoded: OrderedDict[int, np.ndarray | None] = OrderedDict()
        self._lock = Lock()

    def sync_batch(self, crops: Sequence[Crop], caller: Caller = ANYBODY) -> list[Crop | Refusal]:
        return [attempt(self.sync, crop) for crop in crops]

    def sync(self, crop: Crop) -> Crop:
        if not 0 <= crop.frame < len(self._candidates):
            raise Refusal(
                "INVALID_BATCH",
                f"The plan has {len(self._candidates)} output frames, there is no frame {crop.frame}.",
                frame=crop.frame,
            )
        outcome = CropOutcome(int(self._outcomes[crop.frame]))
        mesh = crop.landmarks
        if outcome is CropOutcome.PASSED_THROUGH or mesh is None or not is_mesh(mesh):
            return pass_through(crop)
        way = weigh_turn(mesh)
        weight = min(way / _OPAQUE, 1) * weigh_mouth(crop.pixels, mesh, self._library.looks)
        pixels = self._render(crop.pixels[..., :3], mesh, crop.frame, outcome, way) if weight > 0 else None
        if pixels is None:
            return pass_through(crop)
        if weight < 1:
            pixels = fade(crop.pixels, pixels, weight)
        return Crop(crop.frame, crop.pts, pixels, crop.landmarks, outcome)

    def _render(
        self, target: np.ndarray, mesh: np.ndarray, frame: int, outcome: CropOutcome, way: float
    ) -> np.ndarray | None:
        """None where the frame cannot be rendered. `way`: share of it from the frame's own mouth to the planned one."""
        wanted = mesh + np.float32(way) * (self.shape_mouth(mesh, frame) - mesh)
        index = int(self._candidates[frame])
        if index == OWN:
            return render_own(target, mesh, wanted, outcome is CropOutcome.DRAWN, self._padding)
        picture = self._read(index)
        if picture is None:
            return None
        return render_candidate(target, mesh, picture, self._library.read_mesh(index), wanted, self._padding)

    def shape_mouth(self, mesh: np.ndarray, frame: int) -> np.ndarray:
        """The mesh (468, 3) in pixels with the mouth that the plan wants in that frame."""
        places = np.clip(frame + np.arange(len(NEIGHBOURS)) - len(NEIGHBOURS) // 2, 0, len(self._candidates) - 1)
        around = self._candidates[places]
        meshes = np.stack([mesh, *(self._library.read_mesh(index) for index in around if index != OWN)])
        own, *recorded = shape.find_frames(meshes).to_face(meshes)
        mouths = iter(recorded)
        mixed = mix_neighbours(own, [None if index == OWN else next(mouths) for index in around])
        change = self._shown[frame] - shape.measure_points(mixed[None])[0]
        return shape.pose_mouth(mesh, mixed, change)

    def _read(self, index: int) -> np.ndarray | None:
        with self._lock:
            if index in self._decoded:
                self._decoded.move_to_end(index)
                return self._decoded[index]
        picture = self._library.read_picture(index)
        with self._lock:
            self._decoded[index] = picture
            while len(self._decoded) > _DECODED:
                self._decoded.popitem(last=False)
        return picture


def is_mesh(landmarks: np.ndarray | None) -> bool:
    """Whether these are landmarks of a face that has some size."""
    if landmarks is None or landmarks.shape != (LANDMARK_COUNT, 3) or not np.isfinite(landmarks).all():
        return False
    return bool(np.ptp(landmarks[:, :2], axis=0).min() > 4 and np.abs(landmarks).max() < 1e5)


def fade(pixels: np.ndarray, rendered: np.ndarray, weight: float) -> np.ndarray:
    """The rendered crop with less weight; where that is none, the RGB is the source's own."""
    faded = rendered.copy()
    faded[..., 3] = cv2.convertScaleAbs(rendered[..., 3], alpha=weight)
    gone = faded[..., 3] == 0
    faded[gone, :3] = pixels[gone, :3]
    return faded


def pass_through(crop: Crop) -> Crop:
    pixels = crop.pixels[..., :3]
    untouched = np.concatenate([pixels, np.zeros((*pixels.shape[:2], 1), np.uint8)], axis=2)
    return Crop(crop.frame, crop.pts, untouched, crop.landmarks, CropOutcome.PASSED_THROUGH)
