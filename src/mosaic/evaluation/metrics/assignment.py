"""Which found thing is which subject, when one thing may serve one subject alone.

K subjects, n detections, t things: detections that cover the same place are one thing. Similarities are
cosines (K, n) or (K, t); −∞ where a subject's noun did not find the thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME = 0.8  # of the union: two boxes that share so much are one thing
NEVER = -1e3  # below any sum of cosines, for scipy, which knows no −∞ here
UNSEEN = -np.inf


def cosines(references: NDArray[np.floating], found: NDArray[np.floating]) -> Floats:
    """Unit vectors, or zeros for what is not there: (K, D) and (n, D) → (K, n)."""
    return np.clip(references.astype(np.float64) @ found.astype(np.float64).T, -1.0, 1.0)


def best(similarities: Floats) -> Floats:
    """Each subject's largest (K,), one thing serving as many as it likes; 0 where nothing was found."""
    largest = similarities.max(axis=1, initial=UNSEEN)
    return np.where(np.isfinite(largest), largest, 0.0)


def matched(similarities: Floats) -> Ints:
    """Of each subject (K,) its thing, no thing twice, with the largest sum (Hungarian); −1: none is left."""
    from scipy.optimize import linear_sum_assignment

    chosen = np.full(len(similarities), -1, np.int64)
    rows, columns = linear_sum_assignment(np.maximum(similarities, NEVER), maximize=True)
    seen = np.isfinite(similarities[rows, columns])
    chosen[rows[seen]] = columns[seen]
    return chosen


def assigned(similarities: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Each subject's similarity to its own thing (K,), and whether it has one.

    A subject for which none is left has 0, or its largest one if that is below: never more than `best`.
    """
    chosen = matched(similarities)
    has = chosen >= 0
    values = np.minimum(best(similarities), 0.0)
    values[has] = similarities[has, chosen[has]]
    return values, has


def overlaps(boxes: NDArray[np.floating]) -> Floats:
    """Shared area over joint area of boxes (n, 4) left, top, right, bottom → (n, n)."""
    boxes = boxes.astype(np.float64).reshape(-1, 4)
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    shared = np.clip(np.minimum(opposite, boxes[:, 2:]) - np.maximum(corner, boxes[:, :2]), 0, None).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return shared / np.maximum(area[:, None] + area - shared, 1e-12)


def things(boxes: NDArray[np.floating], same: float = SAME) -> Ints:
    """Which thing each box (n, 4) shows (n,): boxes that overlap by `same` or more, and theirs, are one."""
    from scipy.sparse.csgraph import connected_components

    if not len(boxes):
        return np.zeros(0, np.int64)
    _, labels = connected_components(overlaps(boxes) >= same, directed=False)
    return np.asarray(labels, np.int64)


def per_thing(
    references: NDArray[np.floating],
    nouns: Sequence[str],
    found: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]],
) -> Floats:
    """How like each reference (K, D) is to each thing (K, t), by the detections of its own noun alone.

    found: noun, vectors (n, D) and boxes (n, 4) of all nouns in one picture. A thing's similarity is the
    largest of its detections'.
    """
    if not found:
        return np.zeros((len(references), 0))
    owner = np.array([noun for noun, vectors, _ in found for _ in vectors], object)
    vectors, boxes = (np.concatenate([one[part] for one in found]) for part in (1, 2))
    similar = np.where(np.array(nouns, object)[:, None] == owner, cosines(references, vectors), UNSEEN)
    return merged(similar, things(boxes))


def merged(similarities: Floats, thing: Ints) -> Floats:
    """(K, n) and which thing each detection shows (n,) → (K, t): a thing's is its likest detection's."""
    each = [similarities[:, thing == one].max(axis=1) for one in range(int(thing.max(initial=-1)) + 1)]
    return np.stack(each, axis=1) if each else np.zeros((len(similarities), 0))
