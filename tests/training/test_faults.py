"""What a run leaves beside its weights when it is refused or goes astray."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mosaic.training import run as loop_room
from mosaic.training.state import checkpoints
from mosaic.training.stream import Latents, LatentStream

from .test_loop import assert_equal, go, newest


def test_the_recipe_beside_the_weights_is_theirs(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    lora = {"model": {"base": str(tiny_start)}, "train": {"parameters": "lora"}}
    go(tiny_recipe(**lora, lora={"rank": 4}), tmp_path)
    kept = (tmp_path / "recipe.json").read_bytes()
    with pytest.raises(ValueError, match="cannot resume"):
        go(tiny_recipe(**lora, lora={"rank": 2}), tmp_path, resume=True)
    go(tiny_recipe(**lora, lora={"rank": 4}, optimiser={"steps": 2}), tmp_path, resume=True)
    assert (tmp_path / "recipe.json").read_bytes() == kept


def test_a_run_that_diverges_ends_in_words_and_keeps_its_last_good_checkpoint(
    tiny_recipe: Any,
    tiny_start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop_room, "MOST_LOST", 3)
    original = loop_room.training_terms

    def terms(*given: Any, **options: Any) -> Any:
        found, step = original(*given, **options), given[3]
        lost = step in (1, 4, 5, 6)
        return replace(found, terms=found.terms | {"flow": found.terms["flow"] * math.nan}) if lost else found

    monkeypatch.setattr(loop_room, "training_terms", terms)
    recipe = tiny_recipe(
        model={"base": str(tiny_start)}, optimiser={"steps": 9}, output={"checkpoint": 2, "log": 1}
    )
    with pytest.raises(ValueError, match="gradients of the last 3 steps, up to 7, were not finite"):
        go(recipe, tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert [line.split(":")[0] for line in told] == ["step 2", "step 5", "step 6"]
    state = newest(tmp_path)
    assert all(tensor.isfinite().all() for kind in ("masters", "average") for tensor in state[kind].values())


def test_a_run_that_finds_no_sample_saves_its_steps_and_goes_on_to_the_bit(
    tiny_recipe: Any, tiny_start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(
        model={"base": str(tiny_start)},
        optimiser={"steps": 4, "accumulation": 2},
        output={"checkpoint": 4, "log": 1},
    )
    whole = go(recipe, tmp_path / "whole")
    original = LatentStream.__next__

    def draw(self: LatentStream) -> Latents:
        if self.drawn == 7:  # the second half of the last step's batch
            raise ValueError("the shard is damaged.")
        return original(self)

    with monkeypatch.context() as patched:
        patched.setattr(LatentStream, "__next__", draw)
        with pytest.raises(ValueError, match="the shard is damaged"):
            go(recipe, tmp_path / "parts")
    assert [path.name for path in checkpoints(tmp_path / "parts" / "checkpoints")] == ["step-00000003"]
    assert go(recipe, tmp_path / "parts", resume=True) == whole
    assert_equal(newest(tmp_path / "parts"), newest(tmp_path / "whole"))
