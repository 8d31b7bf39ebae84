from dataclasses import dataclass, replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout, Visibility, raster
from mosaic.model.lora import lora_parameters
from mosaic.model.mixed import Inputs, forward_mixed, split
from mosaic.objectives import correspondence_loss, disentanglement_loss, flow_matching_loss

from .tiny import SIZES, TARGET, TEXT, error, inputs, layout, pick, transformer


def probed(one: Inputs, points: int = 5, **options: object) -> Inputs:
    torch.manual_seed(3)
    sizes = [grid.size for grid in one.layout.references]
    if options.get("direction") == "target_to_ref":
        sizes = [one.layout.target.size] * len(sizes)
    tokens = torch.stack([torch.randint(size, (len(one.target), points)) for size in sizes], dim=1)
    return replace(one, probe=Probe(tokens=tokens, **options))  # type: ignore[arg-type]


# ---------------------------------------------------------------- checkpointing


def losses(one: Inputs, checkpointing: bool) -> tuple[list[float], Tensor]:
    """The three losses, and the gradient norm of each low-rank weight."""
    model = transformer().train()
    if checkpointing:
        model.enable_gradient_checkpointing()
    out = one.run(model)
    assert out.rows is not None
    torch.manual_seed(4)
    valid = torch.rand(out.rows.shape[:3]) < 0.8
    labels = torch.randint(out.rows.shape[-1], valid.shape)
    noise, clean = torch.randn(2, *out.velocity.shape)
    terms = [
        flow_matching_loss(out.velocity, noise, clean),
        correspondence_loss(out.rows, labels, valid),
        disentanglement_loss(out.rows, valid),
    ]
    torch.stack(terms).sum().backward()
    norms = torch.stack([p.grad.norm() for p in lora_parameters(model) if p.grad is not None])
    return [float(term.detach()) for term in terms], norms


@pytest.mark.parametrize("direction", ["ref_to_target", "target_to_ref"])
def test_checkpointing_changes_nothing(direction: str) -> None:
    one = probed(inputs(layout()), direction=direction)
    (plain, norms), (checkpointed, norms2) = losses(one, False), losses(one, True)
    assert all(abs(a - b) <= 1e-5 * abs(a) for a, b in zip(plain, checkpointed, strict=True))
    assert len(norms) == len(norms2) > 0
    assert float(((norms - norms2) / norms.clamp(min=1e-12)).abs().max()) <= 1e-5


def test_only_one_copy_of_the_rows_is_kept() -> None:
    out = probed(inputs(layout())).run(transformer())
    assert out.rows is not None and out.block_rows is None
    out = probed(inputs(layout()), per_block=True).run(transformer())
    assert out.block_rows is not None and error(out.block_rows.mean(0), out.rows) < 1e-6


def test_rows_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are computed a few at a time: the same values and gradients."""

    def run() -> tuple[Tensor, Tensor]:
        model = transformer()
        rows = probed(inputs(layout()), points=7).run(model).rows
        assert rows is not None
        rows.square().sum().backward()
        return rows, torch.cat([p.grad.flatten() for p in lora_parameters(model) if p.grad is not None])

    whole = run()
    monkeypatch.setattr("mosaic.model.attention.CHUNK", 5 * 2 * 2 * TARGET.size)
    chunked = run()
    assert error(whole[0], chunked[0]) < 1e-6 and error(whole[1], chunked[1]) < 1e-5


# ---------------------------------------------------------------- mixed batches


def test_mixed_batch() -> None:
    """K = 0, 1, 3 and several sizes in one batch: each sample gets what it gets alone."""
    layouts = [
        layout(()),
        layout(SIZES[:3]),
        layout(SIZES[:1]),
        layout((SIZES[1], SIZES[0], SIZES[3])),
        layout(()),
        layout(SIZES[:3]),
        layout(SIZES[1:2]),
    ]
    samples = [inputs(each, batch=1, seed=i) for i, each in enumerate(layouts)]
    samples = [probed(one) if one.references else one for one in samples]
    model = transformer()
    for one, out in zip(samples, forward_mixed(model, samples), strict=True):
        alone = one.run(model)
        assert error(out.velocity, alone.velocity) <= 1e-5
        assert (out.rows is None) == (not one.references)
        if out.rows is not None:
            assert error(out.rows, alone.rows) <= 1e-5


def test_mixed_batch_runs_one_pass_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    run = Inputs.run
    monkeypatch.setattr(Inputs, "run", lambda self, model: sizes.append(len(self.target)) or run(self, model))
    samples = [inputs(layout(SIZES[:k]), batch=b) for k, b in ((1, 1), (2, 2), (1, 3), (2, 1))]
    outs = forward_mixed(transformer(), samples)
    assert sorted(sizes) == [3, 4]
    assert [len(out.velocity) for out in outs] == [1, 2, 3, 1]


def test_samples_of_a_batch_do_not_mix() -> None:
    one = probed(inputs(layout(), batch=3), per_block=True)
    model = transformer()
    for i, part in enumerate(split(one.run(model), [1, 1, 1])):
        alone = pick(one, i).run(model)
        assert error(part.velocity, alone.velocity) < 1e-5
        assert error(part.block_rows, alone.block_rows) < 1e-5


# ---------------------------------------------------------------- permutations


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(TokenLayout):
    """A layout whose references stand where a test wants them, even on the same place."""

    corners: tuple[tuple[int, int, int], ...] = ()

    def reference_ids(self):  # type: ignore[no-untyped-def]
        for grid, corner in zip(self.references, self.corners, strict=True):
            yield raster(grid) + torch.tensor(corner)


def placed(corners: tuple[tuple[int, int, int], ...], visibility: Visibility) -> Placed:
    grids = tuple(SIZES[i] for i in range(len(corners)))
    return Placed(text=TEXT, target=TARGET, references=grids, corners=corners, visibility=visibility)


@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("equal", [True, False])
def test_permuted_references(visibility: Visibility, equal: bool) -> None:
    """Order is nothing but positions: where these move along or are all the same, the target stays."""
    corners = ((0, 0, -9),) * 3 if equal else ((0, 0, -4), (0, 0, -6), (1, 2, -9))
    one = probed(inputs(placed(corners, visibility)))
    model = transformer()
    expected = one.run(model)
    for order in permutations(range(3)):
        moved = replace(
            one.layout,
            references=tuple(one.layout.references[i] for i in order),
            corners=tuple(corners[i] for i in order),  # type: ignore[call-arg]
        )
        assert one.probe is not None and expected.rows is not None
        out = replace(
            one,
            layout=moved,
            references=tuple(one.references[i] for i in order),
            probe=replace(one.probe, tokens=one.probe.tokens[:, list(order)]),
        ).run(model)
        assert error(out.velocity, expected.velocity) < 1e-5
        assert error(out.rows, expected.rows[:, list(order)]) < 1e-5


def test_position_matters() -> None:
    one = inputs(layout((SIZES[0], SIZES[0])))
    swapped = replace(one, references=one.references[::-1])
    assert error(one.run(transformer()).velocity, swapped.run(transformer()).velocity) > 1e-4


# ---------------------------------------------------------------- backends, mistakes


def test_backends_agree() -> None:
    one, model = probed(inputs(layout())), transformer()
    expected = one.run(model)
    model.use_attention("math")
    out = one.run(model)
    assert error(out.velocity, expected.velocity) < 1e-5 and error(out.rows, expected.rows) < 1e-6
    with pytest.raises(ValueError, match="flash"):
        model.use_attention("flash")


@pytest.mark.slow
def test_compiled_blocks_agree() -> None:
    """One graph a block kind, with LoRA, probe and gradients."""
    one = probed(inputs(layout(SIZES[:2])))
    results = []
    for compiled in (False, True):
        model = transformer()
        if compiled:
            model.compile_blocks(fullgraph=True)
        out = one.run(model)
        assert out.rows is not None
        (out.velocity.square().sum() + out.rows.square().sum()).backward()
        grads = [p.grad for p in lora_parameters(model) if p.grad is not None]
        results.append((out, torch.cat([g.flatten() for g in grads])))
    (eager, grads), (compiled_, grads2) = results
    assert error(eager.velocity, compiled_.velocity) < 1e-4 and error(eager.rows, compiled_.rows) < 1e-5
    assert float((grads - grads2).norm() / grads.norm()) < 1e-4


def test_mistakes_are_named() -> None:
    model, one = transformer(), inputs(layout())
    wrong: list[tuple[Inputs, str]] = [
        (replace(one, references=one.references[:1]), "reference tokens"),
        (replace(one, target=one.target[:, 1:]), "target"),
        (replace(one, guidance=None), "guidance"),
        (replace(one, probe=Probe(tokens=torch.zeros(2, 3, 1, dtype=torch.long))), "references"),
        (replace(one, probe=Probe(tokens=torch.full((2, 4, 1), 6))), "on their grids"),
        (probed(one, blocks=(4,)), "blocks 0…3"),
        (probed(one, direction="sideways"), "sideways"),
    ]
    for inputs_, word in wrong:
        with pytest.raises(ValueError, match=word):
            inputs_.run(model)
    with pytest.raises(ValueError, match="guidance"):
        replace(one, guidance=torch.ones(2)).run(transformer(guidance_embeds=False))


@pytest.mark.parametrize("visibility", list(Visibility))
def test_the_last_block_leaves_out_what_nobody_reads(visibility: Visibility) -> None:
    """Without gradients, or without LoRA, it computes the target's tokens alone: the same numbers."""
    one, model = probed(inputs(layout(visibility=visibility))), transformer()
    whole = one.run(model)
    with torch.no_grad():
        short = one.run(model)
    assert error(short.velocity, whole.velocity) < 1e-5 and error(short.rows, whole.rows) < 1e-6
    whole.velocity.sum().backward()
    assert all(p.grad is not None for p in lora_parameters(model))
    base = transformer(lora=0)
    one.run(base).velocity.sum().backward()
    assert all(p.grad is not None for p in base.parameters())


def test_any_size_and_many_references() -> None:
    grids = tuple(Grid(h, w) for h in (1, 2, 3) for w in (1, 5, 2))
    out = probed(inputs(TokenLayout(text=1, target=Grid(1, 7), references=grids), batch=1)).run(transformer())
    assert out.velocity.isfinite().all() and out.rows is not None and out.rows.shape == (1, 9, 5, 7)
