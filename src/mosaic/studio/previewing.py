"""A picture of every step: the clean latents a step points to, through the autoencoder or a linear map.

The autoencoder is taken where its measured time is a small part of a step's (small models, or a GPU with time
to spare); else a linear map from latents to colours, fitted once to this autoencoder on patches of plain
colour, so that it suits any model. C latent channels, h × w latents.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mosaic.geometry import LATENT, Grid
from mosaic.model.latents import unpack_latents

if TYPE_CHECKING:
    from mosaic.pipeline import MosaicPipeline

SHARE = 0.25  # of a step's time that a preview may take
QUICK = 0.03  # seconds that are always spent
PATCHES, PATCH = 8, 32  # a side; pixels of one
WHITE, BLACK = 0.4, 0.1  # of the patches: both lie far from the colours between


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """colours = latents · weight + bias: (C, 3) and (3,), colours in [0, 1]."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def picture(self, latents: Tensor, grid: Grid) -> Image.Image:
        """Packed latents (1, T, 4·C) → RGB, enlarged to the target's size."""
        values = unpack_latents(latents.float().cpu(), grid)[0].permute(1, 2, 0).double().numpy()
        colors = np.clip(values @ self.weight + self.bias, 0, 1)
        small = Image.fromarray((colors * 255).round().astype(np.uint8))
        height, width = grid.pixels
        return small.resize((width, height), Image.Resampling.BICUBIC)


def fit(pipeline: MosaicPipeline) -> Projection:
    """By least squares on patches of plain colours through this pipeline's autoencoder."""
    from mosaic.pipeline.latents import encode_picture

    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (PATCHES, PATCHES, 3), dtype=np.uint8)
    kind = random.random((PATCHES, PATCHES))
    colors[kind < WHITE], colors[kind > 1 - BLACK] = 255, 0
    picture = colors.repeat(PATCH, axis=0).repeat(PATCH, axis=1)
    with torch.no_grad():
        packed = encode_picture(pipeline.vae, picture, pipeline._execution_device)
    grid = Grid.of_pixels(*picture.shape[:2])
    latents = unpack_latents(packed.float().cpu(), grid)[0].flatten(1).T.double().numpy()  # (h·w, C)
    wanted = colors.repeat(PATCH // LATENT, axis=0).repeat(PATCH // LATENT, axis=1).reshape(-1, 3) / 255
    known = np.concatenate([latents, np.ones((len(latents), 1))], axis=1)
    ridge = 1e-3 * len(latents) * np.eye(known.shape[1])
    solved = np.linalg.solve(known.T @ known + ridge, known.T @ wanted)
    return Projection(solved[:-1], solved[-1])


@dataclass(slots=True, eq=False)
class Previewer:
    """Draws each step of one picture. before: the noise it starts from; decodes: None until measured."""

    pipeline: MosaicPipeline
    projection: Projection
    grid: Grid
    before: Tensor  # (1, T, 4·C)
    sigma: float = 1.0
    decodes: bool | None = None
    _since: float = field(default_factory=time.monotonic)

    def draw(self, latents: Tensor, sigma: float) -> Image.Image:
        """The picture this step points to: latents (1, T, 4·C) at their new noise level."""
        took = time.monotonic() - self._since
        clean = clean_of(self.before, self.sigma, latents, sigma)
        self.before, self.sigma = latents, sigma
        if self.decodes is False:
            picture = self.projection.picture(clean, self.grid)
        else:
            picture = self._decoded(clean, took)
        self._since = time.monotonic()
        return picture

    def _decoded(self, clean: Tensor, took: float) -> Image.Image:
        from mosaic.pipeline.latents import decode_picture

        began = time.monotonic()
        picture = decode_picture(self.pipeline.vae, clean, self.grid)
        self.decodes = time.monotonic() - began <= max(QUICK, SHARE * took)
        return picture


def clean_of(before: Tensor, sigma: float, after: Tensor, lower: float) -> Tensor:
    """Where the straight line through two latents ends: x − σ·v, v their slope over the noise level."""
    before = before.to(after.device, torch.float32)
    velocity = (before - after.float()) / (sigma - lower)
    return after.float() - lower * velocity
