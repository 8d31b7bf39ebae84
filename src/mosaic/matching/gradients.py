"""Features that need no weights: oriented gradients and colour about each token, near and farther.

h × w pixels of a canvas, O orientations, C channels. What a histogram can tell of a place: enough for the
same thing seen again, not for two things of a kind.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from mosaic.geometry import Box
from mosaic.matching.features import FeatureMap, as_map, canvas_of, unit
from mosaic.sample import Picture

ORIENTATIONS = 8


class Gradients:
    """Root-normalised histograms of gradients (as in RootSIFT) beside mean colours.

    tokens a side of the canvas; cell: pixels that one histogram covers, as many as a token is wide.
    """

    name = "gradients"

    def __init__(self, *, tokens: int = 48, cell: int = 8) -> None:
        self.tokens, self.cell = tokens, cell

    @torch.no_grad()
    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        """Its features of the picture, or of a box of it."""
        canvas, placement = canvas_of(picture, self.tokens * self.cell, box)
        histograms = avg_pool2d(oriented(canvas), self.cell)
        means = avg_pool2d(canvas * 2 - 1, self.cell)
        parts = []
        for step in (1, 3):  # neighbourhoods of 3 and 9 tokens
            parts.append(_unit(around(histograms, step).sqrt()))
            parts.append(_unit(around(means, step)))
        return as_map(torch.cat(parts, dim=1)[0], placement)


def oriented(canvas: Tensor) -> Tensor:
    """Gradient strength by direction, shared between the two nearest: (1, 3, h, w) → (1, O, h, w)."""
    grey = pad(canvas.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    x = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    y = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    turn = torch.atan2(y, x) / (2 * math.pi) * ORIENTATIONS
    bins = torch.arange(ORIENTATIONS).view(1, -1, 1, 1)
    off = (turn - bins + ORIENTATIONS / 2) % ORIENTATIONS - ORIENTATIONS / 2
    return (1 - off.abs()).clamp_min(0) * torch.hypot(x, y)


def around(cells: Tensor, step: int) -> Tensor:
    """Each cell with the eight about it, `step` cells wide and apart: (1, O, h, w) → (1, 9·O, h, w)."""
    height, width = cells.shape[-2:]
    smooth = avg_pool2d(pad(cells, (step // 2,) * 4, mode="replicate"), step, stride=1)
    wide = pad(smooth, (step,) * 4, mode="replicate")
    shifts = [
        wide[:, :, y : y + height, x : x + width] for y in (0, step, 2 * step) for x in (0, step, 2 * step)
    ]
    return torch.cat(shifts, dim=1)


def _unit(values: Tensor) -> Tensor:
    return unit(values.movedim(1, -1)).movedim(-1, 1)
