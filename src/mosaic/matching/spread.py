"""A few points out of many that lie well apart and are sure. P points, N chosen. NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mosaic.geometry import Floats
from mosaic.sample import Correspondence

MOST_POINTS = 256  # a reference


def farthest(points: Floats, confidence: Floats, most: int) -> NDArray[np.int64]:
    """Which points to keep: the surest, then whichever has most (distance to those chosen) · confidence.

    points (P, 2), confidence (P,) → indices (min(P, most),) in the order they were chosen; ties go to the
    first.
    """
    count = min(len(points), most)
    chosen = np.zeros(count, np.int64)
    distance = np.full(len(points), np.inf)
    for n in range(count):
        gain = confidence if n == 0 else distance * confidence
        chosen[n] = np.argmax(np.where(distance > -1, gain, -1))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[n]], axis=1))
        distance[chosen[: n + 1]] = -2  # taken
    return chosen


def thinned(points: Correspondence, most: int = MOST_POINTS) -> Correspondence:
    """At most `most` of the points, spread over the reference, in their old order."""
    return points.chosen(np.sort(farthest(points.reference, points.confidence, most)))
