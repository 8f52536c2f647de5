"""Gaussian blur of what is sampled over time."""

import numpy as np


def blur(rows: np.ndarray, deviation: float, reach: int) -> np.ndarray:
    """Rows (n, m) blurred over time: standard `deviation` and `reach` either side in rows; none for a reach of 0."""
    if not len(rows) or not reach:
        return rows
    kernel = bell(reach, deviation)
    padded = np.pad(rows, ((reach, reach), (0, 0)), mode="edge")
    return np.asarray(around(padded, reach) @ (kernel / kernel.sum()))


def around(padded: np.ndarray, reach: int) -> np.ndarray:
    """What lies up to `reach` steps either side of each, along a new last axis."""
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)


def bell(reach: int, deviation: float) -> np.ndarray:
    """Gaussian of height 1. (2 reach + 1,)"""
    return np.asarray(np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2))
