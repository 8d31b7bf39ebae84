"""How often a probe row peaks at its point: exactly, within one token, and what chance would give."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mosaic.geometry import Grid


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeAccuracy:
    exact: float
    near: float  # within one token in row and column
    chance: float  # of exact
    chance_near: float


def probe_accuracy(rows: Tensor, labels: Tensor, valid: Tensor, grid: Grid) -> ProbeAccuracy | None:
    """Of rows (B, K, P, columns), labels long (B, K, P) and valid bool (B, K, P); None without a valid point.

    Columns are one grid, or one after another (`target_to_ref`): then near means near in the same reference.
    """
    if not bool(valid.any()):
        return None
    columns, found, wanted = rows.shape[-1], rows.detach().argmax(-1)[valid], labels[valid]
    same = found // grid.size == wanted // grid.size
    dy = (found % grid.size) // grid.width - (wanted % grid.size) // grid.width
    dx = found % grid.width - wanted % grid.width
    near = same & (dy.abs() <= 1) & (dx.abs() <= 1)
    return ProbeAccuracy(
        exact=float((found == wanted).float().mean()),
        near=float(near.float().mean()),
        chance=1 / columns,
        chance_near=float(_neighbours(wanted % grid.size, grid).float().mean()) / columns,
    )


def _neighbours(token: Tensor, grid: Grid) -> Tensor:
    """How many tokens, itself included, lie within one of a token."""
    y, x = token // grid.width, token % grid.width
    high = 1 + (y > 0).long() + (y < grid.height - 1).long()
    wide = 1 + (x > 0).long() + (x < grid.width - 1).long()
    return torch.mul(high, wide)
