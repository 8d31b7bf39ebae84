"""Noise levels as lists of numbers, and Euler's method as a loop.

sigma in [0, 1]: 1 is pure noise, 0 the picture. x(sigma) = (1 − sigma) · clean + sigma · noise; the velocity
is its derivative, noise − clean. B batch; `tokens` counts those of the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Shift = Literal["flux", "none"] | float
Velocity = Callable[[Tensor, float], Tensor]  # (latents, sigma) → velocity, of the latents' shape
Callback = Callable[[int, Tensor, float], bool | None]  # (step, latents, their sigma) → False to stop


def shift_of(tokens: int, shift: Shift = "flux") -> float:
    """FLUX's μ, as larger pictures need more noise: 0.5 at 256 tokens, 1.15 at 4096, linear; "none": 0.

    A number is μ itself, whatever the tokens. ValueError for another word.
    """
    if not isinstance(shift, str):
        return float(shift)
    if shift not in ("flux", "none"):
        raise ValueError(f'The shift must be "flux", "none" or a number, not "{shift}".')
    return 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256) if shift == "flux" else 0.0


def schedule(steps: int, tokens: int, shift: Shift = "flux") -> list[float]:
    """`steps` + 1 noise levels from 1 to 0: evenly spaced down to 1/steps, shifted by μ(tokens), then 0.

    ValueError for less than one step.
    """
    if steps < 1:
        raise ValueError(f"Sampling needs at least one step, not {steps}.")
    odds = math.exp(shift_of(tokens, shift))
    even = [1 - i / steps for i in range(steps)]
    return [odds * sigma / (odds * sigma + (1 - sigma)) for sigma in even] + [0.0]


def euler(
    velocity: Velocity, latents: Tensor, sigmas: Sequence[float], callback: Callback | None = None
) -> Tensor:
    """Follow the velocity from sigmas[0] to sigmas[-1]; returns the latents, in their dtype.

    After each step `callback` sees its number, the latents and their sigma; where it returns False, sampling
    stops and the latents are returned as they are.
    """
    for step, (sigma, lower) in enumerate(pairwise(sigmas)):
        slope = velocity(latents, sigma)
        latents = (latents.float() + (lower - sigma) * slope.float()).to(latents.dtype)
        if callback is not None and callback(step, latents, lower) is False:
            break
    return latents


def sample_sigma(
    count: int, tokens: int, generator: torch.Generator | None = None, shift: Shift = "flux"
) -> Tensor:
    """Noise levels to train on, float32 (count,): logit-normal, shifted by μ(tokens), as released."""
    device = None if generator is None else generator.device
    return torch.sigmoid(torch.randn(count, generator=generator, device=device) + shift_of(tokens, shift))


def add_noise(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 − sigma) · clean + sigma · noise: (B, …), sigma (B,)."""
    sigma = sigma.view(-1, *[1] * (clean.ndim - 1)).to(clean)
    return (1 - sigma) * clean + sigma * noise
