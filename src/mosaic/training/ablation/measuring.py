"""The toybox measures of a trained run: scenes of held-out toys drawn in batches, judged by the instruments.

B scenes of one K, h × w reference in pixels.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from mosaic.toybox.instruments.measure import Generate, benchmark
from mosaic.toybox.render import render
from mosaic.toybox.scene import Composition
from mosaic.training.ablation.cells import MeasureSection
from mosaic.training.latents import encode_pictures
from mosaic.training.models import TrainingModel, base_folder, load_model
from mosaic.training.pictures import decode, sample_latents
from mosaic.training.recipe import Recipe
from mosaic.training.stream import Latents

Measures = dict[str, dict[str, dict[str, float | None]]]


def measures(recipe: Recipe, folder: Path, section: MeasureSection) -> Measures:
    """K → measure → mean, low and high of its interval over scenes, count; None where nothing counted."""
    outputs = recipe.output.model_copy(update={"picture_steps": section.steps, "guidance": section.guidance})
    recipe = recipe.model_copy(update={"output": outputs})
    draw = generator_of(trained_model(recipe, folder), recipe, section.seed)
    table = benchmark(draw, section.subjects, section.scenes, section.seed, folder.name)
    return {
        str(subjects): {
            name: {
                key: None if math.isnan(value := float(getattr(found, key))) else value
                for key in ("mean", "low", "high", "count")
            }
            for name, found in row.items()
        }
        for subjects, row in table.rows.items()
    }


def trained_model(recipe: Recipe, folder: Path) -> TrainingModel:
    """The averaged weights a run left in its folder."""
    if recipe.train.parameters == "base":
        return load_model(recipe, folder / "model")
    section = recipe.model.model_copy(update={"lora": str(folder / "lora.safetensors")})
    return load_model(recipe.model_copy(update={"model": section}), base_folder(recipe, folder))


def generator_of(model: TrainingModel, recipe: Recipe, seed: int) -> Generate:
    """Compositions of one K → pictures; the n-th call draws from the same noise whatever the weights."""
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").to(model.device).eval()
    model.transformer.eval()
    calls = itertools.count()

    @torch.no_grad()
    def generate(compositions: Sequence[Composition]) -> Tensor:
        latents = exam_latents(compositions, vae, recipe)
        with torch.compiler.set_stance("force_eager"):
            drawn = sample_latents(model, latents, recipe, seed + next(calls))
        return torch.from_numpy(decode(vae, drawn))

    return generate


def exam_latents(compositions: Sequence[Composition], vae: AutoencoderKL, recipe: Recipe) -> Latents:
    """Captions and encoded references, if any, of compositions; no target to be seen, and no point."""
    data, batch, subjects = recipe.data, len(compositions), len(compositions[0].references)
    channels, side = vae.config.latent_channels, data.reference_size // 8
    references = torch.zeros(batch, subjects, channels, side, side)
    if subjects:
        scenes = [r for c in compositions for r in c.references]
        shown = render(scenes, data.reference_size, data.reference_size).picture
        found = encode_pictures(vae, shown, "mean", torch.Generator())
        references = found.unflatten(0, (batch, subjects))
    nothing = torch.zeros(batch, subjects, 0, dtype=torch.long)
    return Latents(
        target=torch.zeros(batch, channels, data.size // 8, data.size // 8),
        references=references,
        points_reference=nothing,
        points_target=nothing,
        points_valid=nothing.bool(),
        captions=[composition.caption for composition in compositions],
    )
