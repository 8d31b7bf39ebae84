"""The autoencoder's trainer: learns, resumes to the bit, says what is wrong."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from mosaic.training.autoencoder import AutoencoderRecipe, create, crops, reconstruction_loss, train
from mosaic.training.recipe import OptimiserSection, read_as

RECIPES = Path(__file__).parents[2] / "recipes"


def small(steps: int) -> AutoencoderRecipe:
    section = OptimiserSection(lr=1e-3, steps=steps, batch=2, ema=0.9)
    return AutoencoderRecipe(
        crop=32, subjects=(1, 2), widths=(16, 16, 16, 16), checkpoint=2, log=1, optimiser=section
    )


def test_a_resumed_run_equals_one_in_a_piece(tmp_path: Path) -> None:
    for name, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
        train(small(steps), tmp_path / name, resume=True)
    whole, parts = (
        load_file(tmp_path / name / "model" / "diffusion_pytorch_model.safetensors")
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    config = AutoencoderKL.from_pretrained(tmp_path / "whole" / "model").config
    assert config.latent_channels == 16 and config.scaling_factor != 0.18215
    with pytest.raises(ValueError, match="--resume"):
        train(small(4), tmp_path / "whole")


def test_loss_sees_colour_that_luminance_does_not() -> None:
    red, green = (torch.zeros(1, 3, 16, 16) for _ in range(2))
    red[:, 0], green[:, 1] = 1.0, 1.0
    assert reconstruction_loss(red, red) == 0
    grey = torch.full_like(red, 1 / 3)
    assert reconstruction_loss(red, green) > 2 * reconstruction_loss(red, grey)


def test_crops_are_pictures_and_depend_on_seed_and_step() -> None:
    first, again, later = (crops(1, step, 4, 32, (1, 3)) for step in (0, 0, 1))
    assert first.shape == (4, 3, 32, 32) and first.abs().max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, later)


def test_latents_have_flux_s_shape() -> None:
    vae = create((16, 16, 16, 16))
    assert vae.encode(torch.zeros(1, 3, 64, 48)).latent_dist.mean.shape == (1, 16, 8, 6)


def test_the_recipe_reads_and_names_a_mistake() -> None:
    path = RECIPES / "toybox-autoencoder.toml"
    assert read_as(AutoencoderRecipe, path).optimiser.steps == 3200
    with pytest.raises(ValueError, match="did you mean divergence"):
        read_as(AutoencoderRecipe, path, ["divergense=1"])
