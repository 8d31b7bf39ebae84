"""DIFT (Tang et al., arXiv 2306.03881): features of a diffusion model in the midst of denoising a picture.

The picture is encoded, noised to one level, and the model run up to one block; several noise draws are
averaged. N draws, h × w latents, T tokens, C channels. Models are diffusers' pipelines, by folder or hub id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mosaic.geometry import LATENT, TOKEN, Box, Grid
from mosaic.matching.features import FeatureMap, as_map, canvas_of
from mosaic.perception.loading import opening, quiet
from mosaic.sample import Picture

SEED = 0  # of the noise: a picture always has the same features


class _ReachedError(Exception):
    """The block wanted has run; what comes after is not needed."""


class StableDiffusionDift:
    """An up block of a Stable Diffusion UNet. Defaults: DIFT's for SD 2.1 (768 px, t 261, up block 1)."""

    def __init__(
        self,
        model: str | Path,
        *,
        side: int = 768,
        timestep: int = 261,
        block: int = 1,
        draws: int = 8,
        prompt: str = "",
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        pipe = _loaded("StableDiffusionPipeline", model, device, dtype, safety_checker=None)
        blocks = pipe.unet.up_blocks
        if not 0 <= block < len(blocks):
            raise ValueError(
                f"The UNet of {model} has up blocks 0 to {len(blocks) - 1}, so no block {block}."
            )
        with torch.no_grad():
            self.text = pipe.encode_prompt(prompt, device, 1, False)[0]
        self.unet, self.vae, self.block = pipe.unet, pipe.vae, blocks[block]
        self.signal = _signal(pipe.scheduler, timestep)
        self.side, self.timestep, self.draws = side, timestep, draws
        self.name = f"DIFT SD t {timestep} up {block}"

    @torch.no_grad()
    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        """Its features of the picture, or of a box of it."""
        canvas, placement = canvas_of(picture, self.side, box)
        latents = _mode(self.vae, canvas) * self.vae.config.scaling_factor
        noise = _noise(latents, self.draws)
        noisy = self.signal**0.5 * latents + (1 - self.signal) ** 0.5 * noise
        with _output(self.block) as found:
            self.unet(noisy, self.timestep, encoder_hidden_states=self.text.expand(self.draws, -1, -1))
        return as_map(found[0].float().mean(0), placement)


class FluxDift:
    """A block of a FLUX transformer, numbered through its double and single blocks.

    sigma: the noise level in [0, 1]. block: negative counts from the end. The embedded model is one too.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        side: int = 1024,
        sigma: float = 0.26,
        block: int = 28,
        draws: int = 8,
        prompt: str = "",
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        pipe = _loaded("FluxPipeline", model, device, dtype)
        self.transformer, self.vae = pipe.transformer, pipe.vae
        blocks = [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]
        if not -len(blocks) <= block < len(blocks):
            raise ValueError(f"The transformer of {model} has blocks 0 to {len(blocks) - 1}, so no {block}.")
        with torch.no_grad():
            self.text, self.pooled, self.text_ids = pipe.encode_prompt(prompt, prompt, device=device)
        self.block, self.grid = blocks[block], Grid.of_pixels(side, side)
        self.sigma, self.draws = sigma, draws
        self.name = f"DIFT FLUX σ {sigma:g} block {block % len(blocks)}"

    @torch.no_grad()
    def __call__(self, picture: Picture, box: Box | None = None) -> FeatureMap:
        """Its features of the picture, or of a box of it."""
        canvas, placement = canvas_of(picture, self.grid.height * TOKEN, box)
        config = self.vae.config
        latents = (_mode(self.vae, canvas) - (config.shift_factor or 0)) * config.scaling_factor
        noise = _noise(latents, self.draws)
        tokens = _packed((1 - self.sigma) * latents + self.sigma * noise)
        with _output(self.block) as found:
            self.transformer(tokens, **self._rest(tokens))
        features = found[0][:, -self.grid.size :].float().mean(0)  # behind the text in single blocks
        return as_map(features.T.unflatten(1, (self.grid.height, self.grid.width)), placement)

    def _rest(self, tokens: Tensor) -> dict[str, Any]:
        level = tokens.new_full((self.draws,), self.sigma)
        embeds = self.transformer.config.guidance_embeds
        return {
            "encoder_hidden_states": self.text.expand(self.draws, -1, -1),
            "pooled_projections": self.pooled.expand(self.draws, -1),
            "timestep": level,
            "guidance": torch.ones_like(level) if embeds else None,
            "img_ids": _ids(self.grid, tokens),
            "txt_ids": self.text_ids,
        }


def _loaded(kind: str, model: str | Path, device: str, dtype: torch.dtype, **options: Any) -> Any:
    """A diffusers pipeline, safetensors alone, quietly; what hinders it in one sentence."""
    with quiet(), _no_word_on_config(), opening(f"A {kind}", model):
        import diffusers

        pipe = getattr(diffusers, kind).from_pretrained(
            str(model), dtype=dtype, use_safetensors=True, **options
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _signal(scheduler: Any, timestep: int) -> float:
    """The share of the picture's variance left at a timestep of a Stable Diffusion scheduler."""
    return float(scheduler.alphas_cumprod[timestep])


def _mode(vae: Any, canvas: Tensor) -> Tensor:
    """(1, 3, H, W) in [0, 1] → latents, not scaled: the posterior's mode, so that nothing is drawn."""
    return vae.encode(canvas.to(vae.device, vae.dtype) * 2 - 1).latent_dist.mode()


def _noise(latents: Tensor, draws: int) -> Tensor:
    """Draws of a CPU generator, the same on every machine and for every picture: (N, Z, h, w)."""
    noise = torch.randn(draws, *latents.shape[1:], generator=torch.Generator().manual_seed(SEED))
    return noise.to(latents)


def _packed(latents: Tensor) -> Tensor:
    """(N, Z, 2h, 2w) → (N, T, 4Z), as FLUX packs them; `mosaic.model` is not for this room to see."""
    from torch.nn.functional import pixel_unshuffle

    return pixel_unshuffle(latents, TOKEN // LATENT).flatten(2).transpose(1, 2)


def _ids(grid: Grid, like: Tensor) -> Tensor:
    """FLUX's position ids (frame 0, row, column): (T, 3)."""
    row, column = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    ids = torch.stack([torch.zeros_like(row), row, column], -1).flatten(0, 1)
    return ids.to(like.device, torch.float32)


@contextmanager
def _no_word_on_config() -> Iterator[None]:
    """A model folder of ours tells its default size, steps, guidance, and FluxPipeline would remark on it."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _output(module: nn.Module) -> Iterator[list[Tensor]]:
    """The output of a module once the model around it has run that far; the rest of the model is left out."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        found.append(output[-1] if isinstance(output, tuple) else output)
        raise _ReachedError

    hook = module.register_forward_hook(keep)
    try:
        yield found
    except _ReachedError:
        pass
    finally:
        hook.remove()
