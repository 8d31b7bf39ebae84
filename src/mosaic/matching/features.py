"""A picture's features on a known grid, and what finds them: the one thing matching asks of a network.

T tokens of a feature map, C channels, P points. Points are (x, y) in [0, 1]² of the picture itself, wherever
on the network's canvas it lay; features have unit norm, so that a product is a cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mosaic.geometry import Box, Floats, Grid, Placement, center_of, render_array
from mosaic.sample import Mask, Picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMap:
    """Unit-norm features of a picture, and where the picture lies under their grid."""

    values: Tensor  # (T, C) float32
    grid: Grid
    placement: Placement  # picture → canvas, over which the grid is spread

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != self.grid.size:
            shape, wanted = tuple(self.values.shape), self.grid.size
            raise ValueError(f"A feature map of {wanted} tokens needs values ({wanted}, C), not {shape}.")

    def centers(self) -> Floats:
        """The middle of each token as a point of the picture: (T, 2), beyond [0, 1]² where none lies."""
        return self.placement.invert(center_of(np.arange(self.grid.size), self.grid))

    def cells(self, points: ArrayLike) -> Floats:
        """Points (P, 2) of the picture in tokens: (P, 2) as (column, row), whole at a token's middle."""
        return np.asarray(
            self.placement.apply(points) * (self.grid.width, self.grid.height) - 0.5, np.float64
        )

    def points(self, cells: ArrayLike) -> Floats:
        """The inverse of `cells`, kept within the picture."""
        canvas = (np.asarray(cells, np.float64) + 0.5) / (self.grid.width, self.grid.height)
        return np.clip(self.placement.invert(canvas), 0, 1)

    def at(self, points: ArrayLike) -> Tensor:
        """Features between tokens, bilinear, at points (P, 2) of the picture: (P, C), unit norm."""
        last = np.array((self.grid.width - 1, self.grid.height - 1))
        cells = np.clip(self.cells(points), 0, last)
        low = np.minimum(np.floor(cells), np.maximum(last - 1, 0)).astype(np.int64)
        share = torch.from_numpy(cells - low).to(self.values)
        high = np.minimum(low + 1, last)
        x, y = share[:, :1], share[:, 1:]
        top = self._row(low[:, 0], low[:, 1]) * (1 - x) + self._row(high[:, 0], low[:, 1]) * x
        bottom = self._row(low[:, 0], high[:, 1]) * (1 - x) + self._row(high[:, 0], high[:, 1]) * x
        return unit(top * (1 - y) + bottom * y)

    def _row(self, column: NDArray[np.int64], row: NDArray[np.int64]) -> Tensor:
        return self.values[torch.from_numpy(row * self.grid.width + column).to(self.values.device)]

    def shows(self, mask: Mask | None = None) -> Tensor:
        """Which tokens have their middle in the picture, and in its mask (H, W) where one is given: (T,)."""
        centers = self.centers()
        inside = self.placement.shows(centers)
        if mask is not None:
            height, width = mask.shape
            column = np.clip(centers[:, 0] * width, 0, width - 1).astype(np.int64)
            row = np.clip(centers[:, 1] * height, 0, height - 1).astype(np.int64)
            inside &= mask[row, column]
        return torch.from_numpy(inside).to(self.values.device)

    def finer(self, tokens: int) -> FeatureMap:
        """The same features under a grid of tokens × tokens, bilinear between the old ones."""
        grid = Grid(tokens, tokens)
        points = self.placement.invert(center_of(np.arange(grid.size), grid))
        return FeatureMap(values=self.at(points), grid=grid, placement=self.placement)

    def on(self, other: FeatureMap) -> FeatureMap:
        """These features under the grid and placement of another map of the same picture."""
        if (self.grid, self.placement) == (other.grid, other.placement):
            return self
        values = self.at(np.clip(other.centers(), 0, 1))
        return FeatureMap(values=values, grid=other.grid, placement=other.placement)


class Extractor(Protocol):
    """A network as matching sees it: a picture, or the box of it to look at (pixels), → its features."""

    name: str

    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap: ...


def unit(values: Tensor) -> Tensor:
    """Rows (…, C) of norm 1 in float32; what is 0 stays 0."""
    values = values.float()
    return values / values.norm(dim=-1, keepdim=True).clamp_min(1e-8)


def as_map(values: Tensor, placement: Placement) -> FeatureMap:
    """A network's output (C, h, w) over the whole canvas as a feature map."""
    channels, height, width = values.shape
    rows = unit(values.reshape(channels, height * width).T)
    return FeatureMap(values=rows, grid=Grid(height, width), placement=placement)


def joined(maps: Sequence[FeatureMap]) -> FeatureMap:
    """Maps of one picture side by side under the grid of the first: a cosine is the mean of their cosines.

    ValueError if there is none.
    """
    if not maps:
        raise ValueError("There is no feature map to join: name at least one kind of features.")
    first = maps[0]
    values = torch.cat([one.on(first).values.to(first.values.device) for one in maps], dim=1)
    return FeatureMap(values=unit(values), grid=first.grid, placement=first.placement)


def canvas_of(picture: Picture, side: int, box: Box | None = None) -> tuple[Tensor, Placement]:
    """The box of a picture (default: all) on a white square: float (1, 3, side, side) in [0, 1]."""
    placement = Placement.letterbox(picture.shape[:2], (side, side), box=box)
    canvas = torch.from_numpy(render_array(picture, placement))
    return canvas.permute(2, 0, 1)[None].float() / 255, placement


class Joined:
    """Several extractors as one."""

    def __init__(self, *extractors: Extractor) -> None:
        self.extractors = extractors
        self.name = " + ".join(one.name for one in extractors)

    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        """`joined` of what its parts find."""
        return joined([extract(picture, box) for extract in self.extractors])
