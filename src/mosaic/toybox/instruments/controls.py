"""Generators whose scores are known beforehand: they show what the instruments can tell.

Each takes compositions and gives pictures uint8 (N, 128, 128, 3).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mosaic.toybox.identity import Identity
from mosaic.toybox.instruments.candidates import REFERENCE
from mosaic.toybox.instruments.measure import Generate
from mosaic.toybox.instruments.shots import SIZE
from mosaic.toybox.render import Render, project, render
from mosaic.toybox.scene import Composition, Scene
from mosaic.toybox.toy import Toy

CONTROLS: Final = ("true", "roundtrip", "swapped", "rotated", "pasted")


def control(name: str, vae: Path | None = None) -> Generate:
    """The control of that name; `roundtrip` needs an autoencoder's folder."""
    if name == "roundtrip":
        if vae is None:
            raise ValueError("the roundtrip control needs an autoencoder; name its folder with --vae.")
        return RoundTrip(vae)
    return {"true": true, "swapped": swapped, "rotated": rotated, "pasted": pasted}[name]


def true(compositions: Sequence[Composition]) -> Tensor:
    """The scenes themselves: what a perfect generator could give."""
    return render([c.scene for c in compositions], SIZE, SIZE).picture


def swapped(compositions: Sequence[Composition]) -> Tensor:
    """The right species in the right places, with the identities of the next scene's references."""
    following = [*compositions[1:], *compositions[:1]]
    worn = [[toy.identity for toy in c.scene.toys] for c in following]
    scenes = [_wearing(c.scene, i) for c, i in zip(compositions, worn, strict=True)]
    return render(scenes, SIZE, SIZE).picture


def rotated(compositions: Sequence[Composition]) -> Tensor:
    """Each toy with the identity of the next toy of its own scene. One toy alone stays itself."""
    turned = [(*c.scene.toys[1:], *c.scene.toys[:1]) for c in compositions]
    identities = [[toy.identity for toy in toys] for toys in turned]
    return render(
        [_wearing(c.scene, i) for c, i in zip(compositions, identities, strict=True)], SIZE, SIZE
    ).picture


def _wearing(scene: Scene, identities: Sequence[Identity]) -> Scene:
    pairs = zip(scene.toys, identities, strict=True)
    return replace(scene, toys=tuple(Toy(species=t.species, identity=i) for t, i in pairs))


def pasted(compositions: Sequence[Composition]) -> Tensor:
    """The references' cut-outs on the scene's ground, where the toys stand and as large: copy and paste."""
    empty = render([replace(c.scene, toys=(), poses=()) for c in compositions], SIZE, SIZE)
    cuts = render([r for c in compositions for r in c.references], REFERENCE, REFERENCE)
    pictures, first = [], 0
    for n, composition in enumerate(compositions):
        picture = empty.picture[n].permute(2, 0, 1).float()
        places = [_foot(empty, n, pose.place, SIZE) for pose in composition.scene.poses]
        for k in sorted(range(len(places)), key=lambda k: -float(places[k][2])):
            here = _foot(cuts, first + k, (0.0, 0.0, 0.0), REFERENCE)
            picture = _paste(picture, _cut(cuts, first + k), here, places[k])
        first += len(composition.references)
        pictures.append((picture + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0))
    return torch.stack(pictures)


def _foot(shot: Render, index: int, place: tuple[float, float, float], size: int) -> Tensor:
    """Of a spot in the world: column, row, depth, and pixels that a unit measures there."""
    x, y, depth = project(shot.view, torch.tensor([index]), torch.tensor([place]), size, size)
    return torch.cat([x, y, depth, shot.view.focal[index] * size / 2 / depth])


def _cut(cuts: Render, index: int) -> Tensor:
    """(4, h, w): colours 0 to 255 and cover 0 to 1 of a reference."""
    cover = cuts.masks(1)[index].float()
    return torch.cat([cuts.picture[index].permute(2, 0, 1).float(), cover])


def _paste(picture: Tensor, cut: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """Lays a cut-out over a picture (3, H, W), its spot `here` at `there`."""
    side, small = picture.shape[-1], cut.shape[-1]
    scale = float(here[3] / there[3])  # cut-out pixels a picture pixel is wide
    factor = scale * side / small
    matrix = torch.tensor([[[factor, 0.0, 0.0], [0.0, factor, 0.0]]])
    for axis in (0, 1):  # output pixel p shows the cut-out at here + (p - there) · scale
        middle = float(here[axis]) + (side / 2 - float(there[axis])) * scale
        matrix[0, axis, 2] = 2 * middle / small - 1
    grid = affine_grid(matrix, [1, 4, side, side], align_corners=False)
    laid = grid_sample(cut[None], grid, align_corners=False)[0]
    colour = grid_sample(cut[None, :3], grid, padding_mode="border", align_corners=False)[0]
    return picture + laid[3:] * (colour - picture)


class RoundTrip:
    """True scenes through an autoencoder and back: the ceiling of every generator behind it.

    Latents get noise of a random strength up to `noise`, in their standard deviations.
    """

    def __init__(self, folder: Path, noise: float = 0.0, seed: int = 0) -> None:
        from diffusers import AutoencoderKL

        self.vae = AutoencoderKL.from_pretrained(folder).eval().to(memory_format=torch.channels_last)
        self.noise, self.random = noise, torch.Generator().manual_seed(seed)

    def __call__(self, compositions: Sequence[Composition]) -> Tensor:
        return self.pictures(true(compositions))

    @torch.inference_mode()
    def pictures(self, pictures: Tensor, batch: int = 8) -> Tensor:
        """Pictures uint8 (N, H, W, 3) there and back."""
        return torch.cat([self._trip(chunk) for chunk in pictures.split(batch)])

    def _trip(self, pictures: Tensor) -> Tensor:
        x = (pictures.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latents = self.vae.encode(x).latent_dist.mean
            strength = self.noise * torch.rand(len(x), 1, 1, 1, generator=self.random)
            latents = latents + latents.std() * strength * torch.randn(latents.shape, generator=self.random)
            made = self.vae.decode(latents).sample.float()
        return ((made + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
