"""The autoencoder's trainer: learns, resumes to the bit, says what is wrong."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from mosaic.cli import run
from mosaic.training import autoencoder
from mosaic.training.autoencoder import AutoencoderRecipe, create, crops, reconstruction_loss, train
from mosaic.training.recipe import OptimiserSection, read_as
from mosaic.training.state import checkpoints

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
    vae = create(small(1))
    assert vae.encode(torch.zeros(1, 3, 64, 48)).latent_dist.mean.shape == (1, 16, 8, 6)


def test_the_recipe_reads_and_names_a_mistake() -> None:
    path = RECIPES / "toybox-autoencoder.toml"
    assert read_as(AutoencoderRecipe, path).optimiser.steps == 3200
    made = read_as(AutoencoderRecipe, RECIPES / "toybox-principal.toml")
    assert create(made.model_copy(update={"size": 128})).config.block_out_channels == made.widths
    with pytest.raises(ValueError, match="did you mean divergence"):
        read_as(AutoencoderRecipe, path, ["divergense=1"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("start=missing", "start: there is no autoencoder in missing"),
        ("crop=256", "crop must be at most size, 128 pixels, not 256"),
        ("crop=40", "crop: Input should be a multiple of 16"),
        ("seed=0", "file"),
    ],
)
def test_mistakes_end_in_one_sentence(
    change: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / ("file" if told == "file" else "run")
    words = [str(RECIPES / "toybox-autoencoder.toml"), "--output", str(output), "--set", change]
    monkeypatch.setattr("sys.argv", ["autoencoder", *words])
    with pytest.raises(SystemExit) as caught:
        autoencoder.main()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = autoencoder.step

    def step(*arguments: Any) -> dict[str, float]:
        os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(autoencoder, "step", step)
    try:
        train(small(4), tmp_path)
        assert number == signal.SIGTERM
    except KeyboardInterrupt:
        assert number == signal.SIGINT
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000001"]
    assert (tmp_path / "model").is_symlink()  # the run is not over


@pytest.mark.parametrize("verb", ["train", "plan"])
def test_the_commands_of_runs_say_whose_recipe_it_is(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(RECIPES / "toybox-decoder.toml")
    assert run([verb, recipe, *(["--output", str(tmp_path / "run")] if verb == "train" else [])]) == 2
    told = capsys.readouterr().err
    wanted = f"python -m mosaic.training.autoencoder {recipe}" if verb == "train" else "an autoencoder"
    assert wanted in told
