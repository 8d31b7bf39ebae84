"""mosaic-tiny's figures (docs/training.md): its autoencoder's PSNR, and the toybox measures of its pictures.

OMP_NUM_THREADS=1 python benchmarks/mosaic_tiny.py [--scenes N] [--subjects 1 2 3 4 6] [--lora NAME] [--floor]

--lora: the LoRA of that name beside the model's own. --floor: without its references, the prompt alone.
"""

import argparse
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
from mosaic.toybox.instruments.measure import SUBJECTS, benchmark
from mosaic.toybox.scene import Composition
from mosaic.training.ablation.measuring import generator_of
from mosaic.training.models import base_folder, load_model
from mosaic.training.recipe import Recipe, recipe_of

STEPS, GUIDANCE, SEED = 12, 2.0, 1


def shipped(name: str | None) -> Recipe:
    """The embedded model with a LoRA of its folder, run as that was trained."""
    file = EMBEDDED / (LORA_FILE if name is None else f"lora-{name}.safetensors")
    with safe_open(file, "pt") as header:
        told = LoraMetadata.from_strings(header.metadata())
    model = {"base": "embedded", "lora": str(file), "attention": "math"}
    references = {"visibility": told.visibility.value, "pooled": told.reference_pooled}
    output = {"picture_steps": STEPS, "guidance": GUIDANCE}
    return recipe_of({"model": model, "lora": {"rank": 32}, "references": references, "output": output})


def psnr(vae: AutoencoderKL, subjects: int) -> float:
    """Of eight validation scenes through the autoencoder, dB."""
    batch = next(batches(99, subjects=subjects, batch=8, split="validation"))
    real = batch.target.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        made = vae.decode(vae.encode(real).latent_dist.mean).sample.clamp(-1, 1)
    return float(-10 * ((real - made).square().mean() / 4).log10())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--subjects", type=int, nargs="+", default=list(SUBJECTS))
    parser.add_argument("--lora", metavar="NAME")
    parser.add_argument("--floor", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recipe = shipped(options.lora)
    model = load_model(recipe, base_folder(recipe, None))
    vae = AutoencoderKL.from_pretrained(model.folder / "vae").float().eval()
    print({f"K = {k}": round(psnr(vae, k), 1) for k in (1, 4, 6)})
    draw = generator_of(model, recipe, SEED)

    def without(compositions: Sequence[Composition]) -> torch.Tensor:
        return draw([replace(c, references=()) for c in compositions])

    which = "mosaic-tiny" if options.lora is None else f"mosaic-tiny, {options.lora}"
    generate, name = (without, f"{which} without references") if options.floor else (draw, which)
    print(benchmark(generate, options.subjects, options.scenes, name=name).to_markdown())


if __name__ == "__main__":
    main()
