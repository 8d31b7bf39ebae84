"""What latents keep of a toybox picture: the shipped autoencoder beside principal components, in one run.

OMP_NUM_THREADS=1 python benchmarks/latents.py [--scenes 64] [--subjects 1 4 6]

What the instruments still find after the round trip is the ceiling of whatever draws such latents. Components
are read back by their pseudo-inverse, without a decoder.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import fold, interpolate

from mosaic.about import EMBEDDED
from mosaic.toybox.instruments.controls import RoundTrip
from mosaic.toybox.instruments.measure import benchmark
from mosaic.toybox.render import render
from mosaic.toybox.scene import Composition
from mosaic.training.autoencoder import AutoencoderRecipe, components
from mosaic.training.principal import PATCH, patches

Trip = Callable[[Tensor], Tensor]  # pictures uint8 (N, H, W, 3), there and back


def linear(channels: int, size: int) -> Trip:
    """Through that many principal components of pictures of that size."""
    there = components(AutoencoderRecipe(size=size, channels=channels, seed=20)).weight
    back = torch.linalg.pinv(there)

    def trip(shown: Tensor) -> Tensor:
        x = shown.permute(0, 3, 1, 2).float() / 127.5 - 1
        columns = (patches(x) @ there.T @ back.T).unflatten(0, (len(x), -1)).transpose(1, 2)
        y = fold(columns, x.shape[-2:], PATCH, stride=PATCH).clamp(-1, 1)
        return ((y + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)

    return trip


def small(shown: Tensor) -> Tensor:
    """Pictures as the instruments take them, 128 × 128."""
    x = interpolate(shown.permute(0, 3, 1, 2).float(), size=(128, 128), mode="area")
    return x.round().to(torch.uint8).permute(0, 2, 3, 1)


def row(name: str, channels: int, size: int, trip: Trip, subjects: int, scenes: int) -> str:
    """A row of the table."""
    errors: list[Tensor] = []

    def generate(compositions: Sequence[Composition]) -> Tensor:
        made = []
        for start in range(0, len(compositions), 8):
            shown = render([c.scene for c in compositions[start : start + 8]], size, size).picture
            made.append(small(trip(shown)))
            errors.append((made[-1].float() - small(shown).float()).square().mean((1, 2, 3)) / 255**2)
        return torch.cat(made)

    found = benchmark(generate, (subjects,), scenes, name=name).rows[subjects]
    psnr = -10 * float(torch.cat(errors).mean().log10())
    told = f"{psnr:.1f} | {found['presence']} | {found['identity']}"
    return f"| {name} | {channels} | {size} px | {subjects} | {told} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    encodings: list[tuple[str, int, int, Trip]] = [
        ("shipped autoencoder", 16, 128, RoundTrip(EMBEDDED / "vae").pictures),
        *(
            ("principal components", z, size, linear(z, size))
            for z, size in ((16, 128), (32, 128), (16, 256))
        ),
    ]
    print("| encoding | channels | picture | K | PSNR at 128 px | presence % | identity % |")
    print("|" + "---|" * 7)
    for encoding in encodings:
        for k in options.subjects:
            print(row(*encoding, k, options.scenes), flush=True)


if __name__ == "__main__":
    main()
