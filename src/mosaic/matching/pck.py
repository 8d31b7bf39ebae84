"""How right matches are: PCK, precision and coverage. P points, N pairs of pictures. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mosaic.geometry import Box, Floats, Size

ALPHAS = (0.05, 0.1, 0.15)


def errors(found: ArrayLike, truth: ArrayLike, size: Size, box: Box) -> Floats:
    """How far points (P, 2) in [0, 1]² of a target lie from the truth: (P,), in the longer side of a box.

    size (height, width) of the target and box (left, top, right, bottom) in pixels; nan stays nan.
    """
    off = (np.asarray(found, np.float64) - np.asarray(truth, np.float64)) * size[::-1]
    left, top, right, bottom = box
    return np.asarray(np.linalg.norm(off, axis=-1) / max(right - left, bottom - top))


@dataclass(frozen=True, slots=True, kw_only=True)
class PCK:
    """Percent of points within α of their place: over all points, and the mean over pairs of pictures."""

    alpha: float
    points: float
    pairs: float


def pck(wrong: Sequence[Floats], alpha: float) -> PCK:
    """wrong: the `errors` of each pair, one without points does not count; nan (not found) is wrong."""
    with_points = [np.asarray(pair) for pair in wrong if len(pair)]
    if not with_points:
        return PCK(alpha=alpha, points=float("nan"), pairs=float("nan"))
    right = [pair <= alpha for pair in with_points]  # False for nan
    pairs = float(np.mean([pair.mean() for pair in right]))
    return PCK(alpha=alpha, points=100 * float(np.concatenate(right).mean()), pairs=100 * pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Percent of the kept that are right, and percent of all that are kept."""

    precision: float
    coverage: float


def kept(wrong: Floats, believed: NDArray[np.bool_], alpha: float) -> Kept:
    """Of errors (P,), nan where there is no right place, and the matches believed (P,)."""
    share = 100 * float(believed.mean()) if len(believed) else float("nan")
    right = 100 * float((wrong[believed] <= alpha).mean()) if believed.any() else float("nan")
    return Kept(precision=right, coverage=share)


def curve(wrong: Floats, confidence: Floats, alpha: float) -> list[Kept]:
    """Precision against coverage: the surest match alone, the two surest, …, all; −inf is never believed.

    confidence (P,); equals are believed together.
    """
    order = np.argsort(-confidence, kind="stable")
    order = order[confidence[order] > -np.inf]
    right = np.cumsum(wrong[order] <= alpha)
    last = np.append(np.diff(confidence[order]) != 0, True) if len(order) else np.zeros(0, bool)
    counts = np.arange(1, len(order) + 1)
    return [
        Kept(precision=100 * float(right[n] / counts[n]), coverage=100 * float(counts[n] / len(wrong)))
        for n in np.flatnonzero(last)
    ]


def at_coverage(points: Sequence[Kept], least: float) -> Kept | None:
    """The most precise point of a curve that keeps at least `least` percent."""
    enough = [point for point in points if point.coverage >= least]
    return max(enough, key=lambda point: point.precision) if enough else None
