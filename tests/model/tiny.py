"""Small random transformers with LoRA, and inputs for a layout; float32 on CPU, seeded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.layout import TokenLayout
from mosaic.model.lora import LoraSpec, add_lora, lora_parameters
from mosaic.model.mixed import Inputs
from mosaic.model.transformer import MosaicTransformer

CONFIG: dict[str, Any] = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 12,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}
TEXT, TARGET = 5, Grid(4, 6)
SIZES = (Grid(4, 4), Grid(2, 3), Grid(4, 4), Grid(3, 5))  # equal sizes that are no neighbours among them


def transformer(lora: int = 4, seed: int = 0, **config: Any) -> MosaicTransformer:
    """Random base, and a random, non-zero LoRA of that rank (0: none)."""
    torch.manual_seed(seed)
    model = MosaicTransformer(**CONFIG | config).eval()
    for name, parameter in model.named_parameters():
        if "norm_" in name:  # QK-norms start at one: make them matter
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    if lora:
        add_lora(model, LoraSpec(rank=lora))
        for parameter in lora_parameters(model):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def layout(references: tuple[Grid, ...] = SIZES, **options: Any) -> TokenLayout:
    return TokenLayout(text=TEXT, target=TARGET, references=references, **options)


def inputs(layout: TokenLayout, batch: int = 2, seed: int = 1, **config: Any) -> Inputs:
    """Random inputs that fit CONFIG | config."""
    config = CONFIG | config
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return Inputs(
        target=random(batch, layout.target.size, config["in_channels"]),
        text=random(batch, layout.text, config["joint_attention_dim"]),
        pooled=random(batch, config["pooled_projection_dim"]),
        timestep=torch.rand(batch, generator=generator),
        guidance=torch.full((batch,), 3.5) if config["guidance_embeds"] else None,
        layout=layout,
        references=tuple(random(batch, grid.size, config["in_channels"]) for grid in layout.references),
    )


def pick(one: Inputs, sample: int) -> Inputs:
    """One sample of a batch, alone."""
    rows = slice(sample, sample + 1)
    names = ("target", "text", "pooled", "timestep", "guidance", "reference_pooled")
    tensors = {name: x[rows] for name in names if (x := getattr(one, name)) is not None}
    probe = one.probe and replace(one.probe, tokens=one.probe.tokens[rows])
    return replace(one, references=tuple(r[rows] for r in one.references), probe=probe, **tensors)


def error(a: Tensor | None, b: Tensor | None) -> float:
    assert a is not None and b is not None and a.shape == b.shape
    return float((a - b).detach().abs().max())
