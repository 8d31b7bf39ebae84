"""FLUX.1-dev's own config on the meta device: counts and names as in the released implementation."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mosaic.model.checkpoint import bfl_names
from mosaic.model.lora import LoraSpec, add_lora, load_lora_state, lora_parameters, lora_state
from mosaic.model.transformer import MosaicTransformer

CONFIG: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
M = 3072
DOUBLE = {  # (in, out) of the adapted modules of a double block
    "norm1.linear": (M, 6 * M),
    **{f"attn.{name}": (M, M) for name in ("to_q", "to_k", "to_v", "to_out.0")},
    "ff.net.2": (4 * M, M),
}
SINGLE = {
    "norm.linear": (M, 3 * M),
    **{f"attn.{name}": (M, M) for name in ("to_q", "to_k", "to_v")},
    "proj_mlp": (M, 4 * M),
    "proj_out": (5 * M, M),
}


def model() -> MosaicTransformer:
    with torch.device("meta"):
        return MosaicTransformer(**CONFIG)


@pytest.fixture(scope="module")
def plain() -> MosaicTransformer:
    """For tests that leave it as it is."""
    return model()


@cache
def released(rank: int) -> dict[str, Tensor]:
    """Names and shapes of the authors' LoRA."""
    modules = {"x_embedder": (64, M)}
    modules |= {f"transformer_blocks.{i}.{name}": shape for i in range(19) for name, shape in DOUBLE.items()}
    modules |= {
        f"single_transformer_blocks.{i}.{name}": shape for i in range(38) for name, shape in SINGLE.items()
    }
    state = {}
    for name, (n_in, n_out) in modules.items():
        state[f"transformer.{name}.lora_A.weight"] = torch.empty(rank, n_in, device="meta")
        state[f"transformer.{name}.lora_B.weight"] = torch.empty(n_out, rank, device="meta")
    return state


def published_names() -> set[str]:
    """The keys of FLUX.1-dev's transformer in diffusers' layout."""
    modules = {
        f"time_text_embed.{part}_embedder.linear_{i}"
        for part in ("text", "timestep", "guidance")
        for i in (1, 2)
    }
    modules |= {"context_embedder", "x_embedder", "norm_out.linear", "proj_out"}
    double = ["norm1.linear", "norm1_context.linear", "attn.to_out.0", "attn.to_add_out"]
    double += [f"attn.{part}" for part in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")]
    double += [f"{ff}.net.{part}" for ff in ("ff", "ff_context") for part in ("0.proj", "2")]
    single = ["norm.linear", "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out"]
    modules |= {f"transformer_blocks.{i}.{name}" for i in range(19) for name in double}
    modules |= {f"single_transformer_blocks.{i}.{name}" for i in range(38) for name in single}
    norms = {
        f"transformer_blocks.{i}.attn.norm_{n}" for i in range(19) for n in ("q", "k", "added_q", "added_k")
    }
    norms |= {f"single_transformer_blocks.{i}.attn.norm_{n}" for i in range(38) for n in ("q", "k")}
    return {f"{m}.{leaf}" for m in modules for leaf in ("weight", "bias")} | {f"{n}.weight" for n in norms}


def test_base_count_and_names(plain: MosaicTransformer) -> None:
    state = plain.state_dict()
    assert sum(value.numel() for value in state.values()) == 11_901_408_320
    assert set(state) == published_names() and len(state) == 1160
    assert len(bfl_names(state)) == 780
    assert state["single_transformer_blocks.37.proj_out.weight"].shape == (M, 5 * M)


def test_rank_128_lora() -> None:
    """343 modules, 686 tensors, 3,621,952 parameters a unit of rank, under the published names."""
    dev = model()
    add_lora(dev, LoraSpec(rank=128))
    assert sum(p.numel() for p in lora_parameters(dev)) == 3_621_952 * 128
    shapes = {key: value.shape for key, value in lora_state(dev).items()}
    assert shapes == {key: value.shape for key, value in released(128).items()}
    assert len(shapes) == 686
    assert all(p.requires_grad == (".lora_" in name) for name, p in dev.named_parameters())


def test_released_lora_loads() -> None:
    dev = model()
    load_lora_state(dev, released(512))
    shapes = {key: value.shape for key, value in lora_state(dev).items()}
    assert shapes == {key: value.shape for key, value in released(512).items()}


@pytest.mark.parametrize("side", ["A", "B"])
def test_missing_key_is_named(plain: MosaicTransformer, side: str) -> None:
    key = f"transformer.single_transformer_blocks.7.proj_mlp.lora_{side}.weight"
    state = {name: value for name, value in released(4).items() if name != key}
    with pytest.raises(ValueError, match=re.escape(f'lacks the key "{key}"')):
        load_lora_state(plain, state)


@pytest.mark.parametrize(
    "key",
    [
        "transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight",
        "transformer.single_transformer_blocks.38.attn.to_q.lora_A.weight",
        "transformer.proj_out.lora_B.weight",
        "text_encoder.x.lora_A.weight",
        "transformer.x_embedder.alpha",
    ],
)
def test_foreign_key_is_named(plain: MosaicTransformer, key: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f'has the foreign key "{key}"')):
        load_lora_state(plain, released(4) | {key: torch.empty(4, M, device="meta")})


def test_wrong_shape_is_named(plain: MosaicTransformer) -> None:
    key = "transformer.x_embedder.lora_A.weight"
    with pytest.raises(ValueError, match=re.escape(f'"{key}" and its pair are (4, 65)')):
        load_lora_state(plain, released(4) | {key: torch.empty(4, 65, device="meta")})
