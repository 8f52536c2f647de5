"""What is measured, each by one pure function. No engine defines its own yardstick: nothing here comes from a service.

Meshes are (n, 468, 3) FaceMesh points, a row of NaN where no face was found; openings (n,); times (n,) in seconds.
"""

import numpy as np

EYE_CORNERS = (33, 263)  # the outer ones; their distance is the unit of length
UPPER_GAP, LOWER_GAP = [82, 13, 312], [87, 14, 317]
_OUTER_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
_INNER_LIPS = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
LIPS = np.array(_OUTER_LIPS + _INNER_LIPS)
# Points that speech hardly moves: eye corners, bridge and tip of the nose, forehead, temples, ears.
STABLE = np.array([33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 10, 151, 9, 67, 297, 127, 356, 234, 454])
# Eyes, brows and nose: what makes a face this person's and no mouth may move.
IDENTITY = np.array(
    [33, 133, 159, 145, 263, 362, 386, 374, 70, 105, 107, 300, 334, 336, 168, 6, 197, 195, 5, 4, 48, 278]
)

CLOSED, NEARLY_CLOSED = 0.15, 0.25  # shares of the person's range
CLOSURE_TOLERANCE = 0.06  # seconds: a frame and a half of 25 per second
_PHONE_EDGE = 0.04  # seconds before and after a phone in which lips may meet for it
_LONGEST_CLOSURE = 0.3  # seconds; lips that stay together for longer rest
_SILENT_BELOW = 30.0  # decibels under the loud parts
_SHORTEST_SILENCE, _SILENCE_EDGE = 0.3, 0.12  # seconds
_MOST_OFFSET = 0.24  # seconds


def measure_opening(meshes: np.ndarray) -> np.ndarray:
    """Mouth opening: mean distance of the inner lips at three places over that of the outer eye corners, in depth too.

    Unit: eye distances. As the inner-lip distance of Suwajanakorn et al., Synthesizing Obama (SIGGRAPH 2017).
    """
    gaps = np.linalg.norm(meshes[:, LOWER_GAP] - meshes[:, UPPER_GAP], axis=2).mean(axis=1)
    left, right = (meshes[:, corner] for corner in EYE_CORNERS)
    return np.asarray(gaps / np.linalg.norm(right - left, axis=1))


def align_meshes(meshes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Meshes laid on the reference (468, 3) by a least-squares similarity of their stable points (Umeyama 1991).

    Unit: the reference's eye distances. What is left is what the face does, free of the head's place, size and pose.
    """
    aligned = np.full(meshes.shape, np.nan)
    found = np.isfinite(meshes).all(axis=(1, 2))
    if not found.any():
        return aligned
    model_mean = reference[STABLE].mean(axis=0)
    model = reference[STABLE] - model_mean
    seen = meshes[found].astype(np.float64)
    means = seen[:, STABLE].mean(axis=1, keepdims=True)
    left, singular, right = np.linalg.svd(np.einsum("npi,pj->nij", seen[:, STABLE] - means, model))
    signs = np.ones_like(singular)
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * signs[:, None]) @ right
    scale = (singular * signs).sum(axis=1) / (model**2).sum()
    unit = np.linalg.norm(reference[EYE_CORNERS[1]] - reference[EYE_CORNERS[0]])
    aligned[found] = ((seen - means) @ rotation / scale[:, None, None] + model_mean) / unit
    return aligned


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation over the places where both are known; NaN for fewer than 8, or where one never changes."""
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 8 or min(np.ptp(first), np.ptp(second)) < 1e-9:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def lip_distance(lips: np.ndarray, truth: np.ndarray) -> float:
    """LMD: mean distance of lip landmarks from the true ones. Unit: that of the aligned points.

    Chen et al., Lip Movements Generation at a Glance (ECCV 2018), there in pixels. `lips`: (n, 40, 3), or (40, 3) for
    one mouth all the time.
    """
    return float(np.nanmean(np.linalg.norm(lips - truth, axis=-1)))


def lip_distance_ratio(lips: np.ndarray, truth: np.ndarray, mean_mouth: np.ndarray) -> float:
    """LMD over that of the mean mouth (40, 3) shown in the same frames; below 1 is better than never moving."""
    known = np.isfinite(lips).all(axis=(-2, -1)) & np.isfinite(truth).all(axis=(-2, -1))
    if not known.any():
        return float("nan")
    return lip_distance(lips[known], truth[known]) / lip_distance(mean_mouth, truth[known])


def find_closures(times: np.ndarray, opening: np.ndarray, span: tuple[float, float], silent: np.ndarray) -> np.ndarray:
    """Frames in which the mouth closes amid speech: least openings of runs that lie under CLOSED of `span`.

    `span`: openings of the person's closed and wide open mouth. Lips that rest, in silence or for longer than 0.3 s, do
    not count. Of any kind: most are no m, b or p, but lips that happen to meet in fluent speech.
    """
    share = np.nan_to_num(_share(opening, span), nan=1.0)
    closures = []
    for first, end in find_runs(share < CLOSED):
        inside = first > 0 and end < len(share)
        if inside and times[end] - times[first - 1] <= _LONGEST_CLOSURE and not silent[first:end].any():
            closures.append(first + int(share[first:end].argmin()))
    return np.array(closures, np.int64)


def closure_hits(times: np.ndarray, closures: np.ndarray, opening: np.ndarray, span: tuple[float, float]) -> int:
    """How many closures, frames of one mouth, find the other mouth `opening` closed or nearly so within 60 ms.

    Over the truth's closures that is recall; over the result's, against the truth, precision.
    """
    share = np.nan_to_num(_share(opening, span), nan=1.0)
    near = np.abs(times[closures, None] - times[None]) <= CLOSURE_TOLERANCE + 1e-6
    return int((near & (share < NEARLY_CLOSED)).any(axis=1).sum())


def judge_bilabials(
    times: np.ndarray, opening: np.ndarray, truth: np.ndarray, span: tuple[float, float], phones: np.ndarray
) -> dict[str, float]:
    """Of the m, b and p (n, 2; begin and end in seconds): at how many the truth closes, and the mouth `opening` too or
    nearly so (recall); and at how many the mouth closes, and the truth too or nearly so (precision).

    Closed at a phone is who is so at some time of it, or a frame before or after. By definition these consonants close
    the lips (IPA); a recognizer's mistakes and people's carelessness are why the truth is asked as well.
    """
    real, ours = (_least_shares(times, mouth, span, phones) for mouth in (truth, opening))
    return {
        "bilabials": float((real < CLOSED).sum()),
        "bilabials_hit": float(((real < CLOSED) & (ours < NEARLY_CLOSED)).sum()),
        "own_bilabials": float((ours < CLOSED).sum()),
        "own_bilabials_hit": float(((ours < CLOSED) & (real < NEARLY_CLOSED)).sum()),
    }


def _least_shares(times: np.ndarray, opening: np.ndarray, span: tuple[float, float], phones: np.ndarray) -> np.ndarray:
    """The least opening at each phone as a share of the person's range; 1 where it is not known. (n,)"""
    share = np.nan_to_num(_share(opening, span), nan=1.0)
    at = (times >= phones[:, :1] - _PHONE_EDGE) & (times <= phones[:, 1:] + _PHONE_EDGE)
    return np.asarray(np.where(at, share, 1.0).min(axis=1, initial=1.0))


def find_offset(times: np.ndarray, mouth: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Milliseconds by which `mouth` comes after `reference`, and their correlation there: peak of the cross-correlation
    within 240 ms either side, refined by a parabola; NaN where the peak is no peak but the end of that range.

    The idea of AV offset in Chung and Zisserman, Out of Time (ACCV 2016), on openings instead of embeddings.
    """
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    known = np.isfinite(mouth) & np.isfinite(reference)
    if known.sum() < 16:
        return float("nan"), float("nan")
    grid = np.arange(times[0], times[-1] + step / 2, step)
    even = np.interp(grid, times[known], mouth[known])
    other = np.interp(grid, times[known], reference[known])
    reach = max(round(_MOST_OFFSET / step), 1)
    lags = np.arange(-reach, reach + 1)
    found = np.array([correlate(even[reach + lag : len(even) - reach + lag], other[reach:-reach]) for lag in lags])
    if not np.isfinite(found).all():
        return float("nan"), float("nan")
    best = int(found.argmax())
    if best in (0, len(lags) - 1):
        return float("nan"), float(found[best])
    before, at, after = found[best - 1 : best + 2]
    shift = np.clip(0.5 * (before - after) / min(before - 2 * at + after, -1e-12), -0.5, 0.5)
    return float((lags[best] + shift) * step * 1000), float(found[best])


def measure_loudness(speech: np.ndarray, rate: int, times: np.ndarray) -> np.ndarray:
    """Level of the sound around each time, 50 ms long, decibels of full scale (RMS)."""
    half = rate // 40
    powers = np.concatenate([[0.0], np.cumsum(speech.astype(np.float64) ** 2)])
    places = np.round(times * rate).astype(np.int64)
    first, end = np.clip(places - half, 0, len(speech)), np.clip(places + half, 0, len(speech))
    mean = (powers[end] - powers[first]) / np.maximum(end - first, 1)
    return np.asarray(10 * np.log10(np.maximum(mean, 1e-9)))


def find_silence(speech: np.ndarray, rate: int, times: np.ndarray) -> np.ndarray:
    """Which of the times lie in a pause: 0.3 s or longer, at least 30 dB under the loud parts; 0.12 s off its ends.

    (n,) bool. After the level rule of ITU-T P.56 (active speech level), with a margin for the mouth to come to rest.
    """
    fine = np.arange(0, len(speech) / rate, 0.01)
    level = measure_loudness(speech, rate, fine)
    if len(level) == 0:
        return np.ones(len(times), bool)
    quiet = level < max(np.percentile(level, 95) - _SILENT_BELOW, -70)
    silent = np.zeros(len(times), bool)
    for first, end in find_runs(quiet):
        if (end - first) * 0.01 >= _SHORTEST_SILENCE:
            silent |= (times >= fine[first] + _SILENCE_EDGE) & (times <= fine[end - 1] - _SILENCE_EDGE)
    return silent


def rest_spread(opening: np.ndarray, silent: np.ndarray) -> float:
    """Standard deviation of the opening within pauses, about each pause's own mean. Unit: eye distances."""
    parts = [opening[first:end] for first, end in find_runs(silent & np.isfinite(opening)) if end - first >= 4]
    if not parts:
        return float("nan")
    return float(np.concatenate([part - part.mean() for part in parts]).std())


def measure_jitter(lips: np.ndarray) -> float:
    """Mean length of the lips' second differences from frame to frame, the head held still. Unit: that of the points.

    As the acceleration error of Kanazawa et al., Learning 3D Human Dynamics from Video (CVPR 2019). (n, points, 3)
    """
    steps = np.linalg.norm(np.diff(lips, n=2, axis=0), axis=-1)
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")


def count_twitches(lips: np.ndarray, source: np.ndarray) -> float:
    """Percent of frames whose lips' second difference passes what the source's lips pass in one of a hundred.

    Both aligned (n, points, 3). 1 is natural; a mouth that jumps for one frame counts three times.
    """
    ours, natural = (np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean(axis=-1) for points in (lips, source))
    ours, natural = ours[np.isfinite(ours)], natural[np.isfinite(natural)]
    if min(len(ours), len(natural)) < 8:
        return float("nan")
    return float(100 * (ours > np.percentile(natural, 99)).mean())


def compare_alike(values: np.ndarray, opening: np.ndarray, source: np.ndarray, source_opening: np.ndarray) -> float:
    """Median ratio of values to the source's in frames whose mouth is about as far open: the median of the 15 nearest.

    Teeth and lips that part have edges of their own; unlike mouths say nothing about sharpness.
    """
    known = np.isfinite(source) & np.isfinite(source_opening)
    usable = np.isfinite(values) & np.isfinite(opening)
    if known.sum() < 15 or not usable.any():
        return float("nan")
    nearest = np.abs(opening[usable, None] - source_opening[known][None]).argsort(axis=1)[:, :15]
    return float(np.median(values[usable] / np.maximum(np.median(source[known][nearest], axis=1), 1e-9)))


def identity_distance(aligned: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of eyes, brows and nose from where the source has them in the same frames. Percent of eye distance.

    Landmark shape in place of an embedding, as no embedding net comes with the default install.
    """
    return 100 * lip_distance(aligned[:, IDENTITY], truth[:, IDENTITY])


def find_runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of each run of set flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _share(opening: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    return np.asarray((opening - span[0]) / max(span[1] - span[0], 1e-6))
