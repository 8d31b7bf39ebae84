"""Fewer bits: 8-bit moments of the optimiser, a quantised base under a LoRA that is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mosaic.model.quantize import quantization
from mosaic.training import models
from mosaic.training import run as loop_room
from mosaic.training.optimiser import MasterAdamW
from mosaic.training.recipe import OptimiserSection
from mosaic.training.run import train_recipe

from .fake_world import fake_batches
from .test_loop import assert_equal, newest, records

LARGE = {"heads": 2, "head_width": 64, "rope_axes": [16, 24, 24], "double_blocks": 1, "single_blocks": 1}
LARGE |= {"t5_width": 64, "clip_width": 64}  # nf4 takes 64 weights of a row at a time


@pytest.fixture
def eager() -> Any:
    """torchao compiles its step; a compiler is not what is tested here."""
    pytest.importorskip("torchao")
    with torch.compiler.set_stance("force_eager"):
        yield


def pull(optimiser: MasterAdamW, steps: int) -> None:
    """Steps towards weights of 1."""
    for step in range(steps):
        for name, parameter in optimiser.parameters.items():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
            parameter.grad = optimiser.masters[name].detach() - 1 + 0.1 * noise
        optimiser.collect()
        optimiser.step()


def eight_bits(**section: Any) -> MasterAdamW:
    options = {"kind": "adamw8bit", "lr": 1e-2, "ema": 0, "weight_decay": 0} | section
    weights = {"large": nn.Parameter(torch.zeros(64, 128)), "small": nn.Parameter(torch.zeros(8))}
    return MasterAdamW(weights, OptimiserSection.model_validate(options))


def test_moments_are_in_eight_bits_and_steps_nearly_those_of_adamw(eager: None) -> None:
    ours, plain = eight_bits(), eight_bits(kind="adamw")
    for optimiser in (ours, plain):
        pull(optimiser, 20)
    kept = ours.state_tensors()
    assert kept["exp_avg"]["large.codes"].dtype == torch.uint8
    assert kept["exp_avg"]["small"].dtype == torch.float32  # too small to be worth it
    moved = plain.masters["large"].norm()
    assert (ours.masters["large"] - plain.masters["large"]).norm() < 0.05 * moved


def test_eight_bit_moments_resume_to_the_bit(eager: None) -> None:
    whole, before, after = eight_bits(), eight_bits(), eight_bits()
    pull(whole, 7)
    pull(before, 4)
    after.load_state_tensors(
        {k: {n: t.clone() for n, t in v.items()} for k, v in before.state_tensors().items()}, 4
    )
    for optimiser in (before, after):
        for step in range(3):
            for name, parameter in optimiser.parameters.items():
                parameter.grad = optimiser.masters[name].detach() - 1 + step
            optimiser.collect()
            optimiser.step()
    for name in before.masters:
        assert torch.equal(before.masters[name], after.masters[name])


@pytest.mark.parametrize(("first", "then"), [("adamw", "adamw8bit"), ("adamw8bit", "adamw")])
def test_another_kind_of_moments_is_refused(eager: None, first: str, then: str) -> None:
    before = eight_bits(kind=first)
    pull(before, 1)
    with pytest.raises(ValueError, match=rf'cannot resume: .* optimiser.kind = "{first}"'):
        eight_bits(kind=then).load_state_tensors(before.state_tensors(), 1)


def lora_recipe(tiny_recipe: Any, **model: Any) -> Any:
    create = tiny_recipe().model.create.model_dump(mode="json") | LARGE
    return tiny_recipe(
        model={"create": create, "dtype": "bfloat16", "checkpointing": True} | model,
        train={"parameters": "lora"},
        optimiser={"lr": 1e-2, "steps": 3, "batch": 2},
        output={"log": 1, "checkpoint": 2},
    )


@pytest.fixture
def quantised(request: pytest.FixtureRequest) -> str:
    """A kind that can be loaded here: before nf4 diffusers asks for a GPU, bitsandbytes does not."""
    kind = request.param
    if kind == "int8":
        pytest.importorskip("torchao")
    if kind == "nf4":
        pytest.importorskip("bitsandbytes")
        monkeypatch = request.getfixturevalue("monkeypatch")
        loader = "diffusers.quantizers.bitsandbytes.bnb_quantizer.BnB4BitDiffusersQuantizer"
        monkeypatch.setattr(f"{loader}.validate_environment", lambda *_, **__: None)
        monkeypatch.setattr(f"{loader}.update_device_map", lambda *_: {"": "cpu"})
        monkeypatch.setattr(models, "quantization", lambda *asked: quantization(*asked[:2], "cuda", asked[3]))
    return kind


@pytest.mark.parametrize(
    ("quantised", "near"), [("fp8", 0.02), ("int8", 0.02), ("nf4", 0.1)], indirect=["quantised"]
)
def test_a_lora_is_trained_beside_a_quantised_base(
    quantised: str, near: float, tiny_recipe: Any, tmp_path: Path
) -> None:
    plain, fewer = lora_recipe(tiny_recipe), lora_recipe(tiny_recipe, quantize=quantised)
    for name, recipe in (("plain", plain), ("fewer", fewer), ("again", fewer)):
        train_recipe(recipe, tmp_path / name, render=fake_batches)
    pairs = list(zip(records(tmp_path / "plain"), records(tmp_path / "fewer"), strict=True))
    sca = [(a["loss/sca"], b["loss/sca"]) for a, b in pairs]  # the velocity of a new base is 0 in any bits
    assert all(a != b and b == pytest.approx(a, rel=near) for a, b in sca)
    assert records(tmp_path / "fewer") == records(tmp_path / "again")
    assert_equal(newest(tmp_path / "fewer"), newest(tmp_path / "again"))


def test_a_quantised_base_takes_half_the_room(tiny_recipe: Any, tmp_path: Path) -> None:
    run = loop_room.prepare(lora_recipe(tiny_recipe, quantize="fp8"), tmp_path, "test", fake_batches)
    layer: Any = run.model.transformer.transformer_blocks[0].attn.to_q
    assert layer.get_base_layer().weight.dtype == torch.float8_e4m3fn
    assert run.model.transformer.proj_out.weight.requires_grad is False
    assert {p.dtype for p in run.model.trained.values()} == {torch.bfloat16}


def test_nf4_without_a_gpu_is_refused(tiny_recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'model.quantize = "nf4" needs a GPU'):
        train_recipe(lora_recipe(tiny_recipe, quantize="nf4", device="cpu"), tmp_path, render=fake_batches)
