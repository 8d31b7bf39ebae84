"""Between pictures and packed latents (1, T, 64): the autoencoder both ways, and the noise of a seed."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.latents import pack_latents, scale_latents, unpack_latents, unscale_latents
from mosaic.sample import Picture


def encode_picture(vae: AutoencoderKL, picture: Picture, device: torch.device) -> Tensor:
    """uint8 (H, W, 3) → (1, T, 64), scaled: the posterior's mode, so that a picture is always the same."""
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
    latents = vae.encode(pixels.to(device, vae.dtype) / 127.5 - 1).latent_dist.mode()
    return pack_latents(scale_latents(latents, vae.config))


def decode_picture(vae: AutoencoderKL, latents: Tensor, grid: Grid) -> Image.Image:
    """(1, T, 64), scaled → RGB."""
    unpacked = unscale_latents(unpack_latents(latents.to(vae.dtype), grid), vae.config)
    pixels = vae.decode(unpacked, return_dict=False)[0][0].float()
    pixels = (pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def noise_of(seed: int, grid: Grid, channels: int = 16) -> Tensor:
    """Noise (1, T, 64) as FluxPipeline draws it from a generator on the CPU: the same on every machine."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return pack_latents(torch.randn(1, channels, *grid.latents, generator=generator))
