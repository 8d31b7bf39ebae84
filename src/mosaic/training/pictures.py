"""Pictures during a run: the same held-out samples, prompts, references and noise each time.

B samples of one K, C channels. A row of the sheet: references, the true picture, the generated one, all of
them through the autoencoder.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from mosaic.model.latents import pack_latents, unpack_latents, unscale_latents
from mosaic.sampling import euler, schedule
from mosaic.training.latents import Render
from mosaic.training.models import TrainingModel
from mosaic.training.recipe import Recipe
from mosaic.training.step import grids_of, predict, seeded
from mosaic.training.stream import Latents
from mosaic.training.validation import as_latents, held_out

SCENES = 4
SEED = 1


@torch.no_grad()
def preview_sheet(model: TrainingModel, recipe: Recipe, batches: Iterable[Latents]) -> np.ndarray:
    """A row for each of the first `SCENES` samples, uint8 (H, W, 3)."""
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").to(model.device).eval()
    rows: list[Image.Image] = []
    with torch.compiler.set_stance("force_eager"):  # a graph for these few shapes is not worth its making
        for batch in batches:
            rows += _rows(batch, decode(vae, sample_latents(model, batch, recipe)), vae)
    return _stacked(rows[:SCENES])


def shown(
    model: TrainingModel, recipe: Recipe, output: Path, render: Render | None = None
) -> Iterator[Latents]:
    """Batches of at least `SCENES` samples in all, the same at each call.

    They are toys, as many in a scene as the recipe's largest K, or of shards and folders the first of
    data.validation.
    """
    if recipe.data.given:
        batches = math.ceil(SCENES / recipe.optimiser.batch)
        outputs = recipe.output.model_copy(update={"validation_batches": batches})
        yield from held_out(recipe.model_copy(update={"output": outputs}), model, output, render)
        return
    if render is None:
        from mosaic import toybox

        render = toybox.batches
    data = recipe.data
    sizes = {"size": data.size, "reference_size": data.reference_size}
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").to(model.device).eval()
    yield as_latents(next(render(SEED, subjects=data.most, **sizes, batch=SCENES, split="validation")), vae)


def sample_latents(
    model: TrainingModel, latents: Latents, recipe: Recipe, seed: int = SEED, begin: float = 1.0
) -> Tensor:
    """Latents (B, 16, h, w) drawn from the model for the captions and references of `latents`.

    begin: the noise level to start from; below 1, the target shines through.
    """
    clean = pack_latents(latents.target).to(model.device)
    noise = torch.randn(clean.shape, generator=seeded(seed)).to(model.device)
    start = (1 - begin) * clean + begin * noise
    steps = max(1, round(begin * recipe.output.picture_steps))
    sigmas = [begin * sigma for sigma in schedule(steps, start.shape[1], _shift(model.folder))]
    guidance, embedded = recipe.output.guidance, model.transformer.config.guidance_embeds
    bare, silence = latents.without_references(), [""] * len(latents.captions)

    def velocity(noisy: Tensor, sigma: float) -> Tensor:
        level = torch.full((len(noisy),), sigma, device=noisy.device)
        wanted = predict(model, noisy, level, latents.captions, latents, recipe, guidance=guidance).velocity
        if embedded or guidance == 1:
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


def _rows(batch: Latents, made: np.ndarray, vae: AutoencoderKL) -> list[Image.Image]:
    columns = [decode(vae, latents.to(vae.device)) for latents in (*batch.references.unbind(1), batch.target)]
    return [_side_by_side(pictures) for pictures in zip(*columns, made, strict=True)]


def _side_by_side(pictures: Sequence[np.ndarray]) -> Image.Image:
    """In one row, as high as the last."""
    height = pictures[-1].shape[0]
    images = [Image.fromarray(picture) for picture in pictures]
    images = [
        im.resize((round(im.width * height / im.height), height), Image.Resampling.NEAREST) for im in images
    ]
    row = Image.new("RGB", (sum(im.width for im in images), height))
    for i, image in enumerate(images):
        row.paste(image, (sum(im.width for im in images[:i]), 0))
    return row


def _stacked(rows: Sequence[Image.Image]) -> np.ndarray:
    """Below each other, on white, right edges in line: there the generated pictures are."""
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (sheet.width - row.width, sum(r.height for r in rows[:i])))
    return np.asarray(sheet)
