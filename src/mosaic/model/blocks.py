"""FLUX's two block kinds over a packed sequence, written over diffusers' submodules.

B batch, S text, T target, L packed length, M width, H heads, D head width. V modulation vectors: 1, or 2 where
there are references (the first for text and target, the second for every reference token).
A block is called as a module, so that hooks, sharding, checkpointing and regional compilation keep their grip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
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


class DoubleBlock(FluxTransformerBlock):
    """Text and image streams with weights of their own and one attention."""

    def forward(  # type: ignore[override]
        self, text: Tensor, image: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
    ) -> tuple[Tensor, Tensor, Extras]:
        """text (B, S, M), image (B, T + ΣR, M) → the same, and what else was asked for."""
        return double_block(self, text, image, context, plan, cached)


class SingleBlock(FluxSingleTransformerBlock):
    """One stream, attention and MLP side by side."""

    def forward(  # type: ignore[override]
        self, packed: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
    ) -> tuple[Tensor, Extras]:
        """packed (B, L, M) → the same, and what else was asked for."""
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
    attn, vector, pattern = block.attn, context.vector, context.pattern
    s, t = text.shape[1], pattern.main - pattern.text
    txt_mod = modulation(block.norm1_context.linear, vector[:, :1], 6)
    img_mod = modulation(block.norm1.linear, vector, 6)

    txt = modulate(block.norm1_context.norm(text), *txt_mod[:2], s)
    img = modulate(block.norm1.norm(image), *img_mod[:2], t)
    txt_qkv = (routed(proj, txt, s) for proj in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj))
    img_qkv = (routed(proj, img, t) for proj in (attn.to_q, attn.to_k, attn.to_v))
    txt_q, txt_k, txt_v = heads(*txt_qkv, attn.head_dim, attn.norm_added_q, attn.norm_added_k)
    img_q, img_k, img_v = heads(*img_qkv, attn.head_dim, attn.norm_q, attn.norm_k)
    q, k, v = (torch.cat(pair, dim=1) for pair in ((txt_q, img_q), (txt_k, img_k), (txt_v, img_v)))
    out, extras = joint_attention(q, k, v, context, plan, cached)

    image = gated(image, img_mod[2], routed(attn.to_out[0], out[:, s:], t), t)
    text = gated(text, txt_mod[2], routed(attn.to_add_out, out[:, :s], s), s)
    img = modulate(block.norm2(image), *img_mod[3:5], t)
    txt = modulate(block.norm2_context(text), *txt_mod[3:5], s)
    image = gated(image, img_mod[5], feed_forward(block.ff, img, t), t)
    text = gated(text, txt_mod[5], feed_forward(block.ff_context, txt, s), s)
    return clip(text), image, extras


def single_block(
    block: FluxSingleTransformerBlock,
    packed: Tensor,
    context: Context,
    plan: ProbePlan | None,
    cached: KeysValues | None,
) -> tuple[Tensor, Extras]:
    """One single block. LoRA acts on the reference tokens packed[:, N:] and on their modulation."""
    attn, n = block.attn, context.pattern.main
    shift, scale, gate = modulation(block.norm.linear, context.vector, 3)
    x = modulate(block.norm.norm(packed), shift, scale, n)
    mlp = block.act_mlp(routed(block.proj_mlp, x, n))
    qkv = (routed(proj, x, n) for proj in (attn.to_q, attn.to_k, attn.to_v))
    q, k, v = heads(*qkv, attn.head_dim, attn.norm_q, attn.norm_k)
    out, extras = joint_attention(q, k, v, context, plan, cached)
    y = routed(block.proj_out, torch.cat([out, mlp], dim=2), n)
    return clip(gated(packed, gate, y, n)), extras


# ---------------------------------------------------------------- parts


def modulation(linear: nn.Module, vector: Tensor, parts: int) -> tuple[Tensor, ...]:
    """vector (B, V, M) → `parts` tensors (B, V, M): shift, scale, gate, once or twice; LoRA on the second vector."""
    return routed(linear, vector, 1).chunk(parts, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor, start: int) -> Tensor:
    """x (B, L, M)·(1 + scale) + shift, the second vector of shift and scale (B, V, M) from token `start` on."""
    if scale.shape[1] == 1:
        return x * (1 + scale) + shift
    main = x[:, :start] * (1 + scale[:, :1]) + shift[:, :1]
    return torch.cat([main, x[:, start:] * (1 + scale[:, 1:]) + shift[:, 1:]], dim=1)


def gated(x: Tensor, gate: Tensor, y: Tensor, start: int) -> Tensor:
    """x + gate·y, the second vector of gate (B, V, M) from token `start` on."""
    if gate.shape[1] == 1:
        return x + gate * y
    return x + torch.cat([gate[:, :1] * y[:, :start], gate[:, 1:] * y[:, start:]], dim=1)


def heads(q: Tensor, k: Tensor, v: Tensor, width: int, norm_q: nn.Module, norm_k: nn.Module) -> list[Tensor]:
    """Projections (B, L, H·D) → q, k, v (B, L, H, D), QK-norm applied."""
    q, k, v = (x.unflatten(-1, (-1, width)) for x in (q, k, v))
    return [norm_q(q), norm_k(k), v]


def joint_attention(
    q: Tensor, k: Tensor, v: Tensor, context: Context, plan: ProbePlan | None, cached: KeysValues | None
) -> tuple[Tensor, Extras]:
    """Rotary positions, cached references, attention and the probe's rows: (B, L, H, D) → (B, L, H·D)."""
    pattern = context.pattern
    kept = (k[:, pattern.main :], v[:, pattern.main :]) if context.keep else None
    if cached is not None:
        k, v = (torch.cat([x, c.to(x.dtype).expand(len(x), -1, -1, -1)], dim=1) for x, c in zip((k, v), cached))
    q = rotate(q, tuple(table[: q.shape[1]] for table in context.rotary)).to(v.dtype)
    k = rotate(k, context.rotary).to(v.dtype)
    rows = None if plan is None else attention_rows(q, k, plan)
    return attend(q, k, v, pattern).flatten(2), Extras(rows, kept)


def feed_forward(ff: nn.Module, x: Tensor, start: int) -> Tensor:
    """Linear, GELU, linear; LoRA on x[:, start:]."""
    act = ff.net[0]
    return routed(ff.net[2], act.gelu(routed(act.proj, x, start)), start)


def clip(x: Tensor) -> Tensor:
    """Keep float16 finite, as FLUX does."""
    return x.clip(-65504, 65504) if x.dtype == torch.float16 else x
