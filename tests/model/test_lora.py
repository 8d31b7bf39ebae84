from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mosaic.model.layout import Positions, Visibility
from mosaic.model.lora import (
    LoraMetadata,
    LoraSpec,
    add_lora,
    load_lora,
    lora_parameters,
    lora_state,
    routed,
    save_lora,
)
from mosaic.model.transformer import MosaicTransformer

from .tiny import CONFIG, error, inputs, layout, transformer

METADATA = LoraMetadata(
    visibility=Visibility.ISOLATED,
    positions=Positions.FRAME,
    reference_pooled="null",
    canvas="letterbox",
    canvas_size=64,
    base="embedded",
    recipe="toybox",
    commit="abc",
)


def test_only_the_last_tokens_are_adapted() -> None:
    layer = transformer().x_embedder
    x = torch.randn(2, 7, CONFIG["in_channels"])
    base, a, b = layer.base_layer, layer.lora_A["mosaic"].weight, layer.lora_B["mosaic"].weight
    y = routed(layer, x, 3)
    assert torch.equal(y[:, :3], base(x)[:, :3])
    assert error(y[:, 3:], base(x[:, 3:]) + x[:, 3:] @ a.T @ b.T) < 1e-6
    assert torch.equal(routed(layer, x, 7), base(x))
    assert error(routed(layer, x, 0), base(x) + x @ a.T @ b.T) < 1e-6


def test_fresh_lora_changes_nothing_and_learns() -> None:
    """B starts at zero; gradients reach every pair and nothing else."""
    model, one = transformer(lora=0), inputs(layout())
    before = one.run(model).velocity
    add_lora(model, LoraSpec(rank=2))
    after = one.run(model).velocity
    assert error(before, after) < 1e-5
    after.square().sum().backward()
    assert all(
        (p.grad is not None) == ("lora_" in name) for name, p in model.named_parameters() if "_A." not in name
    )
    assert all(p.grad is not None and p.grad.any() for p in lora_parameters(model)[1:2])
    assert all(p.dtype == torch.float32 for p in lora_parameters(model))


def test_chosen_targets() -> None:
    model = transformer(lora=0)
    add_lora(model, LoraSpec(rank=2, targets=("transformer_blocks.*.attn.to_q", "x_embedder")))
    assert len(lora_state(model)) == 2 * (CONFIG["num_layers"] + 1)
    with pytest.raises(ValueError, match="has a LoRA already"):
        add_lora(model, LoraSpec(rank=2))
    for wrong in (LoraSpec(rank=0), LoraSpec(rank=2, targets=("attn.to_nothing",))):
        with pytest.raises(ValueError, match=r"at least 1|to_nothing"):
            add_lora(transformer(lora=0), wrong)


def test_file_round_trip(tmp_path: Path) -> None:
    """Bit for bit, in names, values and metadata."""
    model, one = transformer(), inputs(layout())
    first, second = tmp_path / "deep" / "a.safetensors", tmp_path / "b.safetensors"
    save_lora(model, first, METADATA)
    again = transformer(lora=2, seed=0)  # the same base with another LoRA, to be replaced
    assert load_lora(again, first) == METADATA
    save_lora(again, second, METADATA)
    a, b = load_file(first), load_file(second)
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert load_lora(again, second) == METADATA
    assert error(one.run(model).velocity, one.run(again).velocity) == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_smaller_lora_says_what_it_holds(tmp_path: Path) -> None:
    model = transformer(lora=0)
    add_lora(model, LoraSpec(rank=2, targets=("single_transformer_blocks.*.attn.to_q",)))
    save_lora(model, tmp_path / "a.safetensors", METADATA)
    assert load_lora(transformer(lora=0), tmp_path / "a.safetensors") == METADATA
    tensors = load_file(tmp_path / "a.safetensors")
    save_file(tensors, tmp_path / "b.safetensors")  # without the header it is an incomplete release
    with pytest.raises(ValueError, match="lacks the key"):
        load_lora(transformer(lora=0), tmp_path / "b.safetensors")


def test_without_metadata_the_release_is_assumed(tmp_path: Path) -> None:
    save_file(lora_state(transformer()), tmp_path / "lora.safetensors")
    found = load_lora(transformer(lora=0), tmp_path / "lora.safetensors")
    assert found == LoraMetadata(assumed=True)
    assert (found.visibility, found.positions, found.reference_pooled) == ("release", "width", "prompt")
    assert (found.canvas, found.canvas_size) == ("released", None)


@pytest.mark.parametrize("wrong", [{"reference_pooled": "some"}, {"canvas": "round"}, {"visibility": "x"}])
def test_unknown_words_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong.values()))):
        LoraMetadata.from_strings(METADATA.to_strings() | wrong)


def test_no_lora_to_save(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no LoRA to save"):
        save_lora(transformer(lora=0), tmp_path / "lora.safetensors", METADATA)


def test_fusing_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be fused"):
        transformer().fuse_lora()


def test_weight_of_the_adapter() -> None:
    """diffusers' own switches work: a weight of 0 and a disabled LoRA are the base model."""
    one, base = inputs(layout()), transformer(lora=0)
    model = transformer()
    model.set_adapters("mosaic", 0.0)
    assert error(one.run(model).velocity, one.run(base).velocity) < 1e-5
    model.set_adapters("mosaic", 0.5)
    half = one.run(model).velocity
    model.set_adapters("mosaic", 1.0)
    whole = one.run(model).velocity
    assert error(half, whole) > 1e-3
    model.disable_lora()
    assert error(one.run(model).velocity, one.run(base).velocity) < 1e-5


class Quantised(nn.Linear):
    """A stand-in for a quantised layer: int8 weights, a forward of its own."""

    @classmethod
    def of(cls, linear: nn.Linear) -> nn.Linear:
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        linear.__class__ = cls
        linear.weight = nn.Parameter((linear.weight / scale).round().to(torch.int8), requires_grad=False)
        linear.scale = scale
        return linear

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)


def test_quantised_base_keeps_its_layers() -> None:
    """The pairs lie beside layers of any class, whose own forward runs on all tokens."""
    model, one = transformer(lora=0), inputs(layout())
    before = one.run(model).velocity
    model.requires_grad_(False)
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        for proj in (block.attn.to_q, block.attn.to_k, block.attn.to_v):
            Quantised.of(proj)
    quantised = one.run(model).velocity
    assert 0 < error(before, quantised) < 0.1
    add_lora(model, LoraSpec(rank=2))
    assert isinstance(model.transformer_blocks[0].attn.to_q.base_layer, Quantised)
    out = one.run(model).velocity
    assert error(out, quantised) < 1e-5
    out.sum().backward()
    assert all(p.grad is not None for p in lora_parameters(model))


def test_float32_lora_under_a_bfloat16_base() -> None:
    model = MosaicTransformer(**CONFIG).to(torch.bfloat16)
    add_lora(model, LoraSpec(rank=2))
    one = inputs(layout())
    cast = {name: getattr(one, name).to(torch.bfloat16) for name in ("target", "text", "pooled")}
    references = tuple(r.to(torch.bfloat16) for r in one.references)
    out = replace(one, references=references, **cast).run(model).velocity
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.dtype == torch.float32 and p.grad is not None for p in lora_parameters(model))
