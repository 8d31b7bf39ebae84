"""Exact correspondences between renders: where each spot of a reference is in the target, if it shows.

Letters: B samples, K references a sample, R reference tokens, T target tokens, P points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mosaic.toybox.render import Render, project

TOLERANCE = 0.03  # world units between a spot and the surface the target shows there (a toy is about 1)
FEWEST = 3  # pixels of a reference token that must land in a target token to count as a point


@dataclass(frozen=True, slots=True)
class Matches:
    """Reference pixels with a visible place in the target; M of them.

    `sample` and `reference` (M,) say which; `here` and `there` (M, 2) are (x, y) in [0, 1]² of the reference
    and of the target.
    """

    sample: Tensor
    reference: Tensor
    here: Tensor
    there: Tensor


def match(target: Render, references: Render, count: int) -> Matches:
    """Every reference sub-pixel that the target shows too.

    `references` holds B·K scenes of one toy each: scene b·K + k shows toy k of target b.
    """
    _, rows, columns = references.part.shape
    scene, row, column = (references.part >= 0).nonzero(as_tuple=True)
    part = references.part[scene, row, column]
    sample, which = scene // count, scene % count
    own = part - references.parts.first[scene, 0] + target.parts.first[sample, which]
    local = references.local[scene, row, column]
    frame = target.parts.frame[own]
    world = (frame[:, :, :3] @ local[..., None])[..., 0] + frame[:, :, 3]
    high, wide = target.part.shape[1:]
    x, y, depth = project(target.view, sample, world, high, wide)
    inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
    at = (sample, y.long().clamp(0, high - 1), x.long().clamp(0, wide - 1))
    shown = inside & (target.toy[at] == which) & ((target.depth[at] - depth).abs() < TOLERANCE)
    here = torch.stack([(column + 0.5) / columns, (row + 0.5) / rows], -1)
    there = torch.stack([x / wide, y / high], -1)
    return Matches(sample[shown], which[shown], here[shown], there[shown])


def tally(
    matches: Matches, batch: int, count: int, reference_grid: tuple[int, int], target_grid: tuple[int, int]
) -> Tensor:
    """How many matched pixels lead from each reference token to each target token: (B, K, R, T) int."""
    r, t = reference_grid[0] * reference_grid[1], target_grid[0] * target_grid[1]
    here, there = _token(matches.here, reference_grid), _token(matches.there, target_grid)
    index = ((matches.sample * count + matches.reference) * r + here) * t + there
    return torch.bincount(index, minlength=batch * count * r * t).view(batch, count, r, t)


def _token(point: Tensor, grid: tuple[int, int]) -> Tensor:
    height, width = grid
    return (point[:, 1] * height).long() * width + (point[:, 0] * width).long()


def points(counts: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `limit` strongest points of each reference: reference, target, valid, each (B, K, limit).

    Eq. 2: a target token that several references reach belongs to the one that reaches it with most pixels.
    """
    batch, count, r, t = counts.shape
    if not count:
        empty = torch.zeros(batch, 0, limit, dtype=torch.long, device=counts.device)
        return empty, empty, empty.bool()
    share = counts.sum(2)  # (B, K, T)
    owner = share.argmax(1, keepdim=True)
    mine = torch.arange(count, device=counts.device)[:, None] == owner  # (B, K, T)
    own = counts * mine[:, :, None]
    strength, index = own.flatten(2).topk(min(limit, r * t), dim=-1)
    return index // t, index % t, strength >= FEWEST
