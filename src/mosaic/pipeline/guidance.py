"""The forward passes of a step and how their velocities are combined (classifier-free guidance).

B batch, S text tokens, T target tokens, R tokens of one reference, J text channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout
from mosaic.model.reference_cache import ReferenceCache
from mosaic.model.transformer import MosaicTransformer, TransformerOutput

MOST_STEPS, MOST_GUIDANCE = 1000, 100.0
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """All that one forward pass takes beside the latents and their noise level."""

    text: Tensor  # (B, S, J)
    pooled: Tensor  # (B, ·)
    layout: TokenLayout
    references: tuple[Tensor, ...] = ()  # (B, R_k, C)
    reference_pooled: Tensor | None = None  # (B, ·); None: the prompt's
    cache: ReferenceCache | None = None

    def run(
        self,
        transformer: MosaicTransformer,
        latents: Tensor,
        sigma: float,
        guidance: float | None,
        probe: Probe | None = None,
    ) -> TransformerOutput:
        """One pass: latents float32 (B, T, C) at noise level sigma; guidance where the model embeds it."""
        batch = len(latents)
        return transformer(
            latents.to(self.text.dtype),
            self.text,
            self.pooled,
            torch.full((batch,), sigma, device=latents.device),
            None if guidance is None else torch.full((batch,), guidance, device=latents.device),
            layout=self.layout,
            references=self.references,
            reference_pooled=self.reference_pooled,
            cache=self.cache,
            probe=probe,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What the pictures of one prompt and its references share, whatever their seed."""

    sigmas: list[float]
    embedded: bool  # guidance is an input of the model
    guidance: float
    reference_guidance: float = 1.0
    full: Pass  # prompt and references
    text: Pass | None = None  # the prompt alone
    empty: Pass | None = None  # neither

    @property
    def input(self) -> float | None:
        """The guidance the model takes in, where it does."""
        return self.guidance if self.embedded else None

    def velocity(
        self, transformer: MosaicTransformer, latents: Tensor, sigma: float, probe: Probe | None = None
    ) -> tuple[Tensor, TransformerOutput]:
        """The guided velocity float32 (B, T, C) at noise level sigma, and what the full pass returned."""
        out = self.full.run(transformer, latents, sigma, self.input, probe)
        text, empty = (
            None if other is None else other.run(transformer, latents, sigma, self.input).velocity.float()
            for other in (self.text, self.empty)
        )
        return combine(out.velocity.float(), text, empty, self.guidance, self.reference_guidance), out


def combine(
    full: Tensor, text: Tensor | None, empty: Tensor | None, guidance: float, reference_guidance: float = 1.0
) -> Tensor:
    """Velocities under classifier-free guidance: v₀ + g·(v_text − v₀) + r·(v_full − v_text).

    A pass that is None takes no part: without `text` the references follow the prompt, v₀ + g·(v_full − v₀);
    without `empty` the guidance is inside the model, v_text + r·(v_full − v_text).
    """
    if text is None:
        return full if empty is None else empty + guidance * (full - empty)
    base = text if empty is None else empty + guidance * (text - empty)
    return base + reference_guidance * (full - text)


def defaults(few_steps: bool) -> tuple[int, float]:
    """Steps and guidance as released; a model distilled to few steps, as FLUX.1-schnell, takes none."""
    return (4, 1.0) if few_steps else (28, 3.5)


def first_given(*choices: Number | None) -> Number:
    """The first that is not None."""
    return next(choice for choice in choices if choice is not None)


def check_steps(steps: int) -> int:
    """ValueError unless the steps make a picture in finite time."""
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"The number of steps must lie in 1…{MOST_STEPS}, not {steps}.")
    return steps


def check_guidance(guidance: float) -> float:
    """ValueError for a negative, absurd or infinite guidance."""
    if not (math.isfinite(guidance) and 0 <= guidance <= MOST_GUIDANCE):
        raise ValueError(f"Guidance must lie in 0…{MOST_GUIDANCE:.0f}, not {guidance}.")
    return guidance
