"""Attention over a packed sequence without masks, rotary positions, and the probe that reads its rows.

B batch, K references, P points, L packed length, N = S + T text and target tokens, T target, R tokens of one
reference, H heads, D head width. Queries, keys and values are (B, L, H, D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mosaic.model.layout import TokenLayout, Visibility

Direction = Literal["ref_to_target", "target_to_ref"]
Rotary = tuple[Tensor, Tensor]  # cosines and sines, float32 (L, D), each value twice in a row
CHUNK = 1 << 26  # logits of probe rows held at a time
LOG_FLOOR = 1e-9  # added under the logarithm of a probability


# ---------------------------------------------------------------- backends


def sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's scaled dot-product attention: q (B, Q, H, D), k and v (B, L, H, D) → (B, Q, H, D)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def math(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Two batched matmuls and a softmax in the working dtype: for bf16 on CPU faster than `sdpa`."""
    logits = torch.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k)
    return torch.einsum("bhqk,bkhd->bqhd", logits.softmax(dim=-1), v)


BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"sdpa": sdpa, "math": math}


# ---------------------------------------------------------------- who sees whom


class Pattern(NamedTuple):
    """The numbers attention needs of a layout, hashable, so that a compiled block is specialised to them."""

    text: int
    main: int  # text and target tokens N
    groups: tuple[tuple[int, tuple[int, ...]], ...]  # (R, starts) of the references of equal size
    sees_main: bool  # references see text and target
    dense: bool  # everything sees everything
    backend: str
    final: bool = False  # nothing but the target goes on after this block

    @classmethod
    def of(cls, layout: TokenLayout, backend: str) -> Pattern:
        groups: dict[int, list[int]] = {}
        for span in layout.reference_spans:
            groups.setdefault(span.length, []).append(span.start)
        return cls(
            text=layout.text,
            main=layout.main,
            groups=tuple((size, tuple(starts)) for size, starts in groups.items()),
            sees_main=layout.visibility is not Visibility.ISOLATED,
            dense=not groups or layout.visibility is Visibility.FULL,
            backend=backend,
        )

    def alone(self) -> Pattern:
        """The references of this (isolated) pattern with neither text nor target beside them."""
        groups = tuple((size, tuple(start - self.main for start in starts)) for size, starts in self.groups)
        return self._replace(text=0, main=0, groups=groups)


def attend(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Attention of a packed sequence: q, k, v (B, L, H, D) → (B, L, H, D).

    Text and target attend to everything in one call. References of equal size are a batch of short
    attentions. With cached references, or in a final block, q holds text and target tokens only.
    """
    backend = BACKENDS[pattern.backend]
    if pattern.dense or q.shape[1] <= pattern.main:
        return backend(q, k, v)
    parts = {0: backend(q[:, : pattern.main], k, v)} if pattern.main else {}
    for size, starts in pattern.groups:
        qs, ks, vs = (_stack(x, size, starts) for x in (q, k, v))  # (B, G, R, H, D)
        if pattern.sees_main:
            ks, vs = (_prepend(x[:, : pattern.main], own) for x, own in ((k, ks), (v, vs)))
        out = backend(qs.flatten(0, 1), ks.flatten(0, 1), vs.flatten(0, 1)).unflatten(0, qs.shape[:2])
        if starts == _consecutive(size, starts):
            parts[starts[0]] = out.flatten(1, 2)
        else:
            parts |= dict(zip(starts, out.unbind(1), strict=True))
    return torch.cat([parts[start] for start in sorted(parts)], dim=1)


def _consecutive(size: int, starts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(starts[0] + size * i for i in range(len(starts)))


def _stack(x: Tensor, size: int, starts: tuple[int, ...]) -> Tensor:
    """x (B, L, H, D) → its spans of `size` tokens from `starts`, (B, G, R, H, D); of neighbours a view."""
    if starts == _consecutive(size, starts):
        return x[:, starts[0] : starts[0] + size * len(starts)].unflatten(1, (len(starts), size))
    return torch.stack([x[:, start : start + size] for start in starts], dim=1)


def _prepend(main: Tensor, own: Tensor) -> Tensor:
    """main (B, N, H, D) before each of own (B, G, R, H, D) → (B, G, N + R, H, D)."""
    return torch.cat([main[:, None].expand(-1, own.shape[1], -1, -1, -1), own], dim=2)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotary positions, in float32 at least, on neighbouring channels: x (B, L, H, D), cos and sin (L, D)."""
    cos, sin = (table[:, None, :] for table in rotary)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return (_full(x) * cos + _full(turned) * sin).to(x.dtype)


# ---------------------------------------------------------------- probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Which attention rows to read: eq. 8 of the paper at the supervised points alone.

    tokens: long (B, K, P). For `ref_to_target` the token of each point in its own reference's grid, rows over
    the T target tokens; for `target_to_ref` its token in the target's grid, rows over ΣR reference tokens.
    Rows of padding are the caller's to leave out: any token of the grid, 0 say, stands in for it.
    blocks: which blocks to average: "all", "double" (the release) or indices, double blocks first.
    per_block: give the rows of each chosen block as well.
    average: what is averaged over blocks: the "probabilities" of eq. 8, or their "logarithms" (the rows are
    then geometric means, which sum to less than 1).
    heads: "mean" of one softmax a head over its own width, or "joint": one softmax of the whole width.
    support: what the softmax runs over: the row's own "columns" (eq. 8), or all tokens that are "visible" to
    its token, as in the attention itself (the sub-matrix of eq. 7's).
    """

    tokens: Tensor
    blocks: Literal["all", "double"] | tuple[int, ...] = "all"
    direction: Direction = "ref_to_target"
    per_block: bool = False
    average: Literal["probabilities", "logarithms"] = "probabilities"
    heads: Literal["mean", "joint"] = "mean"
    support: Literal["columns", "visible"] = "columns"

    def chosen(self, double: int, single: int) -> frozenset[int]:
        """Indices of the blocks to read. ValueError for one the model does not have."""
        if self.blocks == "all":
            return frozenset(range(double + single))
        if self.blocks == "double":
            return frozenset(range(double))
        blocks, last = frozenset(self.blocks), double + single - 1
        if not blocks or not blocks <= set(range(last + 1)):
            raise ValueError(f"Probe blocks {self.blocks} must name some of the blocks 0…{last}.")
        return frozenset(int(block) for block in blocks)


class ProbePlan(NamedTuple):
    """A probe in packed coordinates."""

    queries: Tensor  # long (B, K·P), packed token of each row
    keys: tuple[int, int]  # packed columns
    joint: bool = False  # one softmax for all heads
    sees: Tensor | None = None  # bool (K·P, L), for a softmax over all that is visible

    @classmethod
    def of(cls, probe: Probe, layout: TokenLayout) -> ProbePlan:
        """ValueError for tokens that are not (B, K, P) or lie beyond their grid, for columns out of sight."""
        tokens, k = probe.tokens, len(layout.references)
        if tokens.ndim != 3 or tokens.shape[1] != k or not k:
            shape = tuple(tokens.shape)
            raise ValueError(f"Probe tokens must be (B, K, P) of the layout's K ≥ 1 references, not {shape}.")
        if probe.direction == "ref_to_target":
            starts, sizes = zip(*((span.start, span.length) for span in layout.reference_spans), strict=True)
            keys = layout.target_span
        elif probe.direction == "target_to_ref":
            starts, sizes = (layout.text,) * k, (layout.target.size,) * k
            keys = layout.reference_spans[0]._replace(stop=layout.length)
        else:
            raise ValueError(
                f'Probe direction must be "ref_to_target" or "target_to_ref", not "{probe.direction}".'
            )
        start, size = (torch.tensor(x, device=tokens.device)[None, :, None] for x in (starts, sizes))
        on_cpu = tokens.device.type == "cpu"  # elsewhere the check would wait for the device
        if on_cpu and bool(((tokens < 0) | (tokens >= size)).any()):
            raise ValueError(f"Probe tokens must lie on their grids, of {list(sizes)} tokens.")
        sees = _visible(probe, layout).to(tokens.device) if probe.support == "visible" else None
        return cls((tokens + start).flatten(1), (keys.start, keys.stop), probe.heads == "joint", sees)


def _visible(probe: Probe, layout: TokenLayout) -> Tensor:
    """Which packed tokens the token of each probe row attends to: bool (K·P, L)."""
    references, points = probe.tokens.shape[1:]
    sees = torch.ones(references, points, layout.length, dtype=torch.bool)
    if probe.direction == "ref_to_target" and layout.visibility is not Visibility.FULL:
        if layout.visibility is Visibility.ISOLATED:
            raise ValueError('Isolated references do not see the target: probe them with support "columns".')
        sees[..., layout.main :] = False
        for k, span in enumerate(layout.reference_spans):
            sees[k, :, span.slice] = True
    return sees.flatten(0, 1)


def attention_rows(q: Tensor, k: Tensor, plan: ProbePlan) -> Tensor:
    """Softmax over the plan's columns, or all that is visible, at its query tokens: (B, K·P, T).

    In float32 at least. q and k (B, L, H, D) after QK-norm and rotary positions. The other rows of the map
    are never computed.
    """
    batch, length = q.shape[:2]
    flat = plan.queries + length * torch.arange(batch, device=q.device)[:, None]
    rows = q.flatten(0, 1).index_select(0, flat.flatten()).unflatten(0, flat.shape)  # (B, K·P, H, D)
    keys = k[:, slice(*plan.keys)] if plan.sees is None else k
    step = max(1, CHUNK // (batch * q.shape[2] * keys.shape[1]))
    if rows.shape[1] <= step:
        return _probabilities(rows, keys, plan, plan.sees)
    masks = [None] * len(rows.split(step, dim=1)) if plan.sees is None else plan.sees.split(step)
    parts = (
        checkpoint(_probabilities, part, keys, plan, mask, use_reentrant=False)
        for part, mask in zip(rows.split(step, dim=1), masks, strict=True)
    )
    return torch.cat(list(parts), dim=1)


def _probabilities(rows: Tensor, keys: Tensor, plan: ProbePlan, sees: Tensor | None) -> Tensor:
    """rows (B, Q, H, D), keys (B, columns, H, D), sees (Q, columns) → (B, Q, T), mean over heads."""
    logits = torch.einsum("bqhd,bkhd->bhqk", rows * rows.shape[-1] ** -0.5, keys)
    if plan.joint:
        logits = logits.sum(dim=1, keepdim=True) * rows.shape[2] ** -0.5
    if sees is None:
        return _full(logits).softmax(dim=-1).mean(dim=1)
    seen = _full(logits).masked_fill(~sees, -torch.inf).softmax(dim=-1).mean(dim=1)
    return seen[..., slice(*plan.keys)]


def _full(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(slots=True, kw_only=True)
class RowMean:
    """Running mean of the rows the chosen blocks return: one copy lives, unless each block's is wanted."""

    blocks: frozenset[int]
    keep: bool = False
    logarithms: bool = False  # average these: the mean is geometric
    total: Tensor | None = None
    kept: list[Tensor] = field(default_factory=list)

    def add(self, rows: Tensor | None) -> None:
        """What a block returned, (B, K·P, T) or nothing."""
        if rows is None:
            return
        part = (rows + LOG_FLOOR).log() if self.logarithms else rows
        self.total = part if self.total is None else self.total + part
        self.kept += [rows] if self.keep else []

    def mean(self, references: int) -> Tensor | None:
        """(B, K, P, T)."""
        if self.total is None:
            return None
        mean = self.total / len(self.blocks)
        return (mean.exp() if self.logarithms else mean).unflatten(1, (references, -1))

    def stacked(self, references: int) -> Tensor | None:
        """(N, B, K, P, T) in the order of the blocks."""
        return torch.stack(self.kept).unflatten(2, (references, -1)) if self.kept else None
