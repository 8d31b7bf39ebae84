"""What the attention does while a picture is made: where reference points look, who owns each target token.

K references, P points, T target tokens, R tokens of one reference, N blocks. Means over blocks, heads and
chosen steps; where it is asked for, each block's own means over heads and steps beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mosaic.geometry import Grid, center_of
from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout, Visibility
from mosaic.model.transformer import TransformerOutput

OWNER_STEPS = 4  # each costs a forward pass

Blocks = Literal["all", "double"] | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionRequest:
    """What to read: tokens of each reference's own grid, in which blocks, over which last share of steps."""

    tokens: tuple[tuple[int, ...], ...]  # one a reference, at least one token each
    blocks: Blocks = "all"
    last: float = 0.5
    per_block: bool = False  # keep each block's means as well: N times the memory

    def __post_init__(self) -> None:
        if not all(self.tokens):
            raise ValueError("Every reference needs a point or more to follow.")
        if not 0 < self.last <= 1:
            raise ValueError(f"The share of steps to read must lie in (0, 1], not {self.last}.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attention:
    """What was read for one picture."""

    target: Grid
    references: tuple[Grid, ...]
    tokens: tuple[tuple[int, ...], ...]  # the points, one tuple a reference
    looks: tuple[NDArray[np.float32], ...]  # (P_k, T) a reference; rows sum to 1
    owners: NDArray[np.float32]  # (K, T), each reference's share of a target token's look; columns sum to 1
    block_looks: tuple[NDArray[np.float32], ...] | None = None  # (N, P_k, T) a reference, where per_block
    block_owners: NDArray[np.float32] | None = None  # (N, K, T)


class AttentionReader:
    """Gathers probe rows over the steps of one picture.

    `ref_to_target` rows are read along with the picture; the owners, and under `isolated` visibility (where
    references do not look at the target) the looks as well, from `target_to_ref` rows of all target tokens.
    """

    def __init__(self, request: AttentionRequest, layout: TokenLayout, sigmas: Sequence[float]) -> None:
        """ValueError unless there are tokens for each reference of the layout."""
        if len(request.tokens) != len(layout.references) or not request.tokens:
            raise ValueError(
                f"Points of {len(request.tokens)} references for {len(layout.references)} references."
            )
        self.request, self.layout = request, layout
        self.mutual = layout.visibility is not Visibility.ISOLATED  # references look at the target
        steps = sigmas[:-1]
        read = list(steps[-math.ceil(len(steps) * request.last) :])
        self.look_sigmas = frozenset(read if self.mutual else ())
        self.owner_sigmas = frozenset(_spread(read, OWNER_STEPS))
        self._looks = _Mean()
        self._map = _Mean()
        self._block_looks = _Mean()  # (N, ΣP, T)
        self._block_owners = _Mean()  # (N, K, T)

    def look_probe(self, sigma: float, device: torch.device) -> Probe | None:
        """To send along with the step at this noise level."""
        if sigma not in self.look_sigmas:
            return None
        longest = max(map(len, self.request.tokens))
        rows = [[*tokens, *[tokens[0]] * (longest - len(tokens))] for tokens in self.request.tokens]
        return self._probe(torch.tensor([rows], device=device), "ref_to_target")

    def owner_probe(self, sigma: float, device: torch.device) -> Probe | None:
        """For a pass of its own at this noise level: every target token, dealt out over K slots."""
        if sigma not in self.owner_sigmas:
            return None
        size, k = self.layout.target.size, len(self.layout.references)
        each = math.ceil(size / k)
        tokens = torch.arange(each * k, device=device).clamp(max=size - 1).view(1, k, each)
        return self._probe(tokens, "target_to_ref")

    def add_looks(self, out: TransformerOutput) -> None:
        """Rows (1, K, P, T) and block rows (N, 1, K, P, T), where this step was probed."""
        if out.rows is not None:
            self._looks.add(out.rows[0])
        if out.block_rows is not None:
            counts = map(len, self.request.tokens)
            own = [out.block_rows[:, 0, k, :count] for k, count in enumerate(counts)]
            self._block_looks.add(torch.cat(own, dim=1))

    def add_owners(self, out: TransformerOutput) -> None:
        """Rows (1, K, ⌈T/K⌉, ΣR) and block rows (N, 1, K, ⌈T/K⌉, ΣR)."""
        target = self.layout.target.size
        if out.rows is not None:
            self._map.add(out.rows[0].flatten(0, 1)[:target])
        if out.block_rows is not None:
            parts = self._parts(out.block_rows[:, 0].flatten(1, 2)[:, :target])
            self._block_owners.add(torch.stack([part.sum(2) for part in parts], dim=1))
            if not self.mutual:
                chosen = zip(parts, self.request.tokens, strict=True)
                self._block_looks.add(torch.cat([part[..., list(p)].mT for part, p in chosen], dim=1))

    def result(self) -> Attention:
        parts = self._parts(self._map.value())  # (T, R) each
        tokens = self.request.tokens
        mapped = [_columns(part, points) for part, points in zip(parts, tokens, strict=True)]
        looks = self._looks.value() if self.mutual else mapped
        return Attention(
            target=self.layout.target,
            references=self.layout.references,
            tokens=tokens,
            looks=tuple(rows[: len(points)].numpy() for rows, points in zip(looks, tokens, strict=True)),
            owners=torch.stack([part.sum(1) for part in parts]).numpy(),
            block_looks=self._looks_by_block(),
            block_owners=self._block_owners.value().numpy() if self.request.per_block else None,
        )

    def _looks_by_block(self) -> tuple[NDArray[np.float32], ...] | None:
        """(N, P_k, T) a reference, rows sum to 1."""
        if not self.request.per_block:
            return None
        rows = self._block_looks.value()
        if not self.mutual:
            rows = _normed(rows)
        return tuple(part.numpy() for part in torch.split(rows, list(map(len, self.request.tokens)), dim=1))

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        """(…, ΣR) → (…, R) of each reference."""
        return torch.split(rows, [grid.size for grid in self.layout.references], dim=-1)

    def _probe(self, tokens: Tensor, direction: Literal["ref_to_target", "target_to_ref"]) -> Probe:
        request = self.request
        return Probe(tokens=tokens, blocks=request.blocks, direction=direction, per_block=request.per_block)


@dataclass(slots=True)
class _Mean:
    total: Tensor | None = None
    count: int = field(default=0)

    def add(self, value: Tensor) -> None:
        value = value.detach().float().cpu()
        self.total = value if self.total is None else self.total + value
        self.count += 1

    def value(self) -> Tensor:
        assert self.total is not None
        return self.total / self.count


def _columns(rows: Tensor, tokens: Sequence[int]) -> Tensor:
    """Which target tokens look at these reference tokens: (T, R) → (P, T), rows sum to 1."""
    return _normed(rows[:, list(tokens)].T)


def _normed(rows: Tensor) -> Tensor:
    """Rows that sum to 1."""
    return rows / rows.sum(-1, keepdim=True).clamp(min=1e-12)


def _spread(values: Sequence[float], count: int) -> list[float]:
    """`count` of the values, evenly spaced, the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, count)]


def spread_tokens(mask: NDArray[np.bool_], grid: Grid, count: int = 3) -> tuple[int, ...]:
    """Up to `count` tokens of a canvas, mask bool (H, W), that lie well apart on its foreground.

    The first is the foreground token nearest its middle, each further one is farthest from those before. A
    token is foreground if at least half of it is; where none is, the whole canvas counts.
    """
    cells = mask.reshape(grid.height, mask.shape[0] // grid.height, grid.width, -1).mean((1, 3)).ravel()
    inside = np.flatnonzero(cells >= 0.5) if (cells >= 0.5).any() else np.arange(grid.size)
    points = center_of(inside, grid)
    chosen = [int(((points - points.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < min(count, len(inside)):
        distance = ((points[:, None] - points[chosen]) ** 2).sum(-1).min(1)
        chosen.append(int(distance.argmax()))
    return tuple(int(inside[i]) for i in chosen)
