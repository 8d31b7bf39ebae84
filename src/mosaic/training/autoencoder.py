"""Trains the embedded model's autoencoder: FLUX's latent format (16 channels, factor 8) on toybox pictures.

Letters: B crops, C latent channels.
"""

import argparse
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from mosaic.toybox.batches import batches

log = logging.getLogger(__name__)
CROP = 64
SUBJECTS = (1, 2, 3, 4, 6, 8)


def create() -> AutoencoderKL:
    """An untrained autoencoder of 1.9 M parameters with FLUX's latent shape."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=16,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=CROP,
    )
    with torch.no_grad():  # little noise at first: a latent drowned in noise is never learnt to be read
        vae.encoder.conv_out.bias[16:] = -5.0
    return vae


def crops(seed: int, start: int, batch: int) -> Iterator[Tensor]:
    """Pictures (batch, 3, 64, 64) in [−1, 1]: crops of targets at random places, and whole references."""
    streams = [batches(seed, subjects=k, batch=4, reference_size=CROP, start=start) for k in SUBJECTS]
    places = torch.Generator().manual_seed(seed + start)
    pool: list[Tensor] = []
    for stream in itertools.cycle(streams):
        made = next(stream)
        for _ in range(4):
            y, x = (int(torch.randint(made.target.shape[1] - CROP + 1, (), generator=places)) for _ in "yx")
            pool.extend(made.target[:, y : y + CROP, x : x + CROP])
        pool.extend(made.references.flatten(0, 1)[:8])
        while len(pool) >= 8 * batch:  # one batch mixes many scenes
            order = torch.randperm(len(pool), generator=places).tolist()
            chosen, pool = [pool[i] for i in order[:batch]], [pool[i] for i in order[batch:]]
            yield torch.stack(chosen).permute(0, 3, 1, 2).float() / 127.5 - 1


# Luminance and two colour differences. Without a weight of their own the colours of small toys, on which
# identities depend, were still grey when the shapes were sharp.
OPPONENT = torch.tensor([[0.333, 0.333, 0.333], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])


def reconstruction_loss(made: Tensor, real: Tensor) -> Tensor:
    """Error of pictures (B, 3, H, W) at four scales, in luminance and colour, and of their edges."""
    made, real = (torch.einsum("oc,bchw->bohw", OPPONENT, x) for x in (made, real))
    total = torch.zeros(())
    for _ in range(4):
        total = total + l1_loss(made, real) + mse_loss(made, real)
        for axis in (-1, -2):
            total = total + 0.5 * l1_loss(made.diff(dim=axis), real.diff(dim=axis))
        made, real = avg_pool2d(made, 2), avg_pool2d(real, 2)
    return total


def latent_statistics(vae: AutoencoderKL, pictures: Tensor) -> tuple[float, float]:
    """(shift, scale) that give the latents of the pictures mean 0 and deviation 1."""
    with torch.no_grad():
        latents = vae.encode(pictures).latent_dist.mean
    return float(latents.mean()), float(1 / latents.std())


def train(
    output: Path, minutes: float, steps: int, batch: int, rate: float, decay: float = 1e-4, seed: int = 11
) -> None:
    """Trains until the steps or the minutes are spent; goes on from what is in `output`."""
    vae, state = _resume(output)
    vae.train()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    if state["optimiser"]:
        optimiser.load_state_dict(state["optimiser"])
    began, first = time.monotonic(), int(state["step"])
    for step, real in enumerate(crops(seed, first, batch), first):
        spent = max(step / steps, (time.monotonic() - began) / 60 / minutes)
        if spent >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = (
                rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))
            )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made, divergence = _reconstruct(vae, real)
        # The decoder first learns to read: with a divergence from step 0 the latents collapse before it does.
        loss = reconstruction_loss(made.float(), real) + decay * min(1, max(0, step - 300) / 700) * divergence
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        if step % 20 == 0:
            error = (made.detach().float().clamp(-1, 1) - real).square().mean() / 4
            log.info(
                "step %d  loss %.4f  kl %.2f  PSNR %.2f dB  %.1f crops/s",
                step,
                loss,
                divergence,
                -10 * error.log10(),
                (step - first + 1) * batch / (time.monotonic() - began),
            )
        if step % 200 == 199:
            _save(vae, optimiser, step + 1, output, real)
    _save(vae, optimiser, step, output, real)


def _reconstruct(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    posterior = vae.encode(pictures).latent_dist
    divergence = (
        0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    )
    return vae.decode(posterior.sample()).sample, divergence


def _resume(output: Path) -> tuple[AutoencoderKL, dict[str, Any]]:
    if not (output / "config.json").exists():
        torch.manual_seed(0)
        return create(), {"step": 0, "optimiser": None}
    state = (
        torch.load(output / "optimiser.pt", weights_only=True)
        if (output / "optimiser.pt").exists()
        else {"step": 0, "optimiser": None}
    )
    return AutoencoderKL.from_pretrained(output), state


def _save(
    vae: AutoencoderKL, optimiser: torch.optim.Optimizer, step: int, output: Path, pictures: Tensor
) -> None:
    shift, scale = latent_statistics(vae, pictures)
    vae.register_to_config(shift_factor=shift, scaling_factor=scale)
    vae.save_pretrained(output)
    torch.save({"step": step, "optimiser": optimiser.state_dict()}, output / "optimiser.tmp")
    (output / "optimiser.tmp").replace(output / "optimiser.pt")
    log.info("saved at step %d: %s", step, json.dumps({"shift": shift, "scale": scale}))


def main() -> None:
    """`python -m mosaic.training.autoencoder --output DIR --minutes M`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(options.output, options.minutes, options.steps, options.batch, options.rate)


if __name__ == "__main__":
    main()
