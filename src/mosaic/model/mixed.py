"""Batches that mix numbers and sizes of references: run as groups of equal layout, with no padding.

B batch, K references, P points, S text, T target, R tokens of one reference, C channels, J text channels.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout
from mosaic.model.transformer import MosaicTransformer, TransformerOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The transformer's inputs for B samples of one layout; see `MosaicTransformer.forward`."""

    target: Tensor  # (B, T, C)
    text: Tensor  # (B, S, J)
    pooled: Tensor  # (B, ·)
    timestep: Tensor  # (B,)
    layout: TokenLayout
    guidance: Tensor | None = None  # (B,)
    references: tuple[Tensor, ...] = ()  # each (B, R_k, C)
    reference_pooled: Tensor | None = None  # (B, ·)
    probe: Probe | None = None  # tokens (B, K, P)

    def run(self, transformer: MosaicTransformer) -> TransformerOutput:
        return transformer(
            self.target,
            self.text,
            self.pooled,
            self.timestep,
            self.guidance,
            layout=self.layout,
            references=self.references,
            reference_pooled=self.reference_pooled,
            probe=self.probe,
        )

    def kind(self) -> Hashable:
        """What two inputs must share to run as one batch."""
        optional = (self.guidance is None, self.reference_pooled is None)
        if self.probe is None:
            return self.layout, optional
        choices = tuple(getattr(self.probe, f.name) for f in fields(self.probe) if f.name != "tokens")
        return self.layout, optional, self.probe.tokens.shape[-1], choices


def forward_mixed(transformer: MosaicTransformer, inputs: Sequence[Inputs]) -> list[TransformerOutput]:
    """Each input's own output, in their order; inputs of one kind run together."""
    groups: dict[Hashable, list[int]] = {}
    for i, one in enumerate(inputs):
        groups.setdefault(one.kind(), []).append(i)
    outputs: dict[int, TransformerOutput] = {}
    for members in groups.values():
        together = join([inputs[i] for i in members]).run(transformer)
        outputs |= zip(members, split(together, [len(inputs[i].target) for i in members]), strict=True)
    return [outputs[i] for i in range(len(inputs))]


def join(inputs: Sequence[Inputs]) -> Inputs:
    """Inputs of one kind as one batch."""
    if len(inputs) == 1:
        return inputs[0]

    first, probes = inputs[0], [one.probe for one in inputs if one.probe is not None]
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(one, name) for one in inputs])
        for name in ("target", "text", "pooled", "timestep", "guidance", "reference_pooled")
        if getattr(first, name) is not None
    }
    references = tuple(torch.cat(parts) for parts in zip(*(one.references for one in inputs), strict=True))
    probe = replace(probes[0], tokens=torch.cat([one.tokens for one in probes])) if probes else None
    return replace(first, references=references, probe=probe, **tensors)


def split(output: TransformerOutput, sizes: Sequence[int]) -> list[TransformerOutput]:
    """A batch's output → those of its parts."""
    none = [None] * len(sizes)
    velocity = output.velocity.split(list(sizes))
    rows = none if output.rows is None else output.rows.split(list(sizes))
    per_block = none if output.block_rows is None else output.block_rows.split(list(sizes), dim=1)
    parts = zip(velocity, rows, per_block, strict=True)
    return [TransformerOutput(velocity=v, rows=r, block_rows=b) for v, r, b in parts]
