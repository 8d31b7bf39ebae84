"""Pictures during a run: the same validation scenes, prompts, references and noise each time.

B scenes of one K, C channels. A row of the sheet: references, the true picture, the generated one.
"""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from mosaic.model.latents import pack_latents, unpack_latents, unscale_latents
from mosaic.sampling import euler, schedule
from mosaic.training.latents import Render, Rendered
from mosaic.training.models import TrainingModel
from mosaic.training.recipe import Recipe
from mosaic.training.step import grids_of, predict, seeded
from mosaic.training.stream import Latents
from mosaic.training.validation import as_latents

SCENES = 4
SEED = 1


@torch.no_grad()
def preview_sheet(
    model: TrainingModel, recipe: Recipe, output: Path | None, step: int, render: Render | None = None
) -> np.ndarray:
    """Draw `SCENES` scenes of the recipe's largest K into OUTPUT/pictures/step-N.png, if any; its pixels."""
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").to(model.device).eval()
    batch = _scenes(recipe, render)
    latents = as_latents(batch, vae)
    with torch.compiler.set_stance("force_eager"):  # a graph for these few shapes is not worth its making
        pictures = decode(vae, sample_latents(model, latents, recipe))
    sheet = _sheet(batch, pictures)
    if output is not None:
        path = output / "pictures" / f"step-{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(path)
    return sheet


def sample_latents(model: TrainingModel, latents: Latents, recipe: Recipe, seed: int = SEED) -> Tensor:
    """Latents (B, 16, h, w) drawn from the model for the captions and references of `latents`."""
    start = torch.randn(pack_latents(latents.target).shape, generator=seeded(seed)).to(model.device)
    sigmas = schedule(recipe.output.picture_steps, start.shape[1], _shift(model.folder))
    guidance = 1.0 if model.transformer.config.guidance_embeds else recipe.output.guidance
    bare, silence = latents.without_references(), [""] * len(latents.captions)

    def velocity(noisy: Tensor, sigma: float) -> Tensor:
        level = torch.full((len(noisy),), sigma, device=noisy.device)
        wanted = predict(model, noisy, level, latents.captions, latents, recipe).velocity
        if guidance == 1:
            return wanted
        base = predict(model, noisy, level, silence, bare, recipe).velocity
        return base + guidance * (wanted - base)

    return unpack_latents(euler(velocity, start, sigmas), grids_of(latents)[0])


def decode(vae: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """Scaled latents (B, 16, h, w) to uint8 pictures (B, H, W, 3)."""
    pixels = vae.decode(unscale_latents(latents, vae.config).to(vae.dtype)).sample
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()


def _shift(folder: Path) -> Literal["flux", "none"]:
    """As the pipeline will sample: by the folder's scheduler."""
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return "flux" if config["use_dynamic_shifting"] else "none"


def _scenes(recipe: Recipe, render: Render | None) -> Rendered:
    if render is None:
        from mosaic import toybox

        render = toybox.batches
    subjects = max(k for k, weight in recipe.data.subjects.items() if weight)
    data = recipe.data
    options = {"subjects": subjects, "size": data.size, "reference_size": data.reference_size}
    return next(render(SEED, **options, batch=SCENES, split="validation"))


def _sheet(batch: Rendered, pictures: np.ndarray) -> np.ndarray:
    side = pictures.shape[1]
    rows = []
    for references, target, picture in zip(
        batch.references.numpy(), batch.target.numpy(), pictures, strict=True
    ):
        shown = [
            np.asarray(Image.fromarray(r).resize((side, side), Image.Resampling.NEAREST)) for r in references
        ]
        rows.append(np.concatenate([*shown, target, picture], axis=1))
    return np.concatenate(rows, axis=0)
