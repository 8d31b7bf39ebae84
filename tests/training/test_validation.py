"""Validation during a run: the same samples and noise each time, the best weights kept, blocks one by one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from mosaic.training.pictures import decode, preview_sheet, sample_latents, shown
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
    first, second = Validation(run)(run), Validation(run)(run)
    assert first == second
    with torch.no_grad():
        next(iter(run.model.trained.values())).add_(0.3)
    torch.nn.init.normal_(list(run.model.trained.values())[1], std=0.3)
    assert Validation(run)(run)["flow"] != first["flow"]


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
    keep_best(run, {"flow": 0.5})
    before = (tmp_path / "best.safetensors").read_bytes()
    torch.nn.init.normal_(list(run.model.trained.values())[1], std=0.3)
    for worse in (0.6, float("nan")):
        keep_best(run, {"flow": worse})
        assert json.loads((tmp_path / "best.json").read_text())["flow"] == 0.5
        assert (tmp_path / "best.safetensors").read_bytes() == before


def test_the_best_of_another_attempt_is_forgotten(recipe: Any, tmp_path: Path) -> None:
    """It never reached a checkpoint, so another recipe may begin in its folder."""
    earlier = prepare(recipe, tmp_path, "earlier", fake_batches)
    earlier.optimiser.steps = 2
    keep_best(earlier, {"flow": -1.0})
    train_recipe(recipe, tmp_path, render=fake_batches)
    assert json.loads((tmp_path / "best.json").read_text())["flow"] > 0
    kept = (tmp_path / "best.json").read_bytes()
    longer = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"steps": 7})})
    train_recipe(longer, tmp_path, render=fake_batches, resume=True)
    assert (tmp_path / "best.json").read_bytes() == kept


def test_a_wrong_path_of_held_out_samples_is_told_before_the_first_step(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    entry = {"target": "a.png", "caption": "a", "references": [{"name": "a", "picture": "a.png"}]}
    (tmp_path / "samples.json").write_text(json.dumps([entry]))
    data = {"source": "folder", "path": str(tmp_path), "validation": str(tmp_path / "nowhere")}
    recipe = tiny_recipe(model={"base": str(tiny_start)}, data=data, output={"validation": 100})
    with pytest.raises(ValueError, match=r"^data.validation: cannot read .*nowhere"):
        train_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


@pytest.mark.parametrize("source", ["shards", "folder"])
@pytest.mark.parametrize("key", ["path", "validation"])
def test_data_that_is_not_there_is_told_before_a_base_is_sought(
    tiny_recipe: Any, tmp_path: Path, source: str, key: str
) -> None:
    (tmp_path / "samples.json").write_text("[]")
    (tmp_path / "0.tar").touch()
    data = {"source": source, "path": str(tmp_path), "validation": str(tmp_path)}
    recipe = tiny_recipe(model={"base": "no/model"}, data=data | {key: str(tmp_path / "nowhere")})
    with pytest.raises(ValueError, match=rf"^data.{key}: .*nowhere"):
        train_recipe(recipe, tmp_path / "run")


def test_pictures_are_of_the_held_out_samples(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    for name, color in {"a": "red", "b": "blue"}.items():
        Image.new("RGB", (64, 32), color).save(tmp_path / f"{name}.png")
    entry = {"target": "a.png", "caption": "a", "references": [{"name": "a", "picture": "b.png"}]}
    (tmp_path / "samples.json").write_text(json.dumps([entry]))
    data = {"source": "folder", "path": str(tmp_path), "validation": str(tmp_path), "aspects": [2.0]}
    recipe = tiny_recipe(
        model={"base": str(tiny_start)}, data=data, optimiser={"batch": 2}, output={"picture_steps": 1}
    )
    run = prepare(recipe, tmp_path / "run", "test", None)
    batch = next(held_out(recipe, run.model, tmp_path / "run", None))
    sheet, again = (
        preview_sheet(run.model, recipe, shown(run.model, recipe, tmp_path / "run")) for _ in range(2)
    )
    assert np.array_equal(sheet, again)
    vae = AutoencoderKL.from_pretrained(run.model.folder / "vae")
    with torch.no_grad():
        true = decode(vae, batch.target)[0]
    height, width = true.shape[:2]
    assert len(sheet) == 4 * height  # rows: four samples, the one there is again and again
    assert np.array_equal(sheet[:height, -2 * width : -width], true)


def test_a_picture_begun_below_pure_noise_keeps_of_the_target_what_shines_through(
    recipe: Any, tmp_path: Path
) -> None:
    run = prepare(recipe, tmp_path, "test", fake_batches)
    batch = next(held_out(recipe, run.model, tmp_path, fake_batches))
    far = [
        float((sample_latents(run.model, batch, recipe, begin=level).detach() - batch.target).abs().mean())
        for level in (0.001, 0.5, 1.0)
    ]
    assert far[0] < 0.01 < far[1] < far[2]


def test_a_base_without_references_is_validated(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    data = {"subjects": {0: 1.0}, "samples": {0: 4}}
    output = {"validation": 1, "validation_batches": 1}
    recipe = tiny_recipe(
        model={"base": str(tiny_start)}, data=data, output=output, optimiser={"steps": 1, "batch": 2}
    )
    train_recipe(recipe, tmp_path, render=fake_batches)
    assert json.loads((tmp_path / "best.json").read_text())["flow"] > 0
    with pytest.raises(ValueError, match=r"a LoRA is trained on references: give data.subjects a K above 0"):
        tiny_recipe(data=data, train={"parameters": "lora"})


@pytest.mark.parametrize("key", ["validation", "pictures"])
def test_shards_need_a_path_of_held_out_samples(tiny_recipe: Any, key: str) -> None:
    with pytest.raises(ValueError, match=rf"output.{key} needs data.validation"):
        tiny_recipe(data={"source": "shards", "path": "x.tar"}, output={key: 2})


@pytest.mark.parametrize("source", ["toybox", "endless-toybox"])
def test_toys_are_validated_by_toys(tiny_recipe: Any, source: str) -> None:
    with pytest.raises(ValueError, match=r"data.validation is for shards and folders"):
        tiny_recipe(data={"source": source, "validation": "x.tar"})
