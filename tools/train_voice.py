"""Train the small voice-to-mouth net and the face model of the `rewrite` engine.

python -m tools.train_voice CLIPS [--cache FOLDER]

CLIPS holds train/grid_s1, train/grid_mixed and talking, as tests/conftest.py finds them. Writes voice_model.npz and
face.npz into services/lipsync/engines/rewrite and prints what the net reaches on speakers it has not seen.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from services.decoder.engines.pyav import PyAVDecoder
from services.detector.engines import TrackSettings
from services.detector.engines.blazeface import BlazeFace
from services.lipsync.engines.rewrite import shape, voice
from services.lipsync.engines.rewrite.fit import Range, find_range

TRAINING = ("train/grid_s1/*.mpg", "train/grid_mixed/*.mpg", "talking/hdtf_2.mp4", "talking/hdtf_3.mp4")
# Good truth, by other people than those of TRAINING.
CHECKING = tuple(
    f"talking/{name}.mp4"
    for name in (
        "latentsync_1",
        "latentsync_3",
        "side_view_noisy",
        "retalking_1",
        "retalking_3",
        "retalking_5",
        "azure_4k50_speaking",
        "dfrf_reporter_71s",
        "edtalk_60s",
    )
)
# Seconds by which the lips of a training clip lead its sound, where that is not nothing.
LEADS = {"hdtf_3": 0.04}
NETS, HIDDEN = 4, 48  # nets averaged, hidden units of each
EPOCHS, BATCH = 40, 512
MOST_PAIRS = 2000  # of one speaker: sixty sentences of one man must not outweigh the others
LOSS_WEIGHTS = np.array([2.0, 1.0, 0.5, 1.0, 0.5, 0.5])
SPEEDS = (1.0, 0.92, 1.08)


@dataclass(frozen=True)
class Clip:
    """`meshes`: (n, 468, 3), NaN where there is no face; `times`: (n,) seconds; `speech`: 16000 Hz."""

    name: str
    speaker: str
    meshes: np.ndarray
    times: np.ndarray
    speech: np.ndarray


def find_clips(folder: Path, patterns: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Speaker and path of every clip."""
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [(path.parent.name if path.parent.name == "grid_s1" else path.stem, path) for path in paths]


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
        clips.append(Clip(name, speaker, meshes, times + LEADS.get(path.stem, 0.0), speech))
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


def usable(clip: Clip) -> np.ndarray:
    return np.isfinite(clip.meshes).all(axis=(1, 2))


def train_face(clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """The mean face, facing the camera and symmetric, and how its points move per unit of each measure."""
    meshes: dict[str, list[np.ndarray]] = {}
    for clip in clips:
        meshes.setdefault(clip.speaker, []).append(clip.meshes[usable(clip)].astype(np.float64))
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


def make_pairs(clip: Clip, known: Range, speed: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Context and relative measures of one clip, played at `speed` with noise of that level under it."""
    random = np.random.default_rng(seed)
    places = np.arange(int(len(clip.speech) / speed)) * speed
    speech = np.interp(places, np.arange(len(clip.speech)), clip.speech)
    speech = speech + random.standard_normal(len(speech)) * noise * np.sqrt(np.mean(speech**2))
    mel = voice.mel_of(speech.astype(np.float32))
    mel = mel + random.uniform(-1, 1) * np.linspace(-1, 1, voice.BANDS)  # a brighter or duller microphone
    features = voice.make_features(mel.astype(np.float32))
    good = usable(clip)
    times = clip.times[good] / speed
    measures = known.to_relative(shape.measure_shapes(clip.meshes[good]))
    steps = voice.step_times(len(features))
    inside = (steps >= times[0]) & (steps <= times[-1])
    truth = np.stack([np.interp(steps, times, column) for column in measures.T], axis=1)
    return voice.stack_context(features, 0, len(features))[inside], truth[inside]


def make_set(clips: list[Clip], ranges: dict[str, Range]) -> tuple[np.ndarray, np.ndarray]:
    """Context and relative measures of all clips, at most MOST_PAIRS of each speaker."""
    random = np.random.default_rng(0)
    contexts, truths = [], []
    for speaker, known in sorted(ranges.items()):
        pairs = []
        for number, clip in enumerate(clip for clip in clips if clip.speaker == speaker):
            for copy, speed in enumerate(SPEEDS):
                noise = (0.0, 0.03, 0.15)[(copy + number) % 3]
                pairs.append(make_pairs(clip, known, speed, noise, number * 10 + copy))
        context, truth = (np.concatenate(part) for part in zip(*pairs, strict=True))
        kept = random.permutation(len(context))[:MOST_PAIRS]
        contexts.append(context[kept])
        truths.append(truth[kept])
    return np.concatenate(contexts).astype(np.float32), np.clip(np.concatenate(truths), -1.5, 2.5).astype(np.float32)


def train_net(x: np.ndarray, y: np.ndarray, seed: int) -> list[np.ndarray]:
    """Adam on squared error, dropout, decaying step; returns hidden, hidden bias, output, output bias."""
    random = np.random.default_rng(seed)
    inputs, outputs = x.shape[1], y.shape[1]
    parameters = [
        random.standard_normal((inputs, HIDDEN)) * np.sqrt(2 / inputs),
        np.zeros(HIDDEN),
        random.standard_normal((HIDDEN, outputs)) * np.sqrt(1 / HIDDEN),
        y.mean(axis=0),
    ]
    parameters = [parameter.astype(np.float32) for parameter in parameters]
    first = [np.zeros_like(parameter) for parameter in parameters]
    second = [np.zeros_like(parameter) for parameter in parameters]
    steps = EPOCHS * (len(x) // BATCH)
    for step, rows in enumerate(draw_batches(random, len(x), steps)):
        batch = x[rows] + random.standard_normal((BATCH, inputs)).astype(np.float32) * 0.3
        raw = batch @ parameters[0] + parameters[1]
        kept = (random.random(raw.shape) > 0.3) * (raw > 0) / 0.7
        hidden = raw * kept
        error = (hidden @ parameters[2] + parameters[3] - y[rows]) * LOSS_WEIGHTS / BATCH
        back = error @ parameters[2].T * kept
        slopes = [batch.T @ back + 2e-3 * parameters[0], back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / steps))
        for place, slope in enumerate(slopes):
            first[place] += 0.1 * (slope - first[place])
            second[place] += 0.001 * (slope**2 - second[place])
            unbiased = first[place] / (1 - 0.9 ** (step + 1)), second[place] / (1 - 0.999 ** (step + 1))
            parameters[place] -= (rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)).astype(np.float32)
    return parameters


def draw_batches(random: np.random.Generator, rows: int, steps: int) -> Iterator[np.ndarray]:
    for _ in range(steps):
        yield random.integers(0, rows, BATCH)


def train_voice(x: np.ndarray, y: np.ndarray) -> voice.VoiceModel:
    centre, spread = x.mean(axis=0), x.std(axis=0) + 0.1
    nets = [train_net((x - centre) / spread, y, seed) for seed in range(NETS)]
    hidden, hidden_bias, output, output_bias = zip(*nets, strict=True)
    return voice.VoiceModel(
        centre,
        spread,
        np.concatenate(hidden, axis=1),
        np.concatenate(hidden_bias),
        np.concatenate(output) / NETS,
        np.mean(output_bias, axis=0),
    )


def check(model: voice.VoiceModel, clip: Clip) -> tuple[list[float], float]:
    """Correlation of each measure with the truth, and that of loudness with the opening."""
    mel = voice.mel_of(clip.speech)
    features = voice.make_features(mel)
    good = usable(clip)
    truth = shape.measure_shapes(clip.meshes[good])
    steps = voice.step_times(len(features))
    answer = model.predict(features)
    found = np.stack([np.interp(clip.times[good], steps, column) for column in answer.T], axis=1)
    loudness = np.interp(clip.times[good], np.arange(len(mel)) / 100, mel.mean(axis=1))
    correlations = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(found.T, truth.T, strict=True)]
    return correlations, float(np.corrcoef(loudness, truth[:, 0])[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--cache", type=Path, help="folder to keep meshes in between runs")
    arguments = parser.parse_args()
    training = read_clips(arguments.clips, TRAINING, arguments.cache)
    reference, basis = train_face(training)
    # Ranges are measured with the new face model, which `shape` reads from its file.
    np.savez(shape.FACE_FILE, reference=reference.astype(np.float32), basis=basis.astype(np.float16))
    speakers = {clip.speaker for clip in training}
    ranges = {}
    for speaker in sorted(speakers):
        parts = [shape.measure_shapes(clip.meshes[usable(clip)]) for clip in training if clip.speaker == speaker]
        ranges[speaker] = find_range(np.concatenate(parts))
    rests, spans = (np.median([getattr(known, name) for known in ranges.values()], axis=0) for name in ("rest", "span"))
    model = train_voice(*make_set(training, ranges))
    stored = {name: getattr(model, name).astype(np.float16) for name in model.__slots__}
    np.savez_compressed(voice.MODEL_FILE, **stored, rests=rests.astype(np.float32), spans=spans.astype(np.float32))
    print("clip".ljust(24), "  ".join(measure.name.lower().ljust(10) for measure in shape.Measure), "loudness")
    results = []
    for clip in read_clips(arguments.clips, CHECKING, arguments.cache):
        correlations, loudness = check(model, clip)
        results.append(correlations)
        row = "  ".join(f"{correlation:10.2f}" for correlation in correlations)
        print(clip.name.split("__")[1].ljust(24), row, f"{loudness:8.2f}")
    print("median".ljust(24), "  ".join(f"{c:10.2f}" for c in np.median(results, axis=0)))


if __name__ == "__main__":
    main()
