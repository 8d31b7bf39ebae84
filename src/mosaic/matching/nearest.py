"""Matching as pure functions of similarities: nearest, mutual, the way back, and where between tokens.

P queries of one picture, T tokens of the other, S tokens of the first. Cells are (column, row) on a grid, a
token's middle a whole number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mosaic.geometry import Grid


def similarity(queries: Tensor, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Cosines of unit-norm queries (P, C) and tokens (T, C): (P, T), −inf where not allowed (T,)."""
    found = queries @ tokens.T
    return found if allowed is None else found.masked_fill(~allowed, -torch.inf)


def nearest(similarities: Tensor) -> Tensor:
    """The most similar token of each query, the first of equals: (P, T) → long (P,)."""
    return similarities.argmax(dim=-1)


def mutual(similarities: Tensor) -> Tensor:
    """Whether a query is also the most similar one to the token it finds: (P, T) → bool (P,)."""
    found = nearest(similarities)
    return similarities.argmax(dim=0)[found] == torch.arange(len(found), device=found.device)


def cells_of(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (…) → their cells (…, 2)."""
    return torch.stack([tokens % grid.width, tokens // grid.width], dim=-1).float()


def apart(cells: Tensor, others: Tensor) -> Tensor:
    """Distances of cells (P, 2) and (P, 2) in tokens: (P,)."""
    return (cells - others).norm(dim=-1)


def way_back(
    found: Tensor, target: Tensor, reference: Tensor, grid: Grid, allowed: Tensor | None = None
) -> Tensor:
    """Where the tokens found lead back to: long (P,) of target (T, C) → cells (P, 2) of reference (S, C)."""
    return cells_of(nearest(similarity(target[found], reference, allowed)), grid)


def window_soft_argmax(
    similarities: Tensor, grid: Grid, window: int = 7, temperature: float = 0.02
) -> Tensor:
    """The mean cell in a window of tokens about the nearest, weighted by softmax: (P, T) → (P, 2).

    An odd window; tokens that are −inf, or beyond an edge, weigh nothing. One of 1 is the nearest itself.
    ValueError for an even window.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"The window must be an odd number of tokens, not {window}.")
    middle = cells_of(nearest(similarities), grid)  # (P, 2)
    cells = cells_of(torch.arange(grid.size, device=similarities.device), grid)  # (T, 2)
    within = ((cells - middle[:, None]).abs() <= window // 2).all(-1)  # (P, T)
    weights = (similarities / temperature).masked_fill(~within, -torch.inf).softmax(-1)
    return weights @ cells.to(weights)


def peak(similarities: Tensor, temperature: float = 0.02) -> Tensor:
    """The softmax probability of the nearest token: (P, T) → (P,) in [1/T, 1]."""
    return (similarities / temperature).softmax(-1).amax(-1)
