"""FLUX's transformer over a packed sequence of text, target and references, on diffusers' weights.

B batch, K references, P points, S text, T target, R tokens of one reference, L packed length, C channels,
M width, J text channels. Loading from a hub, quantisation, offloading and state dicts are diffusers'.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from peft.tuners.lora import LoraLayer
from torch import Tensor

from mosaic.model.attention import BACKENDS, Pattern, Probe, ProbePlan, Rotary, RowMean
from mosaic.model.blocks import Context, DoubleBlock, KeysValues, SingleBlock
from mosaic.model.layout import TokenLayout, Visibility
from mosaic.model.lora import base_state, routed
from mosaic.model.reference_cache import REFUSED, ReferenceCache

RELEASED_TARGETS = (
    "x_embedder",
    "transformer_blocks.*.norm1.linear",
    "transformer_blocks.*.attn.to_q",
    "transformer_blocks.*.attn.to_k",
    "transformer_blocks.*.attn.to_v",
    "transformer_blocks.*.attn.to_out.0",
    "transformer_blocks.*.ff.net.2",
    "single_transformer_blocks.*.norm.linear",
    "single_transformer_blocks.*.attn.to_q",
    "single_transformer_blocks.*.attn.to_k",
    "single_transformer_blocks.*.attn.to_v",
    "single_transformer_blocks.*.proj_mlp",
    "single_transformer_blocks.*.proj_out",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerOutput:
    """velocity (B, T, C), noise − clean; where probed, rows (B, K, P, T) and block_rows (N, B, K, P, T)."""

    velocity: Tensor
    rows: Tensor | None = None
    block_rows: Tensor | None = None


class MosaicTransformer(FluxTransformer2DModel):
    """diffusers' FLUX transformer with a packed forward; without references it is FLUX."""

    _no_split_modules = ["DoubleBlock", "SingleBlock"]  # noqa: RUF012 (diffusers' own names)
    _repeated_blocks = ["DoubleBlock", "SingleBlock"]  # noqa: RUF012
    lora_targets = RELEASED_TARGETS

    @functools.wraps(FluxTransformer2DModel.__init__)  # type: ignore[misc]  # its signature is the config's
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.adopt(self)

    @classmethod
    def adopt(cls, model: FluxTransformer2DModel) -> MosaicTransformer:
        """The same model, modules and names, with our forward. One that is ours already is left as it is."""
        model.__class__ = cls if type(model) is FluxTransformer2DModel else type(model)
        model.attention = getattr(model, "attention", "sdpa")
        for block in model.transformer_blocks:
            block.__class__ = DoubleBlock
        for block in model.single_transformer_blocks:
            block.__class__ = SingleBlock
        return model

    def use_attention(self, backend: str) -> None:
        """Choose "sdpa" or "math" (faster for bf16 on CPU). ValueError for another."""
        if backend not in BACKENDS:
            raise ValueError(f'The attention backend must be one of {sorted(BACKENDS)}, not "{backend}".')
        self.attention = backend

    def compile_blocks(self, **options: Any) -> None:
        """Compile each block kind once (torch.compile's options); the rest of the model stays eager."""
        self.compile_repeated_blocks(**options)

    def fuse_lora(self, *_: Any, **__: Any) -> None:
        """ValueError, always: merged weights would adapt text and target as well."""
        raise ValueError(
            "A LoRA on reference tokens alone cannot be fused into the weights all tokens share."
        )

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save the base weights as diffusers would; a LoRA has a file of its own (`save_lora`)."""
        hook = self.register_state_dict_post_hook(base_state)
        try:
            super().save_pretrained(*args, **kwargs)
        finally:
            hook.remove()

    def to_json_string(self) -> str:
        """The config under diffusers' class name, so that diffusers reads the folder too."""
        config = json.loads(super().to_json_string()) | {"_class_name": FluxTransformer2DModel.__name__}
        return json.dumps(config, indent=2, sort_keys=True) + "\n"

    def forward(
        self,
        target: Tensor,
        text: Tensor,
        pooled: Tensor,
        timestep: Tensor,
        guidance: Tensor | None = None,
        *,
        layout: TokenLayout,
        references: Sequence[Tensor] = (),
        reference_pooled: Tensor | None = None,
        probe: Probe | None = None,
        cache: ReferenceCache | None = None,
    ) -> TransformerOutput:
        """Predict the velocity of the target, and read the probe's attention rows.

        target (B, T, C): noisy packed latents; text (B, S, J); pooled (B, ·); timestep (B,): noise level in
        [0, 1]; guidance (B,): embedded where the config says guidance_embeds, else None.
        references: clean packed latents (B, R_k, C) in the layout's order, or their cache (isolated only).
        reference_pooled (B, ·): None takes the prompt's, zeros the null vector. ValueError if these clash.
        """
        self._check(target, text, layout, references, guidance, cache)
        tokens = routed(self.x_embedder, torch.cat([target, *references], dim=1), layout.target.size)
        vectors = [self._vector(timestep, guidance, pooled, tokens.dtype)]
        if references:
            pooled = pooled if reference_pooled is None else reference_pooled
            vectors.append(self._reference_vector(pooled, tokens.dtype, layout))
        context = self._context(vectors, layout, tokens.device)
        plan = None if probe is None else ProbePlan.of(probe, layout)
        rows = self._rows(probe, cache)
        tokens, _ = self._stream(self.context_embedder(text), tokens, context, plan, rows, cache)
        velocity = self.proj_out(self.norm_out(tokens, vectors[0]))
        k = len(layout.references)
        return TransformerOutput(velocity=velocity, rows=rows.mean(k), block_rows=rows.stacked(k))

    def encode(self, references: Sequence[Tensor], pooled: Tensor, layout: TokenLayout) -> list[KeysValues]:
        """Keys (before rotary positions) and values of isolated references, block by block, (B, ΣR, H, D).

        references (B, R_k, C), pooled (B, ·). ValueError under another visibility than `isolated`.
        """
        if layout.visibility is not Visibility.ISOLATED:
            raise ValueError(REFUSED.format(layout.visibility))
        tokens = routed(self.x_embedder, torch.cat(list(references), dim=1), 0)
        vector = self._reference_vector(pooled, tokens.dtype, layout)
        context = self._context([vector, vector], layout, tokens.device)
        tables = (context.rotary[0][layout.main :], context.rotary[1][layout.main :])
        context = context._replace(rotary=tables, pattern=context.pattern.alone(), keep=True)
        _, kept = self._stream(tokens[:, :0], tokens, context, None, self._rows(None, None), None)
        return kept

    # ------------------------------------------------------------ parts

    def _stream(
        self,
        text: Tensor,
        image: Tensor,
        context: Context,
        plan: ProbePlan | None,
        rows: RowMean,
        cache: ReferenceCache | None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """All blocks: text (B, S, M), image (B, T + ΣR, M) → target (B, T, M), and what the blocks kept."""
        kept, double, pattern = [], len(self.transformer_blocks), context.pattern
        shared = self._shared(context, plan, rows, cache)
        for block, args in zip(self.transformer_blocks, shared[:double], strict=True):
            text, image, extras = self._call(block, text, image, *args)
            rows.add(extras.rows)
            kept.append(extras.kept)
        packed = torch.cat([text, image], dim=1)
        for block, args in zip(self.single_transformer_blocks, shared[double:], strict=True):
            packed, extras = self._call(block, packed, *args)
            rows.add(extras.rows)
            kept.append(extras.kept)
        whole = packed.shape[1] > pattern.main - pattern.text
        return packed[:, pattern.text : pattern.main] if whole else packed, kept

    def _shared(
        self, context: Context, plan: ProbePlan | None, rows: RowMean, cache: ReferenceCache | None
    ) -> list[tuple[Context, ProbePlan | None, KeysValues | None]]:
        """What each block is given beside its tokens."""
        blocks = len(self.transformer_blocks) + len(self.single_transformer_blocks)
        contexts = [context] * blocks
        if context.pattern.groups and not context.keep and self._may_end_early():
            contexts[-1] = context._replace(pattern=context.pattern._replace(final=True))
        plans = [plan if i in rows.blocks else None for i in range(blocks)]
        caches = [None if cache is None else cache.of_block(i) for i in range(blocks)]
        return list(zip(contexts, plans, caches, strict=True))

    def _may_end_early(self) -> bool:
        """Whether the last block may drop text and references; LoRA in training needs its zero gradients."""
        if not self.single_transformer_blocks:
            return False
        adapted = isinstance(self.single_transformer_blocks[-1].proj_out, LoraLayer)
        return not (adapted and torch.is_grad_enabled())

    def _call(self, block: torch.nn.Module, *args: Any) -> Any:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *args)
        return block(*args)

    def _context(self, vectors: list[Tensor], layout: TokenLayout, device: torch.device) -> Context:
        return Context(
            vector=F.silu(torch.stack(vectors, dim=1)),
            rotary=rotary(self.pos_embed, layout, device),
            pattern=Pattern.of(layout, self.attention),
        )

    def _rows(self, probe: Probe | None, cache: ReferenceCache | None) -> RowMean:
        if probe is None:
            return RowMean(blocks=frozenset())
        if cache is not None and probe.direction == "ref_to_target":
            raise ValueError('Cached references have no queries to probe: use direction "target_to_ref".')
        chosen = probe.chosen(len(self.transformer_blocks), len(self.single_transformer_blocks))
        return RowMean(blocks=chosen, keep=probe.per_block, logarithms=probe.average == "logarithms")

    def _vector(
        self, timestep: Tensor, guidance: Tensor | None, pooled: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Time, guidance and pooled text → (B, M). Scaled by 1000 after the cast, as in diffusers."""
        scaled = [x.to(dtype) * 1000 for x in (timestep, guidance) if x is not None]
        return self.time_text_embed(*scaled, pooled)

    def _reference_vector(self, pooled: Tensor, dtype: torch.dtype, layout: TokenLayout) -> Tensor:
        """Every reference stands at the layout's noise level and guidance: (B, M)."""
        zero = torch.zeros(len(pooled), device=pooled.device)
        guidance = zero + layout.reference_guidance if self.config.guidance_embeds else None
        return self._vector(zero + layout.reference_time, guidance, pooled, dtype)

    def _check(
        self,
        target: Tensor,
        text: Tensor,
        layout: TokenLayout,
        references: Sequence[Tensor],
        guidance: Tensor | None,
        cache: ReferenceCache | None,
    ) -> None:
        if cache is not None:
            cache.check(layout, len(target))
        sizes = () if cache is not None else tuple(grid.size for grid in layout.references)
        given = tuple(reference.shape[1] for reference in references)
        if (target.shape[1], text.shape[1], given) != (layout.target.size, layout.text, sizes):
            planned = f"{layout.text} text, {layout.target.size} target and {list(sizes)} reference tokens"
            tensors = f"{text.shape[1]}, {target.shape[1]} and {list(given)}"
            raise ValueError(f"The layout has {planned}, the tensors have {tensors}.")
        if (guidance is None) == bool(self.config.guidance_embeds):
            raise ValueError("Give a guidance exactly when the model embeds it (config.guidance_embeds).")


def rotary(embed: FluxPosEmbed, layout: TokenLayout, device: torch.device) -> Rotary:
    """Cosines and sines of the layout's ids, float32 (L, D). Ids are integers until here: exact."""
    cos, sin = embed(layout.ids().to(device))
    for span, factor in zip(layout.reference_spans, layout.base_factors(), strict=True):
        if factor != 1:
            own = FluxPosEmbed(theta=embed.theta * factor, axes_dim=embed.axes_dim)
            cos[span.slice], sin[span.slice] = own(layout.ids()[span.slice].to(device))
    return cos, sin
