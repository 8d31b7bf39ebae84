"""What stands where a reference is missing: nothing, a black picture (paper) or zero latents (release).

B batch, K references, M the most a recipe has, h × w reference latent.
"""

import functools
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import pad

from mosaic.training.latents import encode_pictures
from mosaic.training.models import TrainingModel
from mosaic.training.recipe import Recipe
from mosaic.training.stream import Latents


def with_missing(latents: Latents, shown: bool, recipe: Recipe, model: TrainingModel) -> Latents:
    """The batch with what stands for references that were dropped (`shown` False) or never there.

    Neither has a valid point, so neither takes part in a loss.
    """
    kind = recipe.references.missing
    if kind == "absent":
        return latents if shown else latents.without_references()
    if not shown:
        nothing = torch.zeros_like(latents.points_valid)
        latents = replace(latents, references=torch.zeros_like(latents.references), points_valid=nothing)
    if kind == "zeros":
        return latents
    black = black_latent(model.folder, *latents.references.shape[-2:]).to(latents.references)
    if not shown:
        latents = replace(latents, references=black.expand_as(latents.references))
    return padded(latents, recipe.data.most, black)


def padded(latents: Latents, most: int, black: Tensor) -> Latents:
    """Every slot up to M references filled with a latent (16, h, w); their points are padding."""
    batch, subjects = latents.references.shape[:2]
    if subjects >= most:
        return latents
    slots: dict[str, Any] = {}
    for field in fields(latents):
        value = getattr(latents, field.name)
        if field.name not in ("target", "references") and isinstance(value, Tensor):
            slots[field.name] = pad(value.movedim(1, -1), (0, most - subjects)).movedim(-1, 1)
    blacks = black.expand(batch, most - subjects, *black.shape)
    return replace(latents, references=torch.cat([latents.references, blacks], 1), **slots)


@functools.lru_cache(maxsize=4)
def black_latent(folder: Path, height: int, width: int) -> Tensor:
    """The scaled latent (16, height, width) of a black picture, by the folder's autoencoder."""
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    picture = torch.zeros(1, 8 * height, 8 * width, 3, dtype=torch.uint8)
    with torch.no_grad():
        return encode_pictures(vae, picture, "mean", torch.Generator())[0]
