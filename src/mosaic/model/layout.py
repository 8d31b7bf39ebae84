"""Who sits where in the packed sequence, and who sees whom: the one place that decides it.

    [ text S | target T | ref_1 R_1 | … | ref_K R_K ]        packed length L = S + T + Σ R_k

A layout holds Python numbers only: it knows no backbone, width or device, and can be a dictionary's key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mosaic.geometry import Grid


class Visibility(StrEnum):
    """What the queries of a reference see. Text and target see everything in all three."""

    FULL = "full"  # text, target, every reference (the paper's eq. 7)
    RELEASE = "release"  # text, target, itself (the authors' released weights)
    ISOLATED = "isolated"  # itself, so that its keys and values can be cached


class Positions(StrEnum):
    """How the position ids (frame, row, column) of the references are kept apart."""

    WIDTH = "width"  # columns shifted left by the summed widths of references 1…k
    DIAGONAL = "diagonal"  # rows shifted up by the summed heights as well
    FRAME = "frame"  # the frame is k
    FREQUENCY = "frequency"  # a rotary base of its own for each reference (the paper's words)


class Span(NamedTuple):
    """A run of packed tokens, [start, stop)."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLayout:
    """Text tokens, target grid and reference grids (all in tokens) of one packed sequence."""

    text: int
    target: Grid
    references: tuple[Grid, ...] = ()
    visibility: Visibility = Visibility.RELEASE
    positions: Positions = Positions.WIDTH
    reference_time: float = 0.0  # noise level references stand at: 0 in the release
    reference_guidance: float = 1.0  # guidance references stand at: 1 in the release

    def __post_init__(self) -> None:
        """ValueError for a negative text length, an unknown visibility or unknown positions."""
        if self.text < 0:
            raise ValueError(f"The number of text tokens must not be negative, not {self.text}.")
        object.__setattr__(self, "references", tuple(self.references))
        object.__setattr__(self, "visibility", Visibility(self.visibility))
        object.__setattr__(self, "positions", Positions(self.positions))

    @property
    def main(self) -> int:
        """Text and target tokens, N = S + T: those that run at the noise level and on the base weights."""
        return self.text + self.target.size

    @property
    def length(self) -> int:
        """Packed length L."""
        return self.main + sum(grid.size for grid in self.references)

    @property
    def cacheable(self) -> bool:
        """Whether keys (before rotary positions) and values of a reference depend on that reference alone.

        Under `frequency` the distances among its own tokens turn with the base of its slot.
        """
        return self.visibility is Visibility.ISOLATED and self.positions is not Positions.FREQUENCY

    @property
    def text_span(self) -> Span:
        return Span(0, self.text)

    @property
    def target_span(self) -> Span:
        return Span(self.text, self.main)

    @property
    def reference_spans(self) -> tuple[Span, ...]:
        edges = list(accumulate((grid.size for grid in self.references), initial=self.main))
        return tuple(Span(start, stop) for start, stop in pairwise(edges))

    def ids(self) -> Tensor:
        """Position ids (frame, row, column) of all L tokens, int64 (L, 3); text is (0, 0, 0)."""
        text = torch.zeros(self.text, 3, dtype=torch.int64)
        return torch.cat([text, raster(self.target), *self.reference_ids()])

    def reference_ids(self) -> Iterator[Tensor]:
        """Position ids of each reference, int64 (R_k, 3). No two references share an id and a rotary base."""
        left = up = 0
        for k, grid in enumerate(self.references, start=1):
            left, up = left - grid.width, up - grid.height
            offset = {
                Positions.WIDTH: (0, 0, left),
                Positions.DIAGONAL: (0, up, left),
                Positions.FRAME: (k, 0, 0),
                Positions.FREQUENCY: (0, 1, 1),  # the rotation at 0 is the same whatever the base
            }[self.positions]
            yield raster(grid) + torch.tensor(offset)

    def base_factors(self) -> tuple[int, ...]:
        """What the rotary base θ is multiplied with for each reference: 1, or 2ᵏ for `frequency`."""
        if self.positions is Positions.FREQUENCY:
            return tuple(2**k for k in range(1, len(self.references) + 1))
        return (1,) * len(self.references)


def raster(grid: Grid) -> Tensor:
    """Ids (0, row, column) of a grid in raster order, int64 (H·W, 3)."""
    rows, columns = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
