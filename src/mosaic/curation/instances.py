"""Which found instance is which subject, and how good its mask is: pure functions of masks bool (H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mosaic.perception.found import Found
from mosaic.sample import Mask

SAME = 0.5  # intersection over union from which two masks are one instance …
SIDE = 256  # … told at so many pixels a side

Groups = list[list[int]]  # of each subject the group of each of its instances


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union; 0 where both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def area(mask: Mask) -> float:
    """The share of the picture."""
    return float(mask.mean())


def borders(mask: Mask) -> int:
    """How many of the picture's four sides the mask touches."""
    return sum(bool(side.any()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def fragments(mask: Mask) -> float:
    """The share of the mask outside its largest connected part; 0 for one part or none."""
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if count < 2:
        return 0.0
    sizes = np.bincount(parts.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum())


def overlap(masks: Sequence[Mask | None], index: int) -> float:
    """The greatest intersection over union of one mask with another subject's."""
    mine = masks[index]
    others = (mask for i, mask in enumerate(masks) if i != index and mask is not None)
    return max((iou(mine, other) for other in others), default=0.0) if mine is not None else 0.0


def grouped(found: Sequence[Sequence[Found]]) -> Groups:
    """Instances that are one thing in the picture get one number, whichever phrases found them.

    Surest first; an instance joins the first group whose first mask it equals by more than SAME.
    """
    flat = [(i, j) for i, some in enumerate(found) for j in range(len(some))]
    flat.sort(key=lambda place: -found[place[0]][place[1]].score)
    alike = _all_ious([found[i][j].mask for i, j in flat]) > SAME
    groups: Groups = [[-1] * len(some) for some in found]
    leaders: list[int] = []
    for n, (i, j) in enumerate(flat):
        near = next((g for g, leader in enumerate(leaders) if alike[n, leader]), len(leaders))
        if near == len(leaders):
            leaders.append(n)
        groups[i][j] = near
    return groups


def _all_ious(masks: Sequence[Mask]) -> NDArray[np.float64]:
    """Of n masks with each other (n, n), from pixels so far apart that SIDE of them span the longer side."""
    if not masks:
        return np.zeros((0, 0))
    step = -(-max(masks[0].shape) // SIDE)
    flat = np.stack([mask[::step, ::step].ravel() for mask in masks]).astype(np.float32)
    both = (flat @ flat.T).astype(np.float64)
    either = both.diagonal()[:, None] + both.diagonal()[None] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def assigned(found: Sequence[Sequence[Found]], groups: Groups) -> list[int | None]:
    """The instance of each subject, so that no two take one thing and the sum of box scores is greatest.

    A subject left with nothing takes its surest instance still, and its overlap tells. None: it has none.
    """
    from scipy.optimize import linear_sum_assignment

    count = 1 + max((group for mine in groups for group in mine), default=-1)
    scores: NDArray[np.float64] = np.zeros((len(found), count))
    best: dict[tuple[int, int], int] = {}
    for i, some in enumerate(found):
        for j, one in enumerate(some):
            if one.score > scores[i, groups[i][j]]:
                scores[i, groups[i][j]], best[i, groups[i][j]] = one.score, j
    rows, columns = linear_sum_assignment(scores, maximize=True)
    taken = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [best.get((i, taken.get(i, -1)), 0 if some else None) for i, some in enumerate(found)]


def things(groups: Groups, chosen: Sequence[int | None], index: int) -> int:
    """How many different things a phrase found, those that other subjects took not counted."""
    others = {groups[i][pick] for i, pick in enumerate(chosen) if i != index and pick is not None}
    mine = chosen[index]
    own = {groups[index][mine]} if mine is not None else set()
    return len((set(groups[index]) - others) | own)
