"""Validation during a run: the same samples and noise each time, the best weights kept, blocks one by one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mosaic.training.run import prepare, train_recipe
from mosaic.training.validation import Validation, held_out, keep_best, measure, undisturbed
from tests.training.fake_world import fake_batches


@pytest.fixture
def recipe(tiny_recipe: Any, tiny_start: Path) -> Any:
    output = {"checkpoint": 4, "log": 4, "validation": 2, "validation_batches": 2}
    lora = {"train": {"parameters": "lora"}, "lora": {"rank": 2}}
    return tiny_recipe(model={"base": str(tiny_start)}, output=output, **lora)


def test_a_run_logs_its_validation_and_keeps_the_best_weights(recipe: Any, tmp_path: Path) -> None:
    train_recipe(recipe, tmp_path, render=fake_batches)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    told = {r["step"]: r["validation/flow"] for r in records if "validation/flow" in r}
    assert sorted(told) == [2, 4, 6]
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["step"] == min(told, key=lambda step: told[step]) and best["flow"] == min(told.values())
    assert load_file(tmp_path / "best.safetensors").keys() == load_file(tmp_path / "lora.safetensors").keys()


def test_the_same_weights_get_the_same_figures_again_and_other_weights_others(
    recipe: Any, tmp_path: Path
) -> None:
    run = prepare(recipe, tmp_path, "test", fake_batches)
    first, second = Validation()(run), Validation()(run)
    assert first == second
    with torch.no_grad():
        next(iter(run.model.trained.values())).add_(0.3)
    torch.nn.init.normal_(list(run.model.trained.values())[1], std=0.3)
    assert Validation()(run)["flow"] != first["flow"]


def test_nothing_is_dropped_and_the_training_seed_does_not_matter(recipe: Any, tmp_path: Path) -> None:
    other = recipe.model_copy(update={"seed": 99})
    assert undisturbed(other) == undisturbed(recipe)
    dropout = undisturbed(recipe).data.dropout
    assert dropout.references == dropout.text == dropout.both == 0


def test_each_block_is_told_by_itself_as_a_probe_of_that_block_alone(recipe: Any, tmp_path: Path) -> None:
    run = prepare(recipe, tmp_path, "test", fake_batches)
    batch = next(held_out(recipe, run.model, tmp_path, fake_batches))
    told = measure(run.model, batch, undisturbed(recipe), 0)
    blocks = len(run.model.transformer.transformer_blocks) + len(
        run.model.transformer.single_transformer_blocks
    )
    assert sum(name.endswith("/exact") for name in told) == blocks
    for block in range(blocks):
        alone = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"blocks": (block,)})})
        assert told[f"block{block:02d}/exact"] == measure(run.model, batch, undisturbed(alone), 0)["exact"]


def test_worse_weights_do_not_take_the_place_of_the_best(recipe: Any, tmp_path: Path) -> None:
    run = prepare(recipe, tmp_path, "test", fake_batches)
    assert keep_best(run, {"flow": 0.5})
    before = (tmp_path / "best.safetensors").read_bytes()
    assert not keep_best(run, {"flow": 0.6}) and not keep_best(run, {"flow": float("nan")})
    assert json.loads((tmp_path / "best.json").read_text())["flow"] == 0.5
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_shards_need_a_path_of_held_out_samples(tiny_recipe: Any) -> None:
    with pytest.raises(ValueError, match=r"output.validation needs data.validation"):
        tiny_recipe(data={"source": "shards", "path": "x.tar"}, output={"validation": 2})
