from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file

from mosaic.model.checkpoint import (
    bfl_lora,
    bfl_names,
    diffusers_lora,
    diffusers_names,
    load_transformer,
    lora_file,
)
from mosaic.model.lora import load_lora_state, lora_state

from .tiny import error, inputs, layout, transformer


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_base_names_there_and_back() -> None:
    state = transformer(lora=0).state_dict()
    bfl = bfl_names(state)
    assert same(diffusers_names(bfl), state)
    assert same(bfl_names(diffusers_names(bfl)), bfl)
    assert bfl["double_blocks.1.img_attn.qkv.weight"].shape == (3 * 32, 32)
    assert bfl["single_blocks.0.linear1.bias"].shape == (7 * 32,)
    assert "double_blocks.0.txt_attn.norm.query_norm.scale" in bfl
    assert not torch.equal(bfl["final_layer.adaLN_modulation.1.weight"], state["norm_out.linear.weight"])
    assert same(diffusers_names({f"model.diffusion_model.{key}": value for key, value in bfl.items()}), state)


def test_base_names_are_those_diffusers_reads() -> None:
    """Its converter is written for width 3072: the slices of `linear1` aside, it must agree."""
    state = transformer(lora=0).state_dict()
    bfl = {key: value for key, value in bfl_names(state).items() if "linear1" not in key}
    stand_in = {
        f"single_blocks.{i}.linear1.{leaf}": torch.zeros(7 * 3072, 1)
        for i in (0, 1)
        for leaf in ("weight", "bias")
    }
    theirs = convert_flux_transformer_checkpoint_to_diffusers(bfl | stand_in)
    skipped = [
        k for k in state if "single" in k and any(f".{n}." in k for n in ("to_q", "to_k", "to_v", "proj_mlp"))
    ]
    assert theirs.keys() == state.keys()
    assert all(torch.equal(theirs[key], state[key]) for key in state if key not in skipped)


def test_one_file_of_bfl_weights(tmp_path: Path) -> None:
    model = transformer(lora=0, attention_head_dim=32, num_attention_heads=1, axes_dims_rope=(4, 14, 14))
    save_file(bfl_names(model.state_dict()), tmp_path / "flux.safetensors")
    loaded = load_transformer(tmp_path / "flux.safetensors").eval()
    one = inputs(layout())
    assert error(one.run(loaded).velocity, one.run(model).velocity) == 0


def test_wrong_names_are_named() -> None:
    state = transformer(lora=0).state_dict()
    bfl = bfl_names(state)
    with pytest.raises(ValueError, match="img_out"):
        diffusers_names(bfl | {"img_out.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="y_embedder"):
        bfl_names(state | {"y_embedder.weight": torch.zeros(1)})
    del state["transformer_blocks.0.attn.to_k.bias"]
    with pytest.raises(ValueError, match=r"transformer_blocks.0.attn.to_k.bias"):
        bfl_names(state)


def test_lora_names_there_and_back() -> None:
    """One low-rank pair a slice: both formats load and save exactly."""
    state = lora_state(transformer())
    bfl = bfl_lora(state)
    assert bfl["diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"].shape == (3 * 4, 32)
    assert bfl["diffusion_model.single_blocks.1.linear1.lora_B.weight"].shape == (7 * 32, 4 * 4)
    assert same(diffusers_lora(bfl), state)
    assert same(diffusers_lora(state), state)
    model, one = transformer(lora=2), inputs(layout())
    load_lora_state(model, bfl)
    assert error(one.run(model).velocity, one.run(transformer()).velocity) == 0


def test_a_pair_on_a_whole_fused_matrix() -> None:
    """What others train: each slice takes the whole A and its rows of B."""
    bfl = bfl_lora(lora_state(transformer()))
    name = "diffusion_model.single_blocks.0.linear1"
    a, b = torch.randn(5, 32), torch.randn(7 * 32, 5)
    state = diffusers_lora(bfl | {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b})
    x, parts = torch.randn(32), []
    for module in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"):
        down, up = (state[f"transformer.single_transformer_blocks.0.{module}.lora_{s}.weight"] for s in "AB")
        parts.append(up @ (down @ x))
    assert error(torch.cat(parts), b @ (a @ x)) < 1e-4
    model = transformer(lora=0)
    load_lora_state(model, state)  # ranks may differ between modules
    assert same({k: v.detach() for k, v in lora_state(model).items()}, state)


def test_incomplete_fused_lora_is_named() -> None:
    state = lora_state(transformer())
    del state["transformer.transformer_blocks.1.attn.to_v.lora_A.weight"]
    with pytest.raises(ValueError, match=r"transformer_blocks.1.attn.to_v.lora_A.weight"):
        bfl_lora(state)


def test_lora_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no"):
        lora_file(tmp_path)
    for name in ("b.safetensors", "a.safetensors"):
        (tmp_path / name).touch()
    assert lora_file(tmp_path / "a.safetensors") == tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match="several"):
        lora_file(tmp_path)
    (tmp_path / "lora.safetensors").touch()
    assert lora_file(tmp_path) == tmp_path / "lora.safetensors"
    for nothing in ("missing.safetensors", tmp_path / "missing.safetensors", "./x/missing"):
        with pytest.raises(ValueError, match="There is no LoRA"):
            lora_file(nothing)
