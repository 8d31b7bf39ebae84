"""Keys and values of isolated references, computed once per subject: for any slot, step, prompt and seed.

Keys are kept before rotary positions, so that a reference can sit in any slot. Exact only where references
see nothing but themselves (`isolated`) and, across prompts, where their pooled text vector is null; among
themselves only distances count, so any position scheme will do that shifts a reference as a whole.
B batch, R tokens of one reference, H heads, D head width, N blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.layout import Positions, TokenLayout, Visibility

if TYPE_CHECKING:
    from mosaic.model.transformer import MosaicTransformer


REFUSED = (
    'References see the noisy target under "{}" visibility, so their keys and values change at every step: '
    'only "isolated" weights can be cached.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCache:
    """keys, values: (B, ΣR, H, D) of each block, of one reference or several in order; B may be 1."""

    grids: tuple[Grid, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)  # which weights made it

    @classmethod
    def join(cls, caches: Sequence[ReferenceCache]) -> ReferenceCache:
        """One cache of all references, in the given order. ValueError if they come from different weights."""
        if any(cache.metadata != caches[0].metadata for cache in caches):
            raise ValueError("These caches were made by different weights: encode the references again.")
        if len(caches) == 1:
            return caches[0]
        return cls(
            grids=tuple(grid for cache in caches for grid in cache.grids),
            keys=_join([cache.keys for cache in caches]),
            values=_join([cache.values for cache in caches]),
            metadata=caches[0].metadata,
        )

    def of_block(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one block, double blocks first."""
        return self.keys[index], self.values[index]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ReferenceCache:
        """Moved and cast."""
        keys, values = (tuple(x.to(device, dtype) for x in side) for side in (self.keys, self.values))
        return ReferenceCache(grids=self.grids, keys=keys, values=values, metadata=self.metadata)

    def check(self, layout: TokenLayout, batch: int) -> None:
        """ValueError unless it holds the layout's references, exactly and for the batch."""
        if layout.visibility is not Visibility.ISOLATED:
            raise ValueError(REFUSED.format(layout.visibility))
        if layout.positions is Positions.FREQUENCY:
            raise ValueError(
                "References with a rotary base of their own depend on their slot: no cache fits."
            )
        if self.grids != layout.references:
            held, wanted = _sizes(self.grids), _sizes(layout.references)
            raise ValueError(f"The cache holds references of {held} tokens, the layout {wanted}.")
        if len(self.keys[0]) not in (1, batch):
            raise ValueError(f"The cache was made for a batch of {len(self.keys[0])}, not {batch}.")


def encode_reference(
    transformer: MosaicTransformer,
    reference: Tensor,
    grid: Grid,
    pooled: Tensor | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    time: float = 0.0,
    guidance: float = 1.0,
) -> ReferenceCache:
    """The cache of one isolated reference, packed latents (B, R, C) on its grid.

    pooled (B, ·): its pooled text vector; None is the null vector, the same for all prompts.
    time, guidance: what it stands at, as its LoRA was trained.
    metadata: which weights made it, compared when caches are joined.
    """
    if pooled is None:
        pooled = reference.new_zeros(len(reference), transformer.config.pooled_projection_dim)
    layout = TokenLayout(
        text=0,
        target=grid,
        references=(grid,),
        visibility=Visibility.ISOLATED,
        reference_time=time,
        reference_guidance=guidance,
    )
    with torch.no_grad():
        kept = transformer.encode([reference], pooled, layout)
    keys, values = zip(*kept, strict=True)
    return ReferenceCache(grids=(grid,), keys=keys, values=values, metadata=dict(metadata or {}))


def save_cache(cache: ReferenceCache, path: str | Path) -> None:
    """Write as safetensors, whole or not at all: key.<block>, value.<block>, the rest in the header."""
    sides = (("key", cache.keys), ("value", cache.values))
    tensors = {f"{side}.{i}": x.detach().cpu().contiguous() for side, xs in sides for i, x in enumerate(xs)}
    grids = json.dumps([[grid.height, grid.width] for grid in cache.grids])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={**cache.metadata, "grids": grids, "format": "pt"})
    partial.replace(path)


def load_cache(path: str | Path, device: torch.device | str = "cpu") -> ReferenceCache:
    """Read what `save_cache` wrote. ValueError if the file is no reference cache."""
    with safe_open(path, framework="pt", device=str(device)) as file:
        header = dict(file.metadata() or {})
        if "grids" not in header:
            raise ValueError(f"{path} is not a reference cache: make one with `mosaic encode`.")
        blocks = range(len(list(file.keys())) // 2)
        keys, values = (tuple(file.get_tensor(f"{side}.{i}") for i in blocks) for side in ("key", "value"))
    grids = tuple(Grid(*size) for size in json.loads(header.pop("grids")))
    header.pop("format", None)
    return ReferenceCache(grids=grids, keys=keys, values=values, metadata=header)


def _join(sides: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(blocks, dim=1) for blocks in zip(*sides, strict=True))


def _sizes(grids: Sequence[Grid]) -> str:
    return ", ".join(f"{grid.width}×{grid.height}" for grid in grids) or "no"
