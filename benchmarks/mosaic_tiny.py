"""mosaic-tiny's figures (docs/training.md): its autoencoder's PSNR, and the toybox measures of its pictures.

OMP_NUM_THREADS=1 python benchmarks/mosaic_tiny.py [--scenes N] [--subjects 1 2 3 4 6] [--lora NAME]
    [--guidance G] [--floor | --from LEVEL]

--lora: the LoRA of that name beside the model's own. --floor: without its references, the prompt alone.
--from: pictures begun at a noise level in (0, 1) from the truth, not from noise: what is left to the model is
what it does below that level.
"""

import argparse
import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open

from mosaic.about import EMBEDDED
from mosaic.hub import LORA_FILE
from mosaic.model.lora import LoraMetadata
from mosaic.toybox import batches
from mosaic.toybox.instruments.measure import SUBJECTS, Generate, benchmark
from mosaic.toybox.render import render
from mosaic.toybox.scene import Composition
from mosaic.training.ablation.measuring import exam_latents, generator_of
from mosaic.training.latents import encode_pictures
from mosaic.training.models import TrainingModel, base_folder, load_model
from mosaic.training.pictures import decode, sample_latents
from mosaic.training.recipe import Recipe, recipe_of

STEPS, GUIDANCE, SEED = 12, 3.5, 1


def shipped(name: str | None, guidance: float = GUIDANCE) -> Recipe:
    """The embedded model with a LoRA of its folder, run as that was trained."""
    file = EMBEDDED / (LORA_FILE if name is None else f"lora-{name}.safetensors")
    with safe_open(file, "pt") as header:
        told = LoraMetadata.from_strings(header.metadata())
    model = {"base": "embedded", "lora": str(file), "attention": "math"}
    references = {"visibility": told.visibility.value, "pooled": told.reference_pooled}
    output = {"picture_steps": STEPS, "guidance": guidance}
    return recipe_of({"model": model, "lora": {"rank": 32}, "references": references, "output": output})


def psnr(vae: AutoencoderKL, subjects: int) -> float:
    """Of eight validation scenes through the autoencoder, dB."""
    batch = next(batches(99, subjects=subjects, batch=8, split="validation"))
    real = batch.target.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        made = vae.decode(vae.encode(real).latent_dist.mean).sample.clamp(-1, 1)
    return float(-10 * ((real - made).square().mean() / 4).log10())


def from_truth(model: TrainingModel, recipe: Recipe, level: float) -> Generate:
    """Compositions → pictures begun at a noise level from their true pictures."""
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").eval()
    calls = itertools.count()

    @torch.no_grad()
    def generate(compositions: Sequence[Composition]) -> torch.Tensor:
        pictures = render([c.scene for c in compositions], recipe.data.size, recipe.data.size).picture
        target = encode_pictures(vae, pictures, "mean", torch.Generator())
        latents = replace(exam_latents(compositions, vae, recipe), target=target)
        drawn = sample_latents(model, latents, recipe, SEED + next(calls), begin=level)
        return torch.from_numpy(decode(vae, drawn))

    return generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--subjects", type=int, nargs="+", default=list(SUBJECTS))
    parser.add_argument("--lora", metavar="NAME")
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--floor", action="store_true")
    kind.add_argument("--from", dest="level", type=float, metavar="LEVEL")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = shipped(options.lora, options.guidance)
    model = load_model(recipe, base_folder(recipe, None))
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").float().eval()
    print({f"K = {k}": round(psnr(vae, k), 1) for k in (1, 4, 6)})
    draw = generator_of(model, recipe, SEED)

    def without(compositions: Sequence[Composition]) -> torch.Tensor:
        return draw([replace(c, references=()) for c in compositions])

    if options.level is not None:
        draw = from_truth(model, recipe, options.level)
    which = "mosaic-tiny" if options.lora is None else f"mosaic-tiny, {options.lora}"
    generate, name = (without, f"{which} without references") if options.floor else (draw, which)
    print(benchmark(generate, options.subjects, options.scenes, name=name).to_markdown())


if __name__ == "__main__":
    main()
