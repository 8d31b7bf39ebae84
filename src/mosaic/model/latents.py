"""From the autoencoder's latents to the transformer's tokens and back: FLUX packs 2×2 latents into a token.

B batch, Z latent channels (16), h × w latents, T = h/2 · w/2 tokens, C = 4·Z channels of a token.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from mosaic.geometry import Grid


class LatentScale(Protocol):
    """What is needed of an autoencoder's config."""

    scaling_factor: float
    shift_factor: float | None


def pack_latents(latents: Tensor) -> Tensor:
    """(B, Z, h, w) → (B, T, C), raster order, channels (Z, row, column). ValueError for an odd side."""
    batch, channels, height, width = latents.shape
    if height % 2 or width % 2:
        raise ValueError(f"Latents must have even sides to be packed 2×2, not {width}×{height}.")
    blocks = latents.view(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * width // 2, channels * 4)


def unpack_latents(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, T, C) on its grid → (B, Z, h, w). ValueError if the grid has another number of tokens."""
    batch, length, channels = tokens.shape
    if length != grid.size or channels % 4:
        place = f"a {grid.width}×{grid.height} grid"
        raise ValueError(f"{length} tokens of {channels} channels do not lie on {place}.")
    blocks = tokens.view(batch, grid.height, grid.width, channels // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, grid.height * 2, grid.width * 2)


def scale_latents(latents: Tensor, config: LatentScale) -> Tensor:
    """What the autoencoder encoded → unit scale: (latents − shift)·scale."""
    return (latents - (config.shift_factor or 0)) * config.scaling_factor


def unscale_latents(latents: Tensor, config: LatentScale) -> Tensor:
    """The inverse of `scale_latents`."""
    return latents / config.scaling_factor + (config.shift_factor or 0)
