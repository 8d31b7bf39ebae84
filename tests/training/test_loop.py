"""The loop on a renderer that costs nothing: resumes to the bit, learns, leaves the base alone."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mosaic.training import run as loop_room
from mosaic.training import saving
from mosaic.training.latents import prepare_latents
from mosaic.training.recipe import Recipe
from mosaic.training.run import train_recipe
from mosaic.training.state import checkpoints
from mosaic.training.stream import LatentStream

from .fake_world import fake_batches


def go(recipe: Recipe, output: Path, **options: Any) -> list[dict[str, float]]:
    train_recipe(recipe, output, render=fake_batches, **options)
    return records(output)


def records(output: Path) -> list[dict[str, float]]:
    """The log without the clock."""
    lines = (output / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "samples_a_second"} for line in lines]


def newest(output: Path) -> dict[str, dict[str, torch.Tensor]]:
    path = checkpoints(output / "checkpoints")[-1]
    return {file.stem: load_file(file) for file in path.glob("*.safetensors")}


def assert_equal(a: dict[str, dict[str, torch.Tensor]], b: dict[str, dict[str, torch.Tensor]]) -> None:
    assert a.keys() == b.keys()
    for kind, tensors in a.items():
        assert tensors.keys() == b[kind].keys()
        assert all(torch.equal(tensor, b[kind][name]) for name, tensor in tensors.items()), kind


class Killed(BaseException):
    """As sudden as SIGKILL: nothing handles it."""


def test_five_steps_twice_are_equal_to_the_bit(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        model={"base": str(tiny_start), "dtype": "bfloat16"}, optimiser={"steps": 5, "batch": 2}
    )
    first, second = (go(recipe, tmp_path / name) for name in "ab")
    assert first == second
    assert len(first) == 5
    assert_equal(newest(tmp_path / "a"), newest(tmp_path / "b"))


@pytest.mark.parametrize(("parameters", "kill"), [("base", 1), ("base", 4), ("lora", 2), ("lora", 5)])
def test_a_killed_run_resumes_to_the_bit(
    parameters: str,
    kill: int,
    tiny_recipe: Any,
    tiny_start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        train={"parameters": parameters},
        data={"dropout": {"text": 0.2, "references": 0.2, "both": 0.1}, "cache": str(tmp_path / "latents")},
        optimiser={"accumulation": 2, "warmup": 3, "schedule": "cosine", "ema": 0.9},
        output={"checkpoint": 2, "log": 1, "gradient_norms": 2},
    )
    whole = go(recipe, tmp_path / "whole")
    kill_in_step(monkeypatch, kill)
    with pytest.raises(Killed):
        go(recipe, tmp_path / "cut")
    monkeypatch.undo()
    assert go(recipe, tmp_path / "cut", resume=True) == whole
    assert_equal(newest(tmp_path / "cut"), newest(tmp_path / "whole"))


def test_a_trained_base_says_how_its_references_are_run(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mosaic.pipeline import load
    from mosaic.sample import Reference, Subject

    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        train={"parameters": "base"},
        references={"visibility": "isolated", "canvas": "letterbox"},
    )
    go(recipe, tmp_path / "run")
    pipeline = load(tmp_path / "run" / "model")
    assert str(pipeline.run_as.visibility) == "isolated"
    assert pipeline.run_as.canvas_size == recipe.data.reference_size
    grey = np.full((100, 80, 3), 128, np.uint8)
    toy = Reference(subject=Subject(id="toy", name="toy"), image=grey, mask=np.ones((100, 80), bool))
    (encoded,) = pipeline.encode_references([toy], (64, 64))
    side = recipe.data.reference_size // 16
    assert (encoded.grid.height, encoded.grid.width) == (side, side)
    pipeline("a toy", [encoded], steps=1)
    assert "no LoRA" not in caplog.text


def kill_in_step(monkeypatch: pytest.MonkeyPatch, kill: int) -> None:
    original = loop_room.MasterAdamW.step

    def step(self: Any) -> float:
        if self.steps == kill:
            raise Killed
        return original(self)

    monkeypatch.setattr(loop_room.MasterAdamW, "step", step)


def test_a_kill_in_the_middle_of_a_save_leaves_the_last_good_checkpoint(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)}, data={"cache": str(tmp_path / "latents")})
    whole = go(recipe, tmp_path / "whole")
    from mosaic.training import state

    original, calls = state.save_file, []

    def save_file(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 8:  # in the second checkpoint
            raise Killed
        original(*arguments)

    monkeypatch.setattr(state, "save_file", save_file)
    with pytest.raises(Killed):
        go(recipe, tmp_path / "cut")
    monkeypatch.undo()
    assert [path.name for path in checkpoints(tmp_path / "cut" / "checkpoints")] == ["step-00000002"]
    assert go(recipe, tmp_path / "cut", resume=True) == whole
    assert_equal(newest(tmp_path / "cut"), newest(tmp_path / "whole"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    number: signal.Signals,
    tiny_recipe: Any,
    tiny_start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)}, output={"checkpoint": 100, "log": 1})
    original = loop_room.MasterAdamW.step

    def step(self: Any) -> float:
        if self.steps == 2:
            os.kill(os.getpid(), number)
        return original(self)

    monkeypatch.setattr(loop_room.MasterAdamW, "step", step)
    if number == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            go(recipe, tmp_path)
    else:
        go(recipe, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["step-00000003"]
    assert len(go(recipe, tmp_path, resume=True)) == 6


def test_resume_starts_from_nothing_when_nothing_is_there(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    assert len(go(tiny_recipe(model={"base": str(tiny_start)}), tmp_path, resume=True)) == 6


def test_a_finished_run_says_that_it_is_finished(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)})
    go(recipe, tmp_path)
    capsys.readouterr()
    go(recipe, tmp_path, resume=True)
    assert "already at step 6: raise optimiser.steps" in capsys.readouterr().err


def test_a_second_run_does_not_overwrite_the_first(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)})
    go(recipe, tmp_path)
    with pytest.raises(ValueError, match="--resume"):
        go(recipe, tmp_path)


def test_resume_with_another_rank_is_refused(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    changes = {"model": {"base": str(tiny_start)}, "train": {"parameters": "lora"}}
    go(tiny_recipe(**changes), tmp_path)
    with pytest.raises(ValueError, match=r"rank is 4 in the checkpoint and 2 here .*: set lora\.rank=4"):
        go(tiny_recipe(**changes, lora={"rank": 2}), tmp_path, resume=True)


def test_the_loss_decreases_when_two_samples_are_learnt_by_heart(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        data={"subjects": {1: 1}, "samples": 4, "dropout": {"text": 0, "references": 0, "both": 0}},
        optimiser={"steps": 20, "batch": 4, "lr": 5e-3},
        loss={"beta": 0},
        output={"checkpoint": 20, "log": 1},
    )
    log = go(recipe, tmp_path)
    for name in ("loss/flow", "loss/sca"):
        assert sum(record[name] for record in log[-5:]) < 0.9 * sum(record[name] for record in log[:5]), name


def test_lora_training_leaves_the_base_to_the_bit(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)}, train={"parameters": "lora"})
    run = loop_room.prepare(recipe, tmp_path, "test", fake_batches)
    before = {name: p.detach().clone() for name, p in run.model.transformer.named_parameters()}
    loop_room.loop(run, loop_room.Stop())
    after = dict(run.model.transformer.named_parameters())
    changed = {name for name, parameter in before.items() if not torch.equal(parameter, after[name])}
    unused = {
        name for name in before if name.startswith("single_transformer_blocks.0.proj")
    }  # nothing reads the
    assert (
        set(run.model.trained) - unused <= changed <= set(run.model.trained)
    )  # references after the last block
    assert all(".lora_" in name for name in changed)
    assert (tmp_path / "lora.safetensors").is_file()
    assert not (tmp_path / "model").exists()


def test_the_lora_says_how_it_must_be_run(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        train={"parameters": "lora"},
        references={"visibility": "isolated", "pooled": "null", "canvas": "letterbox"},
        optimiser={"steps": 1, "batch": 1},
    )
    go(recipe, tmp_path, name="cell")
    from safetensors import safe_open

    from mosaic.model.lora import LoraMetadata

    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        found = LoraMetadata.from_strings(file.metadata())
    assert (str(found.visibility), found.reference_pooled, found.canvas) == ("isolated", "null", "letterbox")
    assert (found.canvas_size, found.recipe, found.assumed) == (32, "cell", False)


def test_a_base_run_publishes_a_folder_that_loads(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    go(tiny_recipe(model={"base": str(tiny_start)}), tmp_path)
    from mosaic.training.text import TextEncoders

    folder = tmp_path / "model"
    assert folder.is_dir() and not folder.is_symlink()
    assert not list(tmp_path.glob(".model*"))
    text, pooled = TextEncoders.from_folder(folder, torch.float32)(["A bear!", ""])
    assert text.shape == (2, 8, 32) and pooled.shape == (2, 32)
    average = newest(tmp_path)["average"]
    published = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(value, average[f"transformer.{name}"]) for name, value in published.items())


def test_old_checkpoints_go(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    go(tiny_recipe(model={"base": str(tiny_start)}, output={"checkpoint": 1, "keep": 3}), tmp_path)
    assert [path.name[-1] for path in checkpoints(tmp_path / "checkpoints")] == ["4", "5", "6"]


def test_a_resumed_run_says_what_changed_in_its_recipe(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(tiny_recipe(model={"base": str(tiny_start)}), tmp_path)
    go(tiny_recipe(model={"base": str(tiny_start)}, optimiser={"steps": 8}), tmp_path, resume=True)
    assert "resuming with optimiser.steps = 8, which was 6" in capsys.readouterr().err
    assert len(records(tmp_path)) == 8


def test_a_kill_before_the_final_files_is_made_good(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)}, output={"checkpoint": 100})

    def killed(_: Any) -> None:
        raise Killed

    monkeypatch.setattr(saving, "publish", killed)
    with pytest.raises(Killed):
        go(recipe, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "model").exists()
    go(recipe, tmp_path, resume=True)
    assert (tmp_path / "model" / "model_index.json").is_file()


def test_pictures_are_drawn_and_change_nothing(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    outputs = {"checkpoint": 6, "log": 1}
    plain = go(tiny_recipe(model={"base": str(tiny_start)}, output=outputs), tmp_path / "plain")
    drawn = tiny_recipe(model={"base": str(tiny_start)}, output=outputs | {"pictures": 3, "picture_steps": 2})
    train_recipe(drawn, tmp_path / "drawn", render=fake_batches)
    assert records(tmp_path / "drawn") == plain
    assert [path.name for path in sorted((tmp_path / "drawn" / "pictures").iterdir())] == [
        "step-00000003.png",
        "step-00000006.png",
    ]


def test_a_validation_sees_the_average_and_is_logged(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)}, output={"checkpoint": 6, "log": 6, "validation": 2})
    seen = []

    def validate(run: loop_room.Run) -> dict[str, float]:
        name, parameter = next(iter(run.model.trained.items()))
        assert torch.equal(parameter, run.optimiser.average[name])
        seen.append(run.step)
        return {"identity": run.step / 10}

    log = go(recipe, tmp_path / "run", validate=validate)
    assert seen == [2, 4, 6]
    assert [r["validation/identity"] for r in log if "validation/identity" in r] == [0.2, 0.4, 0.6]


def test_processes_share_each_batch_in_order(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    data = tiny_recipe(data={"detailed": 0.5, "samples": 8, "shard": 4}).data
    prepare_latents(tmp_path, data, tiny_start / "vae", fake_batches)
    whole = LatentStream(tmp_path, data, 6, seed=3)
    for world in (2, 3):
        parts = [LatentStream(tmp_path, data, 6 // world, 3, rank, world) for rank in range(world)]
        whole.load_state_dict({"drawn": 0, "taken": {}})
        for _ in range(7):
            one, shares = next(whole), [next(part) for part in parts]
            assert one.captions == [caption for share in shares for caption in share.captions]
            for name in ("target", "points_reference", "points_valid", "subjects"):
                assert torch.equal(getattr(one, name), torch.cat([getattr(share, name) for share in shares]))
        assert all(part.state_dict() == whole.state_dict() for part in parts)
