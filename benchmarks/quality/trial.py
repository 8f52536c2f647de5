"""One clip's trial: learn from the part that may be seen, then drive frames with speech and look at what comes out."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.quality.clip import Clip, Engines, measure_mesh, read_frames, to_crop
from benchmarks.quality.pictures import PATCH, PROFILE, measure_sharpness, ring_profile, seam_score, still_patch
from services.lipsync.engines import SPEECH_RATE, Prepared, PrepareSettings, TrackPoint
from services.lipsync.engines.rewrite import blob
from services.lipsync.engines.rewrite.fit import PersonFit, read_fit
from services.lipsync.engines.rewrite.shape import Measure
from services.orchestrator.compositing import CropWindow, cut, cut_crop, paste_crop
from services.orchestrator.options import JobOptions
from services.orchestrator.trust import Trust, show_share
from services.runtime.blobs import Blob
from services.runtime.faces import LANDMARK_COUNT, Crop, CropOutcome
from services.runtime.frames import Frame
from services.runtime.refusal import Refusal

VISIBLE_SHARE, VISIBLE_SECONDS = 0.6, 10.0  # of the clip, from its beginning, and at most
CROSS_SECONDS = 6.0  # of the clip's end, driven by another clip's speech
PAUSE_SECONDS = 1.5  # of silence put into that speech
MOMENTS, NEIGHBOURS = 8, 6  # frames shown in a contact sheet
_RESTORER_STRENGTH = JobOptions().restorer_strength
_TILE = 1.5  # side of a picture in the sheet over eye distance
_SEAM_EVERY = 3  # frames; neighbours have the same seams
_SHIFT_AT_LEAST = 3  # frames


@dataclass(frozen=True, slots=True)
class Drive:
    """Output frame k shows source frame `shown[k]` at `pts[k]`; speech (n,) float32 at 16 kHz from the output's time 0.

    `truth[k]`: source frame in which the mouth truly said what is heard in k; None where nobody knows.
    """

    name: str
    shown: np.ndarray
    pts: np.ndarray
    speech: np.ndarray
    truth: np.ndarray | None = None


@dataclass(slots=True)
class Driven:
    """What came out, a row for each output frame; seams, profiles and patches have the result's, then the source's.

    `bare`: the same without the restorer.
    """

    drive: Drive
    wanted: np.ndarray  # (n,) opening that the plan asked for, in the engine's own unit
    meshes: np.ndarray  # (n, 468, 3) as the detector sees them, frame pixels
    outcomes: np.ndarray  # (n,)
    sharpness: np.ndarray  # (n,)
    seams: np.ndarray  # (n, 2)
    profiles: np.ndarray  # (n, 2, rings)
    patches: np.ndarray  # (n, 2, PATCH, PATCH) uint8, the lower face with the head held still
    tiles: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # frame: source, result
    moments: tuple[int, ...] = ()  # of tiles: apart from one another
    neighbours: tuple[int, ...] = ()  # of tiles: in a row
    bare: "Driven | None" = None


@dataclass(frozen=True, slots=True)
class Trial:
    clip: Clip
    visible: int  # frames that the engine learned from
    hidden: np.ndarray  # frames
    prepared: Prepared
    fit: PersonFit
    driven: dict[str, Driven]
    prepare_rate: float  # seconds of source learned in a second
    sync_rate: float  # crops a second


def split_clip(clip: Clip) -> tuple[int, np.ndarray]:
    """How many frames from the first may be learned from, and the hidden frames: the last 40 %."""
    times = clip.times - clip.times[0]
    end = VISIBLE_SHARE * times[-1]
    visible = int((times < min(end, VISIBLE_SECONDS)).sum())
    return visible, np.flatnonzero(times >= end)


def plan_drives(clip: Clip, hidden: np.ndarray, other: np.ndarray | None) -> list[Drive]:
    """`straight`: hidden frames say what they said. `shifted`: the same speech over hidden frames of another time.

    The engine may move or keep a frame's own mouth, and straight that mouth is the truth: `shifted` keeps it from
    helping. `cross`: another clip's speech with a pause in it.
    """
    drives = []
    pts = clip.pts[hidden] - clip.pts[hidden[0]]
    if clip.speech is not None:
        start = round(float(clip.times[hidden[0]]) * SPEECH_RATE)
        speech = clip.speech[start:]
        drives.append(Drive("straight", hidden, pts, speech, hidden))
        if len(hidden) >= 2 * _SHIFT_AT_LEAST:
            drives.append(Drive("shifted", np.roll(hidden, len(hidden) // 2), pts, speech, hidden))
    if other is not None:
        shown = np.flatnonzero(clip.times >= clip.times[-1] - CROSS_SECONDS)
        seconds = float(clip.times[-1] - clip.times[shown[0]])
        said = other[: round(0.55 * seconds * SPEECH_RATE)]
        pause = np.zeros(round(min(PAUSE_SECONDS, 0.35 * seconds) * SPEECH_RATE), np.float32)
        speech = np.concatenate([said, pause, other[len(said) :]])[: round(seconds * SPEECH_RATE)]
        drives.append(Drive("cross", shown, clip.pts[shown] - clip.pts[shown[0]], speech))
    return drives


def run_trial(clip: Clip, engines: Engines, other: np.ndarray | None) -> Trial:
    visible, hidden = split_clip(clip)
    prepared, seconds = _prepare(clip, engines, visible)
    fit = read_fit(blob.unpack("prepared", prepared.blob))
    driven, sync_seconds, synced = {}, 0.0, 0
    renders = []
    for drive in plan_drives(clip, hidden, other):
        plan = _plan(clip, engines, prepared, drive)
        wanted = np.asarray(blob.unpack("plan", plan)["wanted"])[:, Measure.OPENING].astype(np.float64)
        result = _blank(drive, wanted)
        result.bare = _blank(drive, wanted)
        _choose_tiles(result, clip)
        driven[drive.name] = result
        renders.append((result, engines.lipsync.open_rendering(prepared.blob, plan), Trust()))
    places = [{int(source): place for place, source in enumerate(result.drive.shown)} for result, *_ in renders]
    first = min((int(result.drive.shown.min()) for result, *_ in renders), default=len(clip.pts))
    for number, frame in read_frames(clip, engines, first) if renders else ():
        window, mesh = clip.track.windows[number], clip.track.crop_mesh(number)
        cutting = None if window is None else cut(frame, window)
        for (result, rendering, trust), place in zip(renders, places, strict=True):
            if number not in place:
                continue
            output = place[number]
            if window is None or mesh is None or cutting is None:
                _keep_tile(result, output, clip, number, frame, frame)
                continue
            begun = time.perf_counter()
            (crop,) = rendering.sync_batch([Crop(output, int(result.drive.pts[output]), cutting.pixels, mesh)])
            sync_seconds += time.perf_counter() - begun
            if isinstance(crop, Refusal):
                raise crop
            synced += 1
            sent = replace(crop, landmarks=clip.track.steady_mesh(number))
            (restored,) = engines.restorer.restore([sent], _RESTORER_STRENGTH)
            final = show_share(restored, sent, trust.share(restored))
            assert result.bare is not None
            for looked_at, pixels in ((result.bare, crop.pixels), (result, final)):
                looked_at.outcomes[output] = crop.outcome
                pasted = paste_crop(frame, window, cutting, pixels)
                _look(looked_at, output, clip, engines, pasted, window, mesh, cutting.pixels, pixels[..., 3])
            _keep_tile(result, output, clip, number, frame, pasted)
    taught = float(clip.times[visible - 1] - clip.times[0]) if visible else 0.0
    rates = (taught / max(seconds, 1e-6), synced / max(sync_seconds, 1e-6))
    return Trial(clip, visible, hidden, prepared, fit, driven, *rates)


def _prepare(clip: Clip, engines: Engines, visible: int) -> tuple[Prepared, float]:
    """What the engine learned from the first frames and their sound, and the seconds that took."""
    preparation = engines.lipsync.open_preparation(PrepareSettings(clip.time_base, clip.track.crop_scale))
    end = float(clip.times[visible]) if visible < len(clip.pts) else float(clip.times[-1])
    seconds = 0.0
    if clip.speech is not None:
        begun = time.perf_counter()
        preparation.add_speech(clip.speech[: round(end * SPEECH_RATE)])
        seconds += time.perf_counter() - begun
    for number, frame in read_frames(clip, engines, 0):
        if number >= visible:
            break
        window = clip.track.windows[number]
        if window is not None:
            crop = Crop(number, frame.pts, cut_crop(frame, window), clip.track.crop_mesh(number))
            begun = time.perf_counter()
            preparation.add_crops([crop])
            seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    prepared = preparation.finish()
    return prepared, seconds + time.perf_counter() - begun


def _plan(clip: Clip, engines: Engines, prepared: Prepared, drive: Drive) -> Blob:
    planning = engines.lipsync.open_planning(prepared.blob, len(drive.shown), clip.time_base)
    planning.add_speech(drive.speech)
    planning.add_track([
        TrackPoint(place, int(pts), int(source), clip.track.crop_mesh(int(source)))
        for place, (pts, source) in enumerate(zip(drive.pts, drive.shown, strict=True))
    ])  # fmt: skip
    return planning.finish()


def _blank(drive: Drive, wanted: np.ndarray) -> Driven:
    count = len(drive.shown)
    return Driven(
        drive,
        wanted,
        np.full((count, LANDMARK_COUNT, 3), np.nan, np.float32),
        np.full(count, CropOutcome.PASSED_THROUGH, np.int64),
        np.full(count, np.nan),
        np.full((count, 2), np.nan),
        np.full((count, 2, len(PROFILE) - 1), np.nan),
        np.zeros((count, 2, PATCH, PATCH), np.uint8),
    )


def _look(
    result: Driven,
    output: int,
    clip: Clip,
    engines: Engines,
    pasted: Frame,
    window: CropWindow,
    mesh: np.ndarray,
    cut: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Measures one output frame."""
    left = result.outcomes[output] == CropOutcome.PASSED_THROUGH
    result.meshes[output] = clip.truth[result.drive.shown[output]]
    if not left:
        result.meshes[output] = measure_mesh(pasted, window, mesh, engines.detector)
    if result.drive.name == "shifted":  # its pixels are those of other moments side by side
        return
    shown = cut_crop(pasted, window)
    model = clip.truth[clip.track.seen_frames[0]]
    for column, picture in enumerate((shown, cut)):
        result.patches[output, column] = still_patch(picture, mesh, model)
        if not left and output % _SEAM_EVERY == 0:
            result.seams[output, column] = seam_score(picture, weight)
            result.profiles[output, column] = ring_profile(picture, mesh)
    if not left:
        result.sharpness[output] = measure_sharpness(shown, to_crop(result.meshes[output], window))


def _choose_tiles(result: Driven, clip: Clip) -> None:
    """Moments spread over the whole, and a run of neighbours where the wanted mouth moves most."""
    count = len(result.drive.shown)
    result.moments = tuple(np.unique(np.linspace(0, count - 1, MOMENTS + 2).astype(int)[1:-1]).tolist())
    motion = np.convolve(np.abs(np.diff(result.wanted, prepend=result.wanted[:1])), np.ones(NEIGHBOURS), "valid")
    first = int(motion.argmax()) if len(motion) else 0
    result.neighbours = tuple(range(first, min(first + NEIGHBOURS, count)))


def _keep_tile(result: Driven, output: int, clip: Clip, number: int, frame: Frame, pasted: Frame) -> None:
    if output not in result.moments and output not in result.neighbours:
        return
    mesh, window = clip.track.crop_mesh(number), clip.track.windows[number]
    if mesh is None or window is None:
        return
    points = mesh[:, :2] / window.crop_scale + (window.x, window.y)
    side = 2 * round(_TILE * float(np.linalg.norm(points[33] - points[263])) / 2)
    x, y = (points[[61, 291, 17, 152]].mean(axis=0) - side / 2) / 2
    place = CropWindow.of(2 * round(float(x)), 2 * round(float(y)), max(side, 32))
    result.tiles[output] = cut_crop(frame, place), cut_crop(pasted, place)
