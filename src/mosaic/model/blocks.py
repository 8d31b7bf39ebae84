"""FLUX's two block kinds over a packed sequence, written over diffusers' submodules.

B batch, S text, T target, N = S + T, L packed length, M width, H heads, D head width. V modulation vectors:
1, or 2 where there are references (the first for text and target, the second for every reference token).
A block is called as a module, so that hooks, sharding, checkpointing and regional compilation can hold it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock, FluxTransformerBlock
from torch import Tensor, nn

from mosaic.model.attention import Pattern, ProbePlan, Rotary, attend, attention_rows, rotate
from mosaic.model.lora import routed

KeysValues = tuple[Tensor, Tensor]  # of reference tokens, keys before rotary positions, each (B, ΣR, H, D)


class Context(NamedTuple):
    """What every block of one forward pass shares."""

    vector: Tensor  # (B, V, M), after SiLU
    rotary: Rotary  # (L, D)
    pattern: Pattern
    keep: bool = False  # return the keys and values of the references


class Extras(NamedTuple):
    """What a block gives beside its tokens."""

    rows: Tensor | None  # (B, K·P, T)
    kept: KeysValues | None


class Modulation(NamedTuple):
    """Each (B, V, M)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class DoubleBlock(FluxTransformerBlock):
    """Text and image streams with weights of their own and one attention."""

    def forward(
        self, text: Tensor, image: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
    ) -> tuple[Tensor, Tensor, Extras]:
        """text (B, S, M), image (B, T + ΣR, M) → the same, and what else was asked for."""
        return double_block(self, text, image, context, plan, cached)


class SingleBlock(FluxSingleTransformerBlock):
    """One stream, attention and MLP side by side."""

    def forward(
        self, packed: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
    ) -> tuple[Tensor, Extras]:
        """packed (B, L, M) → the same (final: the target alone, (B, T, M)), and what else was asked for."""
        return single_block(self, packed, context, plan, cached)


def double_block(
    block: FluxTransformerBlock,
    text: Tensor,
    image: Tensor,
    context: Context,
    plan: ProbePlan | None,
    cached: KeysValues | None,
) -> tuple[Tensor, Tensor, Extras]:
    """One double block. LoRA acts on image[:, T:] and on the references' modulation."""
    attn, pattern = block.attn, context.pattern
    s, t = pattern.text, pattern.main - pattern.text
    txt_mod, txt_mod2 = modulation(block.norm1_context.linear, context.vector[:, :1])
    img_mod, img_mod2 = modulation(block.norm1.linear, context.vector)

    txt = modulate(block.norm1_context.norm(text), txt_mod, s)
    img = modulate(block.norm1.norm(image), img_mod, t)
    txt_qkv = [routed(proj, txt, s) for proj in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)]
    img_qkv = [routed(proj, img, t) for proj in (attn.to_q, attn.to_k, attn.to_v)]
    txt_qkv = heads(txt_qkv, attn.head_dim, attn.norm_added_q, attn.norm_added_k)
    img_qkv = heads(img_qkv, attn.head_dim, attn.norm_q, attn.norm_k)
    q, k, v = (torch.cat(pair, dim=1) for pair in zip(txt_qkv, img_qkv, strict=True))
    out, extras = joint_attention(q, k, v, context, plan, cached)

    image = gated(image, img_mod, routed(attn.to_out[0], out[:, s:], t), t)
    text = gated(text, txt_mod, routed(attn.to_add_out, out[:, :s], s), s)
    img = feed_forward(block.ff, modulate(block.norm2(image), img_mod2, t), t)
    txt = feed_forward(block.ff_context, modulate(block.norm2_context(text), txt_mod2, s), s)
    return clip(gated(text, txt_mod2, txt, s)), gated(image, img_mod2, img, t), extras


def single_block(
    block: FluxSingleTransformerBlock,
    packed: Tensor,
    context: Context,
    plan: ProbePlan | None,
    cached: KeysValues | None,
) -> tuple[Tensor, Extras]:
    """One single block. LoRA acts on the reference tokens packed[:, N:] and on their modulation.

    A final block gives the target's tokens alone, (B, T, M): the others serve as keys and values only.
    """
    attn, n = block.attn, context.pattern.main
    first, last = (context.pattern.text, n) if context.pattern.final else (0, None)
    (mod,) = modulation(block.norm.linear, context.vector)
    x = modulate(block.norm.norm(packed), mod, n)
    qkv = [routed(proj, x, n) for proj in (attn.to_q, attn.to_k, attn.to_v)]
    q, k, v = heads(qkv, attn.head_dim, attn.norm_q, attn.norm_k)
    out, extras = joint_attention(q, k, v, context, plan, cached)
    mlp = block.act_mlp(routed(block.proj_mlp, x[:, first:last], n - first))
    y = routed(block.proj_out, torch.cat([out, mlp], dim=2), n - first)
    return clip(gated(packed[:, first:last], mod, y, n - first)), extras


# ---------------------------------------------------------------- parts


def modulation(linear: nn.Linear, vector: Tensor) -> list[Modulation]:
    """vector (B, V, M) → its modulations, one (single block) or two (double); LoRA on the second vector."""
    parts = routed(linear, vector, 1).split(vector.shape[-1], dim=-1)
    return [Modulation(*parts[i : i + 3]) for i in range(0, len(parts), 3)]


def modulate(x: Tensor, by: Modulation, start: int) -> Tensor:
    """x (B, L, M)·(1 + scale) + shift, by the second vector from token `start` on."""
    scale = 1 + by.scale
    if scale.shape[1] == 1:
        return x * scale + by.shift
    main = x[:, :start] * scale[:, :1] + by.shift[:, :1]
    return torch.cat([main, x[:, start:] * scale[:, 1:] + by.shift[:, 1:]], dim=1)


def gated(x: Tensor, by: Modulation, y: Tensor, start: int) -> Tensor:
    """x + gate·y, by the second vector from token `start` on: x and y (B, L, M)."""
    if by.gate.shape[1] == 1:
        return x + by.gate * y
    return x + torch.cat([by.gate[:, :1] * y[:, :start], by.gate[:, 1:] * y[:, start:]], dim=1)


def heads(qkv: Iterable[Tensor], width: int, norm_q: nn.Module, norm_k: nn.Module) -> list[Tensor]:
    """Projections (B, L, H·D) → q, k, v (B, L, H, D), QK-norm applied."""
    q, k, v = (x.unflatten(-1, (-1, width)) for x in qkv)
    return [norm_q(q), norm_k(k), v]


def joint_attention(
    q: Tensor, k: Tensor, v: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
) -> tuple[Tensor, Extras]:
    """Rotary positions, cached references, attention and the probe's rows: (B, L, H, D) → (B, L, H·D)."""
    pattern, (cos, sin) = context.pattern, context.rotary
    kept = (k[:, pattern.main :], v[:, pattern.main :]) if context.keep else None
    if cached is not None:
        k, v = (beside(x, c) for x, c in zip((k, v), cached, strict=True))
    q = rotate(q, (cos[: q.shape[1]], sin[: q.shape[1]])).to(v.dtype)
    k = rotate(k, (cos, sin)).to(v.dtype)
    rows = None if plan is None else attention_rows(q, k, plan)
    q = q[:, pattern.text : pattern.main] if pattern.final else q
    return attend(q, k, v, pattern).flatten(2), Extras(rows, kept)


def beside(main: Tensor, cached: Tensor) -> Tensor:
    """main (B, N, H, D) and cached (B or 1, ΣR, H, D) → (B, L, H, D)."""
    return torch.cat([main, cached.to(main).expand(len(main), -1, -1, -1)], dim=1)


def feed_forward(ff: FeedForward, x: Tensor, start: int) -> Tensor:
    """Linear, GELU, linear on x (B, L, M); LoRA on x[:, start:]."""
    act = ff.net[0]
    return routed(ff.net[2], act.gelu(routed(act.proj, x, start)), start)


def clip(x: Tensor) -> Tensor:
    """Keep float16 finite, as FLUX does."""
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x
