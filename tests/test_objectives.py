"""The losses against literals of eq. 8–15 in NumPy, float64."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mosaic.objectives import (
    correspondence_loss,
    disentanglement_loss,
    flow_matching_loss,
    jensen_shannon,
    mean_pattern,
    symmetric_kl,
)

GOLDEN = Path(os.environ.get("MOSAIC_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))
REDUCTIONS = ["per_reference", "flat"]
DISTANCES = ["symmetric_kl", "jensen_shannon"]


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def literal_distance(p, q, distance):
    if distance == "symmetric_kl":  # eq. 13
        return kl(p, q) / 2 + kl(q, p) / 2
    return kl(p, (p + q) / 2) / 2 + kl(q, (p + q) / 2) / 2


def literal_sca(rows, targets, valid, reduction):
    total = 0
    for row, target, use in zip(rows, targets, valid, strict=True):  # samples
        logs = [
            [-math.log(a[v]) for a, v, ok in zip(*one, strict=True) if ok]
            for one in zip(row, target, use, strict=True)
        ]
        logs = [one for one in logs if one]
        if logs:  # eq. 10
            total += np.mean(
                [np.mean(one) for one in logs] if reduction == "per_reference" else np.hstack(logs)
            )
    return total / len(rows)


def literal_md(rows, valid, distance, subjects=None):
    total = 0
    for i, (row, use) in enumerate(zip(rows, valid, strict=True)):
        names = range(len(row)) if subjects is None else subjects[i]
        means = [(name, a[ok].mean(0)) for name, a, ok in zip(names, row, use, strict=True) if ok.any()]
        patterns = [(name, mean / mean.sum()) for name, mean in means]  # eq. 12
        pairs = [
            literal_distance(p, q, distance)
            for a, (one, p) in enumerate(patterns)
            for b, (other, q) in enumerate(patterns)
            if a != b and one != other
        ]
        total -= np.mean(pairs) if pairs else 0  # eq. 14
    return total / len(rows)


@st.composite
def cases(draw, sharpest=3.0, min_references=0):
    batch, references = draw(st.integers(1, 3)), draw(st.integers(min_references, 4))
    points, tokens = draw(st.integers(0, 5)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.standard_normal((batch, references, points, tokens)) * draw(st.floats(0, sharpest))
    valid = rng.random((batch, references, points)) < draw(st.sampled_from([0, 0.3, 0.8, 1]))
    targets = rng.integers(0, tokens, (batch, references, points))
    return softmax(logits), targets, valid, rng.integers(0, 2, (batch, references))


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array)) for array in arrays]


def losses(rows, targets, valid, subjects=None):
    yield from (correspondence_loss(rows, targets, valid, reduction) for reduction in REDUCTIONS)
    yield from (disentanglement_loss(rows, valid, distance, subjects) for distance in DISTANCES)


@given(cases(), st.sampled_from(REDUCTIONS))
def test_sca_is_eq_10(case, reduction):
    rows, targets, valid, _ = case
    ours = correspondence_loss(*tensors(rows, targets, valid), reduction)
    assert ours.item() == pytest.approx(literal_sca(rows, targets, valid, reduction), abs=1e-5)


@given(cases(), st.sampled_from(DISTANCES), st.booleans())
def test_md_is_eq_11_to_14(case, distance, grouped):
    rows, _, valid, subjects = case
    rows, valid_, subjects_ = *tensors(rows, valid), torch.from_numpy(subjects) if grouped else None
    ours = disentanglement_loss(rows, valid_, distance, subjects_).item()
    expected = literal_md(rows.numpy(), valid, distance, subjects if grouped else None)
    assert ours == pytest.approx(expected, abs=1e-5) and ours <= 1e-12


@given(cases())
def test_total_is_eq_15(case):
    rows, targets, valid, _ = case
    velocity, noise, clean = np.random.default_rng(0).standard_normal((3, len(rows), 7, 4))
    ours = flow_matching_loss(*tensors(velocity, noise, clean))
    ours = ours + 0.4 * correspondence_loss(*tensors(rows, targets, valid))
    ours = ours + 0.6 * disentanglement_loss(*tensors(rows, valid))
    expected = ((velocity - (noise - clean)) ** 2).mean()
    expected += 0.4 * literal_sca(rows, targets, valid, "per_reference")
    expected += 0.6 * literal_md(rows, valid, "symmetric_kl")
    assert ours.item() == pytest.approx(expected, abs=1e-5)


@given(cases(), st.permutations(range(4)), st.integers(0, 2**32 - 1))
def test_the_order_of_references_and_points_does_not_matter(case, order, seed):
    order = [k for k in order if k < case[0].shape[1]]
    rows, targets, valid, subjects = (array[:, order] for array in case)
    points = np.random.default_rng(seed).permutation(rows.shape[2])
    shuffled = tensors(rows[:, :, points], targets[:, :, points], valid[:, :, points], subjects)
    for ours, other in zip(losses(*tensors(*case)), losses(*shuffled), strict=True):
        assert torch.allclose(ours, other, atol=1e-10)


@given(cases())
def test_one_subject_is_not_pushed_apart(case):
    rows, _, valid, subjects = tensors(*case)
    for distance in DISTANCES:
        assert disentanglement_loss(rows[:, :1], valid[:, :1], distance).item() == 0
        assert disentanglement_loss(rows, valid, distance, torch.zeros_like(subjects)).item() == 0


@given(cases())
def test_references_without_points_change_nothing(case):
    rows, targets, valid, subjects = tensors(*case)
    padding = torch.full_like(rows[:, :1], float("nan")) if rows.shape[1] else rows
    more = [
        torch.cat((rows, padding), 1),
        torch.cat((targets, torch.full_like(targets[:, :1], -7)), 1),
        torch.cat((valid, torch.zeros_like(valid[:, :1])), 1),
        torch.cat((subjects, subjects[:, :1] + 5), 1),
    ]
    more[0].requires_grad_()
    for ours, other in zip(losses(rows, targets, valid, subjects), losses(*more), strict=True):
        assert torch.allclose(ours, other, atol=1e-12)
        (gradient,) = torch.autograd.grad(other, more[0])
        assert gradient.isfinite().all() and (gradient[:, -1:] == 0).all()


extreme = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=4),
    elements=st.sampled_from([0.0, 1e-45, 1e-38, 1e-20, 1e-8, 0.5, 1.0]),
)


@given(extreme, st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_extreme_probabilities_stay_finite(rows, dtype):
    rows = torch.from_numpy(rows).to(dtype).requires_grad_()
    valid = torch.ones(rows.shape[:3], dtype=torch.bool)
    for loss in losses(rows, torch.zeros(rows.shape[:3], dtype=torch.long), valid):
        assert loss.dtype == torch.float32 and loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, rows)
        assert dtype == torch.float16 or gradient.isfinite().all()


@given(cases(sharpest=200, min_references=2))
def test_gradients_through_a_softmax_stay_small(case):
    rows, targets, valid, _ = tensors(*case)
    logits = rows.clamp(min=1e-30).log().float().requires_grad_()
    for i in range(4):
        (gradient,) = torch.autograd.grad(list(losses(logits.softmax(-1), targets, valid))[i], logits)
        assert gradient.isfinite().all() and (gradient.abs() < 50).all()


@given(cases())
def test_bfloat16_rows_are_computed_in_float32(case):
    rows, targets, valid, subjects = tensors(*case)
    half = rows.bfloat16()
    for ours, other in zip(
        losses(half, targets, valid, subjects), losses(half.float(), targets, valid, subjects), strict=True
    ):
        assert ours.dtype == torch.float32 and torch.equal(ours, other)


def test_losses_are_differentiable():
    logits = torch.randn(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[[True, True], [False, True], [True, False]]])
    targets = torch.randint(4, (1, 3, 2))
    for i in range(4):
        assert torch.autograd.gradcheck(
            lambda logits, i=i: list(losses(logits.softmax(-1), targets, valid))[i], (logits,)
        )


def test_without_references_everything_is_zero_and_still_has_a_graph():
    rows = torch.zeros(2, 0, 0, 6, requires_grad=True)
    nothing = torch.zeros(2, 0, 0, dtype=torch.long)
    for loss in losses(rows, nothing, nothing.bool()):
        loss.backward()
        assert loss.item() == 0


def test_a_sample_without_points_counts_as_zero():
    rows = torch.tensor(softmax(np.random.default_rng(0).standard_normal((1, 2, 3, 4))))
    targets, valid = torch.ones(1, 2, 3, dtype=torch.long), torch.ones(1, 2, 3, dtype=torch.bool)
    both = rows.repeat(2, 1, 1, 1), targets.repeat(2, 1, 1), torch.cat((valid, ~valid))
    for one, two in zip(losses(rows, targets, valid), losses(*both), strict=True):
        assert two.item() == pytest.approx(one.item() / 2)


def test_distances_have_their_bounds():
    p, q = torch.eye(2)
    assert jensen_shannon(p, q).item() == pytest.approx(math.log(2), abs=1e-6)
    assert symmetric_kl(p, q).item() == pytest.approx(-math.log(1e-8), rel=1e-6)
    assert symmetric_kl(p, p).item() == jensen_shannon(q, q).item() == 0


def test_patterns_are_normalised():
    rows = torch.tensor([[[[0.2, 0.2], [0.0, 0.4], [9.0, 9.0]]]])
    pattern = mean_pattern(rows, torch.tensor([[[True, True, False]]]))
    assert torch.allclose(pattern, torch.tensor([[[0.25, 0.75]]]))


def test_flow_matching_weighs_samples():
    velocity, noise, clean = torch.randn(3, 2, 5, 4)
    errors = (velocity - noise + clean).square().mean((1, 2))
    assert torch.allclose(flow_matching_loss(velocity, noise, clean), errors.mean())
    weighted = flow_matching_loss(velocity, noise, clean, torch.tensor([3.0, 0.0]))
    assert torch.allclose(weighted, errors[0] * 1.5)
    assert flow_matching_loss(noise - clean, noise, clean).item() == 0
    assert flow_matching_loss(velocity.bfloat16(), noise.bfloat16(), clean.bfloat16()).dtype == torch.float32


def test_mistakes_are_named():
    rows, points = torch.rand(1, 2, 3, 4), torch.zeros(1, 2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="reduction"):
        correspondence_loss(rows, points, points.bool(), "sum")
    with pytest.raises(ValueError, match="distance"):
        disentanglement_loss(rows, points.bool(), "cosine")
    with pytest.raises(ValueError, match="Rows must be"):
        disentanglement_loss(rows[0], points.bool())


@pytest.mark.parametrize("case", sorted(GOLDEN.glob("*/case.safetensors")), ids=lambda path: path.parent.name)
def test_released_losses(case):
    from safetensors.torch import load_file

    numbers, meta = load_file(case), json.loads((case.parent / "meta.json").read_text())
    sets = json.loads(meta["points"])
    rows = numbers["rows"][:1].unflatten(1, (len(sets), -1))  # sample 0: (1, K, R, T)
    targets = torch.zeros(rows.shape[:3], dtype=torch.long)
    valid = torch.zeros(rows.shape[:3], dtype=torch.bool)
    for k, pairs in enumerate(sets):
        for u, v in pairs.items():
            targets[0, k, int(u)], valid[0, k, int(u)] = v, True
    align = correspondence_loss(rows, targets, valid, "flat")
    separation = disentanglement_loss(rows, torch.ones_like(valid), "jensen_shannon")
    assert align.item() == pytest.approx(numbers["align"].item(), abs=1e-6)
    assert separation.item() == pytest.approx(numbers["separation"].item(), abs=1e-6)
