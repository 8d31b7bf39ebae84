"""One micro-step: dropout, supervised points, directions, accuracy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mosaic.geometry import Grid
from mosaic.training import run as loop_room
from mosaic.training.accuracy import probe_accuracy
from mosaic.training.recipe import Dropout, LossSection
from mosaic.training.step import drop, md_weight, seeded, supervised_points, training_terms
from mosaic.training.stream import Latents

from .fake_world import fake_batches


@pytest.fixture
def started(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> tuple[loop_room.Run, Latents]:
        recipe = tiny_recipe(
            model={"base": str(tiny_start)},
            **{"data": {"subjects": {2: 1}, "dropout": {"text": 0, "references": 0, "both": 0}}} | changes,
        )
        run = loop_room.prepare(recipe, tmp_path, "test", fake_batches)
        return run, next(run.stream)

    return make


def test_dropped_references_take_part_in_no_loss(started: Any) -> None:
    run, latents = started(data={"subjects": {2: 1}, "dropout": {"text": 0, "references": 1, "both": 0}})
    terms = training_terms(run.model, latents, run.recipe, 0)
    assert terms.terms.keys() == {"flow"}
    assert terms.accuracies() == {}
    other = replace(latents, references=torch.randn_like(latents.references))
    assert torch.equal(terms.loss, training_terms(run.model, other, run.recipe, 0).loss)


def test_a_sample_without_valid_points_has_no_attention_loss(started: Any) -> None:
    run, latents = started()
    blind = replace(latents, points_valid=torch.zeros_like(latents.points_valid))
    raw = training_terms(run.model, blind, run.recipe, 0).raw()
    assert raw["sca"] == 0 and raw["md"] == 0


def test_padded_points_do_not_matter(started: Any) -> None:
    run, latents = started()
    moved = replace(latents, points_target=latents.points_target.where(latents.points_valid, 3))
    a, b = (training_terms(run.model, x, run.recipe, 0).raw() for x in (latents, moved))
    assert a == b


@pytest.mark.parametrize("direction", ["ref_to_target", "target_to_ref"])
def test_both_directions_train(started: Any, direction: str) -> None:
    run, latents = started(loss={"direction": direction})
    terms = training_terms(run.model, latents, run.recipe, 0)
    assert set(terms.terms) == {"flow", "sca", "md"}
    terms.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in run.model.trained.values() if p.grad is not None)


def test_target_to_ref_labels_are_equation_9() -> None:
    latents = Latents(
        target=torch.zeros(1, 16, 4, 4),
        references=torch.zeros(1, 3, 16, 4, 4),
        points_reference=torch.tensor([[[1], [2], [3]]]),
        points_target=torch.tensor([[[0], [1], [2]]]),
        points_valid=torch.ones(1, 3, 1, dtype=torch.bool),
        captions=[""],
    )
    points = supervised_points(latents, LossSection(direction="target_to_ref"), torch.device("cpu"))
    assert points is not None
    assert points.labels.flatten().tolist() == [1, 4 + 2, 8 + 3]
    assert points.tokens.flatten().tolist() == [0, 1, 2]


def test_md_over_all_rows_keeps_the_points_of_sca(started: Any) -> None:
    run, latents = started()
    whole = run.recipe.model_copy(update={"loss": run.recipe.loss.model_copy(update={"md_rows": "all"})})
    a, b = (training_terms(run.model, latents, recipe, 0).raw() for recipe in (run.recipe, whole))
    assert a["sca"] == pytest.approx(b["sca"], rel=1e-5)
    assert a["md"] != b["md"]


def test_dropout_has_the_shares_of_the_recipe() -> None:
    dropout, counts = Dropout(references=0.2, text=0.1, both=0.15), {"shown": 0, "silent": 0, "both": 0}
    for step in range(4000):
        shown, captions = drop(["x"], dropout, seeded(1, step), [seeded(1, step, 0, 1)])
        counts["shown"] += shown
        counts["silent"] += captions == [""]
        counts["both"] += not shown and captions == [""]
    assert counts["shown"] / 4000 == pytest.approx(0.65, abs=0.03)
    assert counts["silent"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert counts["both"] / 4000 == pytest.approx(0.15, abs=0.03)


def test_md_grows_after_its_start() -> None:
    loss = LossSection(beta=1.0, md_start=10, md_ramp=4)
    assert [md_weight(loss, step) for step in (0, 9, 10, 11, 14, 99)] == [0, 0, 0, 0.25, 1, 1]
    assert md_weight(LossSection(beta=0.6), 0) == 0.6


def test_accuracy_counts_exact_and_near_hits() -> None:
    grid, labels = Grid(3, 4), torch.tensor([[[0, 5, 11, 0]]])
    rows = torch.zeros(1, 1, 4, 12)
    for row, peak in enumerate((0, 10, 0, 7)):
        rows[0, 0, row, peak] = 1
    found = probe_accuracy(rows, labels, torch.tensor([[[True, True, True, False]]]), grid)
    assert found is not None
    assert (found.exact, found.near) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found.chance, found.chance_near) == (pytest.approx(1 / 12), pytest.approx((4 + 9 + 4) / 3 / 12))


def test_near_stays_in_its_reference() -> None:
    rows = torch.zeros(1, 1, 1, 8)
    rows[..., 4] = 1
    found = probe_accuracy(rows, torch.tensor([[[3]]]), torch.ones(1, 1, 1, dtype=torch.bool), Grid(2, 2))
    assert found is not None and found.near == 0
