"""The optimiser: clipping clips, sums in fp32, resumes, averages."""

import math

import pytest
import torch
from torch import nn

from mosaic.training.optimiser import MasterAdamW, gradient_norm, learning_rate
from mosaic.training.recipe import OptimiserSection


def optimiser_of(parameter: nn.Parameter, **section: object) -> MasterAdamW:
    return MasterAdamW({"weight": parameter}, OptimiserSection.model_validate({"ema": 0} | section))


def test_clipping_really_clips() -> None:
    parameter = nn.Parameter(torch.zeros(4, 4))
    optimiser = optimiser_of(parameter, clip=0.5)
    seen = []
    optimiser.adamw.register_step_pre_hook(
        lambda *_: seen.append(float(optimiser.masters["weight"].grad.norm()))
    )
    parameter.grad = torch.full((4, 4), 10.0)
    optimiser.collect()
    assert optimiser.step() == pytest.approx(40.0)
    assert seen == [pytest.approx(0.5)]


def test_a_small_gradient_is_left_alone() -> None:
    parameter = nn.Parameter(torch.zeros(4, 4))
    optimiser = optimiser_of(parameter, clip=0.5)
    parameter.grad = torch.full((4, 4), 0.01)
    optimiser.collect()
    before = optimiser.masters["weight"].grad.clone()
    seen = []
    optimiser.adamw.register_step_pre_hook(lambda *_: seen.append(optimiser.masters["weight"].grad.clone()))
    optimiser.step()
    assert torch.equal(seen[0], before)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    parameter = nn.Parameter(torch.ones(3, 3))
    optimiser = optimiser_of(parameter)
    parameter.grad = torch.full((3, 3), math.nan)
    optimiser.collect()
    assert math.isnan(optimiser.step())
    assert torch.equal(parameter, torch.ones(3, 3)) and optimiser.lost == 1
    parameter.grad = torch.ones(3, 3)
    optimiser.collect()
    optimiser.step()
    assert not torch.equal(parameter, torch.ones(3, 3)) and optimiser.lost == 0


def test_micro_steps_are_summed_in_float32() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2, dtype=torch.bfloat16))
    optimiser = optimiser_of(parameter)
    for value in (1.0, 2**-9):  # their sum has no bfloat16
        parameter.grad = torch.full((2, 2), value, dtype=torch.bfloat16)
        optimiser.collect(micro_steps=2)
    assert torch.equal(optimiser.masters["weight"].grad, torch.full((2, 2), (1 + 2**-9) / 2))
    assert parameter.grad is None


def test_masters_keep_what_bfloat16_would_lose() -> None:
    parameter = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimiser = optimiser_of(parameter, lr=1e-4, weight_decay=0)
    for _ in range(50):
        parameter.grad = torch.ones(2, 2, dtype=torch.bfloat16)
        optimiser.collect()
        optimiser.step()
    assert torch.allclose(optimiser.masters["weight"], torch.tensor(1 - 50e-4), atol=1e-5)
    assert torch.equal(parameter, optimiser.masters["weight"].bfloat16())


def test_equals_torch_adamw_in_float32() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimiser = MasterAdamW(
        dict(ours.named_parameters()), OptimiserSection(lr=1e-2, weight_decay=0, clip=1e9, ema=0)
    )
    adamw = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0)
    x = torch.randn(5, 3)
    for _ in range(4):
        for model in (ours, theirs):
            model(x).square().sum().backward()
        optimiser.collect()
        optimiser.step()
        adamw.step()
        adamw.zero_grad()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_vectors_have_no_weight_decay() -> None:
    optimiser = MasterAdamW(dict(nn.Linear(3, 2).named_parameters()), OptimiserSection(weight_decay=0.1))
    decay = {
        group["weight_decay"]: [p.ndim for p in group["params"]] for group in optimiser.adamw.param_groups
    }
    assert decay == {0.1: [2], 0.0: [1]}


def test_the_schedule_warms_up_and_falls() -> None:
    section = OptimiserSection(lr=1.0, warmup=4, steps=14, schedule="cosine")
    rates = [learning_rate(section, step) for step in range(15)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[9] == pytest.approx(0.5)
    assert rates[14] == pytest.approx(0.0)
    assert learning_rate(section.model_copy(update={"schedule": "constant"}), 13) == 1.0


def test_the_average_is_in_the_model_only_inside_the_block() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimiser = optimiser_of(parameter, ema=0.9, lr=0.1)
    for _ in range(3):
        parameter.grad = torch.ones(2, 2)
        optimiser.collect()
        optimiser.step()
    trained = parameter.detach().clone()
    with optimiser.averaged():
        assert torch.equal(parameter, optimiser.average["weight"])
        assert (parameter > trained).all()  # it lags behind
    assert torch.equal(parameter, trained)


def test_a_foreign_checkpoint_is_named() -> None:
    optimiser = optimiser_of(nn.Parameter(torch.zeros(2, 2)))
    with pytest.raises(ValueError, match="lacks weight"):
        optimiser.load_state_tensors({"masters": {}}, 1)
    with pytest.raises(ValueError, match=r"weight is \[3, 2\] in the checkpoint and \[2, 2\] here"):
        optimiser.load_state_tensors({"masters": {"weight": torch.zeros(3, 2)}}, 1)


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        MasterAdamW({}, OptimiserSection())


def test_gradient_norm_keeps_the_graph() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, 4.0]))
    loss = parameter.square().sum() / 2
    assert gradient_norm(loss, {"weight": parameter}) == pytest.approx(5.0)
    loss.backward()
    assert parameter.grad is not None
    assert gradient_norm(torch.zeros(()), {"weight": parameter}) == 0.0
