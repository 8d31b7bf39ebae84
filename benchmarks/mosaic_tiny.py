"""mosaic-tiny's figures (docs/training.md): its autoencoder's PSNR, and the toybox measures of its pictures.

OMP_NUM_THREADS=1 python benchmarks/mosaic_tiny.py
"""

from collections.abc import Sequence

import numpy as np
import torch

import mosaic
from mosaic.sample import Reference, Subject
from mosaic.toybox import batches
from mosaic.toybox.instruments.measure import benchmark
from mosaic.toybox.render import render
from mosaic.toybox.scene import Composition

SCENES, STEPS, GUIDANCE = 32, 12, 2.0
pipeline = mosaic.load()


def psnr(subjects: int) -> float:
    """Of four validation scenes through the autoencoder, dB."""
    batch = next(batches(99, subjects=subjects, batch=4, split="validation"))
    real = batch.target.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        made = pipeline.vae.decode(pipeline.vae.encode(real).latent_dist.mean).sample.clamp(-1, 1)
    return float(-10 * ((real - made).square().mean() / 4).log10())


def draw(compositions: Sequence[Composition]) -> torch.Tensor:
    """uint8 (N, 128, 128, 3): a picture a composition of caption and references; its place is its seed."""
    return torch.stack([_picture(composition, seed) for seed, composition in enumerate(compositions)])


def _picture(composition: Composition, seed: int) -> torch.Tensor:
    shown = render(list(composition.references), 64, 64)
    masks = shown.masks(1)[:, 0].numpy()
    references = [
        Reference(subject=Subject(id=str(k), name=toy.species), image=shown.picture[k].numpy(), mask=masks[k])
        for k, toy in enumerate(composition.scene.toys)
    ]
    options = {"height": 128, "width": 128, "steps": STEPS, "guidance": GUIDANCE, "seed": seed}
    return torch.from_numpy(np.array(pipeline(composition.caption, references, **options).images[0]))


if __name__ == "__main__":
    print({f"K = {k}": round(psnr(k), 1) for k in (1, 4, 6)})
    print(benchmark(draw, name="mosaic-tiny", subjects=(1, 4), scenes=SCENES).to_markdown())
