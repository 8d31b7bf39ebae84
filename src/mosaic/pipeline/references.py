"""A reference on its way to the transformer: laid on its canvas, packed beside the text or cached.

R tokens of one reference. Which canvas is the LoRA's to say: what it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from PIL import Image
from torch import Tensor

from mosaic.geometry import Grid, Size
from mosaic.model.lora import LoraMetadata
from mosaic.model.reference_cache import ReferenceCache, encode_reference
from mosaic.model.transformer import MosaicTransformer
from mosaic.pictures import Canvas, letterbox_canvas, plain_canvas, released_canvas
from mosaic.pipeline.guidance import Pass
from mosaic.sample import Reference

MOST_REFERENCES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedReference:
    """A reference ready for the transformer: its canvas and clean packed latents, or its cache alone."""

    grid: Grid
    latents: Tensor | None = None  # (1, R, 64)
    canvas: Canvas | None = None
    cache: ReferenceCache | None = None


AnyReference = Reference | ReferenceCache | EncodedReference


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasChoice:
    """kind "released", "letterbox" or "none" (as it is); side in pixels, None: the target's size."""

    kind: str
    side: int | None = None

    @classmethod
    def of(cls, lora: LoraMetadata, kind: str | None = None, side: int | None = None) -> CanvasChoice:
        """What is asked for, else what the LoRA was trained on. ValueError for what is no canvas."""
        choice = cls(kind=kind or lora.canvas, side=side or lora.canvas_size)
        if choice.kind not in ("released", "letterbox", "none"):
            raise ValueError(f'The canvas must be "released", "letterbox" or "none", not "{kind}".')
        if choice.side is not None:
            Grid.of_pixels(choice.side, choice.side)
        return choice

    def lay(self, reference: Reference, target: Size) -> Canvas:
        """The reference on this canvas; target (height, width) stands in for a side of its own."""
        image, mask = Image.fromarray(reference.image), reference.mask
        if self.kind == "released":
            return released_canvas(image, self.side or min(target), mask)
        if self.kind == "letterbox":
            return letterbox_canvas(image, (self.side, self.side) if self.side else target, mask)
        return plain_canvas(image, mask)

    def grid(self, reference: Reference, target: Size) -> Grid:
        """The tokens a reference will take."""
        if self.kind == "none":
            return Grid.of_pixels(*reference.size)
        released = (self.side or min(target),) * 2
        return Grid.of_pixels(*(target if self.kind == "letterbox" and not self.side else released))


def check_count(references: int) -> None:
    """ValueError for more than the eight that a picture is made of."""
    if references > MOST_REFERENCES:
        raise ValueError(f"A picture takes at most {MOST_REFERENCES} references, not {references}.")


# ---------------------------------------------------------------- passes with references


def with_references(
    text: Pass,
    references: Sequence[EncodedReference],
    lora: LoraMetadata,
    transformer: MosaicTransformer,
    weights: Mapping[str, str],
    caches: bool = True,
) -> Pass:
    """The text's pass with the references: cached where their visibility allows it, else packed beside it."""
    given = any(reference.cache is not None for reference in references)
    cacheable = _laid_out(text, references, lora).layout.cacheable
    if references and cacheable and (caches or given):
        return cached_pass(text, references, lora, transformer, weights)
    return packed_pass(text, references, lora)


def packed_pass(text: Pass, references: Sequence[EncodedReference], lora: LoraMetadata) -> Pass:
    """The text's pass with the references beside it. ValueError if there is but a cache of one."""
    if not references:
        return text
    latents = tuple(reference.latents for reference in references if reference.latents is not None)
    if len(latents) < len(references):
        raise ValueError(
            f"Under {lora.visibility} visibility and {lora.positions} positions a reference cannot come from "
            "a cache: give its picture, or a LoRA of isolated visibility."
        )
    return replace(
        _laid_out(text, references, lora),
        references=tuple(reference.to(text.text.dtype) for reference in latents),
        reference_pooled=torch.zeros_like(text.pooled) if lora.reference_pooled == "null" else None,
    )


def cached_pass(
    text: Pass,
    references: Sequence[EncodedReference],
    lora: LoraMetadata,
    transformer: MosaicTransformer,
    weights: Mapping[str, str],
) -> Pass:
    """The same under isolated visibility, each reference computed once for all steps."""
    pooled = None if lora.reference_pooled == "null" else text.pooled
    dtype = text.text.dtype
    caches = [
        reference_cache(transformer, reference, weights, dtype, lora, pooled) for reference in references
    ]
    cache = ReferenceCache.join(caches).to(text.text.device, dtype)
    return replace(_laid_out(text, references, lora), cache=cache)


def reference_cache(
    transformer: MosaicTransformer,
    reference: EncodedReference,
    weights: Mapping[str, str],
    dtype: torch.dtype,
    lora: LoraMetadata,
    pooled: Tensor | None = None,
) -> ReferenceCache:
    """What it came with, or its keys and values computed now; pooled None: for the null vector."""
    if reference.cache is not None:
        return reference.cache
    assert reference.latents is not None
    onload = apply_forward_hook(lambda module: module)  # back from where offloading put it
    latents = reference.latents.to(dtype)
    at = {"time": lora.reference_time, "guidance": lora.reference_guidance}
    return encode_reference(onload(transformer), latents, reference.grid, pooled, weights, **at)


def check_cache(cache: ReferenceCache, weights: Mapping[str, str]) -> None:
    """ValueError if a cache is not of one reference, or was made by other weights than these."""
    if len(cache.grids) != 1:
        raise ValueError(f"A reference cache holds {len(cache.grids)} references, and one is wanted.")
    for name, value in weights.items():
        if cache.metadata.get(name) != value:
            raise ValueError(f"A reference cache was made by another {name}: encode the reference again.")


def _laid_out(text: Pass, references: Sequence[EncodedReference], lora: LoraMetadata) -> Pass:
    grids = tuple(reference.grid for reference in references)
    layout = replace(
        text.layout,
        references=grids,
        visibility=lora.visibility,
        positions=lora.positions,
        reference_time=lora.reference_time,
        reference_guidance=lora.reference_guidance,
    )
    return replace(text, layout=layout)
