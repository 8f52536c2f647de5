"""Train the small voice-to-mouth net and the face model of the `rewrite` engine.

python -m tools.train_voice CLIPS [--cache FOLDER] [--jobs PROCESSES]

CLIPS holds train/ and talking/, as tests/conftest.py finds them. Writes voice_model.onnx and face.npz into
services/lipsync/engines/rewrite and, to judge by, two models that half of the good clips taught nothing into
benchmarks/quality/voices; prints what these reach on the speakers they have not heard. Needs the `train` group.
"""

import argparse
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from benchmarks import quality
from services.decoder.engines.pyav import PyAVDecoder
from services.detector.engines import TrackSettings
from services.detector.engines.blazeface import BlazeFace
from services.lipsync.engines import SPEECH_RATE
from services.lipsync.engines.rewrite import shape, voice
from services.lipsync.engines.rewrite.fit import Range, find_range
from tools.voice_net import Sample, VoiceNet, predict, train_net, write_onnx
from tools.voice_phones import PhoneListener, read_acoustic_model
from tools.voice_sound import vary_speech

CLEAR = ("train/grid_s1/*.mpg", "train/grid_mixed/*.mpg", "talking/hdtf_2.mp4", "talking/hdtf_3.mp4")
ROUGH = ("talking/hdtf_1.mp4", "talking/hdtf_4.mp4", "train/voxceleb_like/*/*.mp4")
# Good truth, no speaker in both halves nor in any other clip: what is judged on one half is taught by all else.
GOOD = (
    (
        "latentsync_1",
        "side_view_noisy",
        "retalking_3",
        "azure_4k50_speaking",
        "azure_1080_delivering",
        "edtalk_60s",
        "hdtf_2",
    ),
    ("latentsync_3", "retalking_1", "retalking_5", "dfrf_reporter_71s", "hdtf_3"),
)
JUDGES = Path(quality.__file__).parent / "voices"
NETS = 4  # averaged
FOLDS = 2
WAYS = 6  # in which each recording is heard
OTHERS = 40  # voices to make babble of
FEWEST_FRAMES = 40  # of a clip that show its mouth
MOST_TURNED = np.array([40.0, 45.0])  # degrees of yaw and pitch
GAP = 0.05  # seconds from the nearest seen frame up to which a step's mouth is known
LEADS = np.arange(-11, 12) * 0.02  # seconds by which a clip's lips may lead its sound
LEAD_COST = 0.8  # correlation that a lead must win, per second
WORTHLESS, FULLY = 0.05, 0.35  # correlation with unseen nets at which a clip counts nothing, and fully
CLEAR_SHARE = 0.7  # that a clip of clear material or good truth counts at least
SPEAKER_POWER = 0.7  # of seconds seen: who is seen for long must not outweigh the others


@dataclass(frozen=True)
class Clip:
    """`meshes`: (n, 468, 3), NaN where there is no face; `times`: (n,) seconds; `speech`: at SPEECH_RATE."""

    name: str
    speaker: str
    meshes: np.ndarray
    times: np.ndarray
    speech: np.ndarray


@dataclass(frozen=True)
class Lesson:
    """What a clip teaches: where its mouth was in frames that show it well, and how its sound was heard."""

    name: str
    speaker: str
    times: np.ndarray  # (n,) seconds
    measures: np.ndarray  # (n, measures)
    known: Range
    ways: list[tuple[float, np.ndarray]]  # speed and features; the first as it is

    def sample(self, lead: float) -> list[Sample]:
        return [self._sample(speed, features, lead) for speed, features in self.ways]

    def _sample(self, speed: float, features: np.ndarray, lead: float) -> Sample:
        steps, times = voice.step_times(len(features)), (self.times + lead) / speed
        relative = np.clip(self.known.to_relative(self.measures), -1.5, 2.5)
        truth = np.stack([np.interp(steps, times, column) for column in relative.T], axis=1)
        after = np.clip(np.searchsorted(times, steps), 1, len(times) - 1)
        gaps = np.minimum(np.abs(times[after] - steps), np.abs(times[after - 1] - steps))
        return Sample(features, truth.astype(np.float32), (gaps < GAP).astype(np.float32))


def find_clips(folder: Path, patterns: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Speaker and path of every clip."""
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [(name_speaker(path), path) for path in paths]


def name_speaker(path: Path) -> str:
    if path.stem.startswith("azure_"):
        return "azure"  # one woman
    # In these folders every other file shows somebody else.
    return path.stem if path.parent.name in ("talking", "grid_mixed") else path.parent.name


def read_clips(folder: Path, patterns: tuple[str, ...], cache: Path | None) -> list[Clip]:
    clips = []
    for speaker, path in find_clips(folder, patterns):
        name = "__".join(path.relative_to(folder).parts)
        kept = cache / f"{name}.npz" if cache else None
        if kept and kept.exists():
            with np.load(kept) as stored:
                meshes, times, speech = stored["mesh"], stored["pts"], stored["audio"]
        else:
            meshes, times, speech = read_clip(path)
            if kept:
                np.savez(kept, mesh=meshes, pts=times, audio=speech)
        if len(speech) >= SPEECH_RATE and usable(meshes).sum() >= FEWEST_FRAMES:
            clips.append(Clip(name, speaker, meshes, times, speech.astype(np.float32)))
    return clips


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Meshes of the largest face, frame times and speech of one file, through this repository's own engines."""
    decoder, detector = PyAVDecoder(), BlazeFace()
    blocks = [block.samples[:, 0] for block in decoder.decode_audio(path, 16000, 1)]
    stream = decoder.decode_frames(path, None, None)
    size = (stream.format.width, stream.format.height)
    tracker = detector.open_tracker(TrackSettings(size, size, max_faces=1))
    meshes, times = [], []
    for frame in stream.frames:
        planes = np.concatenate([plane.ravel() for plane in frame.planes])
        view = cv2.cvtColor(planes.reshape(size[1] * 3 // 2, size[0]), cv2.COLOR_YUV2RGB_I420)
        faces = tracker.track(view).faces
        meshes.append(faces[0].landmarks if faces else np.full((468, 3), np.nan, np.float32))
        times.append(float(frame.pts * stream.time_base))
    return np.array(meshes), np.array(times), np.concatenate(blocks)


def usable(meshes: np.ndarray) -> np.ndarray:
    return np.isfinite(meshes).all(axis=(1, 2))


def train_face(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """The mean face, facing the camera and symmetric, and how its points move per unit of each measure."""
    meshes: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        meshes.setdefault(clip.speaker, []).append(clip.meshes[usable(clip.meshes)].astype(np.float64))
    people = [np.concatenate(parts) for parts in meshes.values()]
    people = [person[np.linspace(0, len(person) - 1, min(len(person), 400)).astype(int)] for person in people]
    reference = face_forward(people[0][0])
    for _ in range(8):
        means = [shape.find_frames(person, reference).to_face(person).mean(axis=0) for person in people]
        reference = face_forward(np.mean(means, axis=0))
    inputs, outputs = [], []
    for person in people:
        points = shape.find_frames(person, reference).to_face(person)
        measures = shape.measure_points(points)
        inputs.append(measures - measures.mean(axis=0))
        outputs.append((points - points.mean(axis=0)).reshape(len(points), -1))
    x, y = np.concatenate(inputs), np.concatenate(outputs)
    # Measures that hardly vary explain nothing: the penalty is a small part of each one's own variance.
    gram = x.T @ x
    basis = np.linalg.solve(gram + 0.01 * np.diag(np.diag(gram)), x.T @ y)
    return reference, basis.reshape(shape.MEASURES, -1, 3)


def face_forward(points: np.ndarray) -> np.ndarray:
    """Points turned so that left and right mirror each other, eyes level; outer eye corners at distance 1."""
    points = points - points[shape.STABLE].mean(axis=0)
    across = points[263] - points[33]
    across /= np.linalg.norm(across)
    down = points[152] - points[10]
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    turned = points @ np.stack([across, down, np.cross(across, down)], axis=1)
    mirrored = turned * [-1, 1, 1]
    partners = np.linalg.norm(turned[:, None] - mirrored[None], axis=2).argmin(axis=1)
    turned = (turned + mirrored[partners]) / 2
    return np.asarray(turned / np.linalg.norm(turned[263] - turned[33]))


def find_ranges(clips: list[Clip]) -> list[Range]:
    """Each clip's range; clips of one voice and one camera, which are short, share theirs."""
    parts: dict[str, list[np.ndarray]] = {}
    keys = [clip.speaker if "grid" in clip.name else clip.name for clip in clips]
    for key, clip in zip(keys, clips, strict=True):
        parts.setdefault(key, []).append(shape.measure_shapes(clip.meshes[usable(clip.meshes)]))
    ranges = {key: find_range(np.concatenate(measures)) for key, measures in parts.items()}
    return [ranges[key] for key in keys]


def make_lesson(clip: Clip, known: Range, others: list[np.ndarray]) -> Lesson:
    random = np.random.default_rng(zlib.crc32(clip.name.encode()))
    ways = [(1.0, voice.make_features(voice.mel_of(clip.speech)))]
    ways += [vary_speech(clip.speech, others, random) for _ in range(WAYS - 1)]
    listener = load_listener()
    ways = [(speed, listener.hear(features)) for speed, features in ways]
    seen = usable(clip.meshes)
    seen[seen] = (np.abs(shape.measure_poses(clip.meshes[seen])[:, :2]) < MOST_TURNED).all(axis=1)
    measures = shape.measure_shapes(clip.meshes[seen]) if seen.any() else np.zeros((0, shape.MEASURES))
    return Lesson(clip.name, clip.speaker, clip.times[seen], measures, known, ways)


@cache
def load_listener() -> PhoneListener:
    return PhoneListener()


def train_on(lessons: Sequence[Lesson], leads: dict[str, float], weights: dict[str, float], seed: int) -> VoiceNet:
    samples = [lesson.sample(leads.get(lesson.name, 0.0)) for lesson in lessons]
    seen = np.array([ways[0].seen.sum() for ways in samples])
    shares = np.zeros(len(lessons))
    for speaker in {lesson.speaker for lesson in lessons}:
        theirs = np.array([lesson.speaker == speaker for lesson in lessons])
        shares[theirs] = seen[theirs] * seen[theirs].sum() ** (SPEAKER_POWER - 1)
    shares *= [weights.get(lesson.name, 1.0) for lesson in lessons]
    return train_net(samples, shares / shares.sum(), seed)


def judge_fold(lessons: list[Lesson], fold: int) -> dict[str, tuple[float, float]]:
    """Lead and correlation of every clip of one fold's speakers, by a net that learned from the others."""
    speakers = sorted({lesson.speaker for lesson in lessons})
    order = np.random.default_rng(1).permutation(len(speakers))
    judged = {speakers[place] for place in order[fold::FOLDS]}
    net = train_on([lesson for lesson in lessons if lesson.speaker not in judged], {}, {}, fold)
    return {lesson.name: find_lead(net, lesson) for lesson in lessons if lesson.speaker in judged}


def find_lead(net: VoiceNet, lesson: Lesson) -> tuple[float, float]:
    """Seconds by which the lips lead the sound, and the correlation there; nothing where the best is the farthest."""
    features = lesson.ways[0][1]
    answer, steps = predict([net], features), voice.step_times(len(features))
    weights = {shape.Measure.OPENING: 0.4, shape.Measure.LOWER_LIP: 0.4, shape.Measure.JAW: 0.2}
    found = np.array(
        [
            sum(
                weight * correlate(np.interp(lesson.times + lead, steps, answer[:, place]), lesson.measures[:, place])
                for place, weight in weights.items()
            )
            for lead in LEADS
        ]
    )
    best = int((found - LEAD_COST * np.abs(LEADS)).argmax())
    if best in (0, len(LEADS) - 1):
        best = len(LEADS) // 2
    return float(LEADS[best]), float(found[best])


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / max(np.sqrt((first**2).sum() * (second**2).sum()), 1e-9))


def check(model: voice.VoiceModel, clip: Clip) -> list[float]:
    """Correlation of the opening as the clip is; the best lead; correlation of each measure and of loudness there."""
    mel = voice.mel_of(clip.speech)
    features = voice.make_features(mel)
    good = usable(clip.meshes)
    times, truth = clip.times[good], shape.measure_shapes(clip.meshes[good])
    steps, answer = voice.step_times(len(features)), model.predict(features)

    def compare(lead: float, place: int) -> float:
        return correlate(np.interp(times + lead, steps, answer[:, place]), truth[:, place])

    lead = max(LEADS[1:-1], key=lambda lead: compare(lead, 0))
    loudness = np.interp(times + lead, np.arange(len(mel)) / 100, mel.mean(axis=1))
    return [compare(0.0, 0), lead, *(compare(lead, place) for place in shape.Measure), correlate(loudness, truth[:, 0])]


def weigh(facts: dict[str, tuple[float, float]], good: Sequence[Clip]) -> dict[str, float]:
    """How much each clip counts, by its correlation with nets that did not learn from it; `good` ones always do."""
    weights = {name: float(np.clip((fit - WORTHLESS) / (FULLY - WORTHLESS), 0, 1)) for name, (_, fit) in facts.items()}
    return weights | {clip.name: max(weights.get(clip.name, 0.0), CLEAR_SHARE) for clip in good}


def print_checks(halves: list[list[Clip]]) -> None:
    """What each half's judge reaches on it."""
    results = {
        name_clip(clip): check(voice.VoiceModel(judge_file(number)), clip)
        for number, half in enumerate(halves)
        for clip in half
    }
    rows = list(results.values())
    print(
        "clip".ljust(24), "as it is      lead", "  ".join(m.name.lower().ljust(10) for m in shape.Measure), "loudness"
    )
    for name, row in (results | {"median": np.median(rows, axis=0), "mean": np.mean(rows, axis=0)}).items():
        print(name.ljust(24), "  ".join(f"{value:8.2f}" for value in row))


def judge_file(half: int) -> Path:
    return JUDGES / f"half_{half}.onnx"


def name_clip(clip: Clip) -> str:
    return Path(clip.name.split("__")[-1]).stem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--cache", type=Path, help="folder to keep meshes in between runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--free", action="store_true", help="learn from GRID and HDTF alone")
    arguments = parser.parse_args()
    clear = read_clips(arguments.clips, CLEAR, arguments.cache)
    reference, basis = train_face(clear)
    # Ranges are measured with the new face model, which `shape` reads from its file.
    np.savez(shape.FACE_FILE, reference=reference.astype(np.float32), basis=basis.astype(np.float16))
    clear_ranges = {clip.speaker: known for clip, known in zip(clear, find_ranges(clear), strict=True)}
    rest, span = (
        np.median([getattr(known, name) for known in clear_ranges.values()], axis=0) for name in ("rest", "span")
    )
    rough = read_clips(arguments.clips, ROUGH[: 2 if arguments.free else None], arguments.cache)
    halves = [read_clips(arguments.clips, tuple(f"talking/{n}.mp4" for n in half), arguments.cache) for half in GOOD]
    known = {clip.name for clip in clear}
    talking = [] if arguments.free else [clip for half in halves for clip in half if clip.name not in known]
    clips = clear + rough + talking
    with ProcessPoolExecutor(arguments.jobs) as pool:
        others = [clip.speech[: 4 * SPEECH_RATE] for clip in clips[:: max(len(clips) // OTHERS, 1)]]
        lessons = list(pool.map(make_lesson, clips, find_ranges(clips), [others] * len(clips), chunksize=8))
        lessons = [lesson for lesson in lessons if len(lesson.times) >= FEWEST_FRAMES]
        judged = [pool.submit(judge_fold, lessons, fold) for fold in range(FOLDS)]
        facts = {name: fact for future in judged for name, fact in future.result().items()}
        leads = {name: lead for name, (lead, _) in facts.items()}
        weights = weigh(facts, clear + talking)
        print(f"{len(lessons)} clips, {sum(weight == 0 for weight in weights.values())} of them of no use", flush=True)
        taught = []
        for unheard in ([], *halves):
            names = {clip.name for clip in unheard}
            heard = [lesson for lesson in lessons if lesson.name not in names]
            taught.append([pool.submit(train_on, heard, leads, weights, seed) for seed in range(NETS)])
        files = [voice.MODEL_FILE, *map(judge_file, range(len(halves)))]
        for path, unheard, nets in zip(files, ([], *halves), taught, strict=True):
            told = {"rest": rest.tolist(), "span": span.tolist(), "unheard": [name_clip(clip) for clip in unheard]}
            write_onnx(path, read_acoustic_model(), [net.result() for net in nets], told)
    print_checks(halves)


if __name__ == "__main__":
    main()
