"""Which matches to believe: two kinds of features that agree, and a way back that ends where it began.

P queries (points of the reference), T tokens of the target, S of the reference, C channels, M matchers.
Maps of several matchers are brought under one grid, that of the first, so that a token is one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mosaic.geometry import Floats
from mosaic.matching.features import FeatureMap, joined
from mosaic.matching.nearest import (
    apart,
    cells_of,
    nearest,
    peak,
    similarity,
    way_back,
    window_soft_argmax,
)
from mosaic.matching.rule import Rule
from mosaic.sample import Correspondence, Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """For every query a place in the target, whether the rule believes it, and how surely."""

    target: Floats  # (P, 2) in [0, 1]² of the target picture
    kept: NDArray[np.bool_]  # (P,)
    confidence: Floats  # (P,) in [0, 1]


def consensus(
    queries: ArrayLike,
    references: Sequence[FeatureMap],
    targets: Sequence[FeatureMap],
    rule: Rule | None = None,
    reference_mask: Mask | None = None,
    target_mask: Mask | None = None,
) -> Matches:
    """Match points (P, 2) of a reference; references and targets hold one map a matcher, in the same order.

    A place is the window soft-argmax of the matchers' mean similarity within the target's mask. It is kept if
    the matchers' own nearest tokens agree with it and its token leads back to the query. Confidence is its
    softmax probability, less the more they disagree. With one matcher the cycle alone decides. ValueError for
    masks that hold no token.
    """
    rule, points = rule or Rule(), np.asarray(queries, np.float64).reshape(-1, 2)
    coarsest = max(targets[0].grid.width / one.grid.width for one in targets)
    references, targets = _aligned(references), _aligned(targets)
    reference, target = joined(references), joined(targets)
    allowed, home = target.shows(target_mask), reference.shows(reference_mask)
    if not bool(allowed.any()) or not bool(home.any()):
        raise ValueError("A mask holds no token of the feature map: nothing can be matched.")
    similarities = similarity(reference.at(points), target.values, allowed)  # (P, T)
    found = nearest(similarities)
    spread = _disagreement(points, references, targets, allowed, found) / max(coarsest, 1)
    back = way_back(found, target.values, reference.values, reference.grid, home)
    start = torch.from_numpy(reference.cells(points)).to(back)
    kept = (spread <= rule.agreement) & (apart(start, back) <= rule.cycle)
    cells = window_soft_argmax(similarities, target.grid, rule.window, rule.temperature)
    confidence = peak(similarities, rule.temperature) * torch.exp(-spread / 2)
    return Matches(
        target=target.points(cells.cpu().numpy()),
        kept=kept.cpu().numpy(),
        confidence=confidence.double().clamp(0, 1).cpu().numpy(),
    )


def _aligned(maps: Sequence[FeatureMap]) -> list[FeatureMap]:
    return [one.on(maps[0]) for one in maps]


def _disagreement(
    points: Floats,
    references: Sequence[FeatureMap],
    targets: Sequence[FeatureMap],
    allowed: Tensor,
    found: Tensor,
) -> Tensor:
    """How far the matchers' own nearest tokens lie from each other at most, in tokens: (P,)."""
    grid = targets[0].grid
    places = [
        cells_of(nearest(similarity(reference.at(points), target.values, allowed)), grid)
        for reference, target in zip(references, targets, strict=True)
    ]
    every = torch.stack([*places, cells_of(found, grid)])  # (M + 1, P, 2)
    return (every[:, None] - every[None]).norm(dim=-1).amax((0, 1))


def correspond(
    references: Sequence[FeatureMap],
    targets: Sequence[FeatureMap],
    reference_mask: Mask,
    target_mask: Mask,
    rule: Rule | None = None,
) -> Correspondence:
    """The believed matches of every token in the reference's mask."""
    first = references[0]
    queries = first.centers()[first.shows(reference_mask).cpu().numpy()]
    if not len(queries) or not bool(targets[0].shows(target_mask).any()):
        return Correspondence(reference=np.zeros((0, 2)), target=np.zeros((0, 2)), confidence=np.zeros(0))
    found = consensus(queries, references, targets, rule, reference_mask, target_mask)
    every = Correspondence(reference=queries, target=found.target, confidence=found.confidence)
    return every.chosen(found.kept)
