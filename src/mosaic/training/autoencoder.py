"""Trains the embedded model's autoencoder: FLUX's latent format (factor 8) on toybox pictures.

    python -m mosaic.training.autoencoder recipes/toybox-autoencoder.toml --output runs/autoencoder [--resume]

Letters: B crops of S × S pixels.
"""

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL
from pydantic import model_validator
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from mosaic.errors import exits_in_words
from mosaic.toybox.batches import batches
from mosaic.training.embedded import autoencoder_folder
from mosaic.training.holding import held
from mosaic.training.journal import Journal, Pace
from mosaic.training.optimiser import MasterAdamW
from mosaic.training.principal import Components, principal_components, set_encoder
from mosaic.training.recipe import Count, Natural, OptimiserSection, Pixels, Section, Weight, read_as
from mosaic.training.state import (
    checkpoints,
    full_disk_in_words,
    load_checkpoint,
    publish_folder,
    save_checkpoint,
    settle_folder,
)
from mosaic.training.stop import Stop

COMPONENT_CROPS = 48  # for each number of subjects, whose principal components an encoder is made of


class AutoencoderRecipe(Section):
    """What `recipes/toybox-autoencoder.toml` may say."""

    kind: Literal["autoencoder"] = "autoencoder"
    seed: Natural = 0
    start: str = ""  # folder of an autoencoder to go on from; "": a new one
    parts: Literal["all", "decoder"] = "all"  # "decoder": latents, and what was trained on them, stay valid
    size: Pixels = 128  # of a scene, pixels
    crop: Pixels = 64  # S, of these
    subjects: tuple[Count, ...] = (1, 2, 3, 4, 6, 8)  # toys of the scenes, in turn
    encoder: Literal["trained", "principal"] = "trained"  # "principal": made, the decoder alone is trained
    channels: Count = 16  # of a latent; FLUX.1 has 16, FLUX.2 32
    widths: tuple[Count, ...] = (32, 48, 64, 96)  # channels at each of the four sizes
    groups: Count = 16  # of channels that are normalised together
    divergence: Weight = 1e-4  # of the latents from a normal distribution
    divergence_start: Natural = 300  # steps without it, for the decoder to learn to read first …
    divergence_ramp: Count = 700  # … and steps in which it grows
    log: Count = 20
    checkpoint: Count = 200
    optimiser: OptimiserSection = OptimiserSection()

    @model_validator(mode="after")
    def _choices_agree(self) -> "AutoencoderRecipe":
        if self.encoder == "principal" and self.parts == "all":
            raise ValueError('an encoder that is "principal" is not trained: set parts = "decoder"')
        if self.encoder == "principal" and self.start:
            raise ValueError(f'encoder = "principal" makes a new encoder, and start names one, {self.start}')
        if self.crop > self.size:
            raise ValueError(f"crop must be at most size, {self.size} pixels, not {self.crop}")
        return self


def create(recipe: AutoencoderRecipe) -> AutoencoderKL:
    """An autoencoder whose decoder is untrained; 1.9 M parameters at the default widths."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=recipe.widths,
        layers_per_block=1,
        latent_channels=recipe.channels,
        norm_num_groups=recipe.groups,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    if recipe.encoder == "principal":
        set_encoder(vae, components(recipe))
        vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    else:
        with torch.no_grad():  # little noise at first: a latent drowned in noise is never learnt to be read
            vae.encoder.conv_out.bias[recipe.channels :] = -5.0
    return vae


def components(recipe: AutoencoderRecipe) -> Components:
    """The principal components of a recipe's pictures, of each number of subjects as many."""
    counts = range(len(recipe.subjects))
    seen = [pictures(recipe, recipe.seed + 1, n, COMPONENT_CROPS) for n in counts]
    return principal_components(torch.cat(seen), recipe.channels)


def crops(seed: int, step: int, batch: int, size: int, subjects: Sequence[int], scene: int = 128) -> Tensor:
    """A step's pictures (B, 3, S, S) in [−1, 1]: crops at random places of scenes and of references.

    scene: pixels of a scene; a reference has half as many, or is shown whole where that is less than S.
    """
    count, shown = subjects[step % len(subjects)], max(size, scene // 2)
    scenes = next(
        batches(seed, subjects=count, batch=-(-batch // 4), size=scene, reference_size=shown, start=step)
    )
    places = torch.Generator().manual_seed(seed + step)
    pool = list(scenes.references.flatten(0, 1))[:batch] + list(scenes.target.repeat_interleave(4, 0))
    chosen = [pool[i] for i in torch.randperm(len(pool), generator=places)[:batch].tolist()]
    return torch.stack([_cut(x, size, places) for x in chosen]).permute(0, 3, 1, 2).float() / 127.5 - 1


def pictures(recipe: AutoencoderRecipe, seed: int, step: int, batch: int) -> Tensor:
    """As a recipe's `crops`."""
    return crops(seed, step, batch, recipe.crop, recipe.subjects, recipe.size)


def _cut(picture: Tensor, size: int, places: torch.Generator) -> Tensor:
    """A square of a picture (H, H, 3), anywhere."""
    y, x = (int(torch.randint(len(picture) - size + 1, (), generator=places)) for _ in "yx")
    return picture[y : y + size, x : x + size]


# Luminance and two colour differences. Without a weight of their own the colours of small toys, on which
# identities depend, were still grey when the shapes were sharp.
OPPONENT = torch.tensor([[0.333, 0.333, 0.333], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """Error of pictures (B, 3, H, W) at four scales, in luminance and colour, and of their edges."""
    made, real = (torch.einsum("oc,bchw->bohw", OPPONENT.to(x), x) for x in (made, real))
    total = made.new_zeros(())
    for _ in range(4):
        total = total + l1_loss(made, real) + mse_loss(made, real)
        for axis in (-1, -2):
            total = total + 0.5 * l1_loss(made.diff(dim=axis), real.diff(dim=axis))
        made, real = avg_pool2d(made, 2), avg_pool2d(real, 2)
    return total


def latent_statistics(vae: AutoencoderKL, shown: Tensor) -> tuple[float, float]:
    """(shift, scale) that give the latents of the pictures mean 0 and deviation 1."""
    with torch.no_grad():
        latents = vae.encode(shown).latent_dist.mean
    return float(latents.mean()), float(1 / latents.std())


def train(recipe: AutoencoderRecipe, output: Path, resume: bool = False) -> None:
    """Trains into `output`/model, with checkpoints beside it; `resume` goes on from the newest one.

    SIGTERM and SIGINT save and leave; SIGINT then raises KeyboardInterrupt. ValueError for a folder that
    holds a run already, unless it is resumed.
    """
    if checkpoints(output / "checkpoints") and not resume:
        raise ValueError(f"{output} holds a run already: add --resume, or choose another folder.")
    section = recipe.optimiser
    with Stop() as stop, full_disk_in_words(output), held(output):
        vae, optimiser = restored(recipe, checkpoints(output / "checkpoints"))
        saved, stop.running = optimiser.steps, True
        with Journal(output, optimiser.steps, section.steps, Pace(samples=section.batch)) as journal:
            while optimiser.steps < section.steps and not stop.signal:
                real = pictures(recipe, recipe.seed, optimiser.steps, section.batch)
                told = step(vae, optimiser, real, recipe)
                if optimiser.steps % recipe.log == 0:
                    journal.record(optimiser.steps, told)
                if optimiser.steps % recipe.checkpoint == 0:
                    save(vae, optimiser, recipe, output)
                    saved = optimiser.steps
            if saved != optimiser.steps:
                save(vae, optimiser, recipe, output)
        if optimiser.steps >= section.steps:
            settle_folder(output / "model")
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt


def restored(recipe: AutoencoderRecipe, found: Sequence[Path]) -> tuple[AutoencoderKL, MasterAdamW]:
    """Weights and optimiser of the last of the checkpoints, or at step 0."""
    torch.manual_seed(recipe.seed)
    start = autoencoder_folder(recipe.start, "start") if recipe.start else None
    vae = AutoencoderKL.from_pretrained(start) if start else create(recipe)
    vae.float().train().encoder.requires_grad_(recipe.parts == "all")
    trained = {name: weight for name, weight in vae.named_parameters() if weight.requires_grad}
    optimiser = MasterAdamW(trained, recipe.optimiser)
    if found:
        tensors, facts = load_checkpoint(found[-1])
        torch.set_rng_state(tensors.pop("random")["torch"])
        optimiser.load_state_tensors(tensors, facts["step"])
    return vae, optimiser


def step(
    vae: AutoencoderKL, optimiser: MasterAdamW, real: Tensor, recipe: AutoencoderRecipe
) -> dict[str, float]:
    """One step on pictures (B, 3, S, S); what it has to tell."""
    with torch.autocast(real.device.type, dtype=torch.bfloat16):
        posterior = vae.encode(real).latent_dist
        made = vae.decode(posterior.sample()).sample.float()
    mean, spread = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean**2 + spread.exp() - 1 - spread).mean()
    grown = min(1.0, max(0, optimiser.steps - recipe.divergence_start) / recipe.divergence_ramp)
    loss = reconstruction_loss(made, real) + recipe.divergence * grown * divergence
    loss.backward()
    optimiser.collect()
    norm = optimiser.step()
    error = (made.detach().clamp(-1, 1) - real).square().mean() / 4
    return {
        "loss": loss.item(),
        "divergence": divergence.item(),
        "psnr": -10 * float(error.log10()),
        "gradient/norm": norm,
        "lr": optimiser.rate,
    }


def save(vae: AutoencoderKL, optimiser: MasterAdamW, recipe: AutoencoderRecipe, output: Path) -> None:
    """A checkpoint, and beside it the averaged weights with the statistics of their latents."""
    tensors = optimiser.state_tensors() | {"random": {"torch": torch.get_rng_state()}}
    save_checkpoint(output / "checkpoints", optimiser.steps, tensors, {"step": optimiser.steps}, keep=2)
    with optimiser.averaged():
        if recipe.parts == "all":
            shift, scale = latent_statistics(vae, pictures(recipe, recipe.seed + 1, 1, 128))
            vae.register_to_config(shift_factor=shift, scaling_factor=scale)
        publish_folder(output / "model", str(optimiser.steps), vae.save_pretrained)


def main() -> None:
    """The command in this file's head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", dest="overrides", metavar="section.key=value", action="append", default=[])
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    with exits_in_words(parser):
        train(read_as(AutoencoderRecipe, options.recipe, options.overrides), options.output, options.resume)


if __name__ == "__main__":
    main()
