"""How well references warped by their correspondences reproduce the target's colours (docs/toybox.md).

python benchmarks/toybox_warp.py
"""

import torch
from torch.nn.functional import normalize

from mosaic.toybox.batches import generator, shoot
from mosaic.toybox.correspond import match
from mosaic.toybox.scene import compose

SIZE, SCENES, SEED = 192, 8, 5


def at(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (points[:, 1] * SIZE).long(), (points[:, 0] * SIZE).long()


for k in (1, 2, 3, 4, 6, 8):
    target, references = shoot(tuple(compose(generator(SEED, i), k) for i in range(SCENES)), SIZE, SIZE)
    found = match(target, references, k)
    here = references.picture[(found.sample * k + found.reference, *at(found.here))].float()
    there = target.picture[(found.sample, *at(found.there))].float()
    hue = (normalize(here + 1, dim=-1) - normalize(there + 1, dim=-1)).norm(dim=-1) < 0.1
    apart = (here - there).abs().mean(-1).median()
    print(f"K = {k}: {len(hue)} pixels, hue {hue.float().mean():.3f}, median apart {apart:.1f} of 255")
