"""Runs that die, at any moment: what they leave is whole, and a resumed run is equal to the last bit."""

import errno
import multiprocessing
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mosaic.training import run as loop_room
from mosaic.training import saving, state
from mosaic.training.recipe import recipe_of
from mosaic.training.run import main, train_recipe
from mosaic.training.state import checkpoints, load_checkpoint

from . import victim
from .fake_world import TINY, fake_batches
from .test_loop import assert_equal, newest, records

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["mosaic.training.run", "torch.utils.tensorboard"])  # loaded once


def start(table: dict[str, Any], output: Path, deadly: int = 0) -> Any:
    process = SERVER.Process(target=victim.live, args=(table, output, deadly))
    process.start()
    return process


def end(process: Any, expected: int) -> None:
    process.join(120)
    assert process.exitcode == expected


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, tiny_start: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("kill")
    return TINY | {
        "model": {"base": str(tiny_start), "dtype": "bfloat16"},
        "train": {"parameters": "lora"},
        "data": TINY["data"] | {"cache": str(folder / "latents"), "detailed": 0.5},
        "optimiser": {"steps": 8, "batch": 1, "accumulation": 2, "ema": 0.9, "schedule": "cosine"},
        "output": {"log": 1, "checkpoint": 1, "keep": 2, "gradient_norms": 3},
    }


@pytest.fixture(scope="module")
def whole(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left in peace."""
    output = tmp_path_factory.mktemp("kill") / "whole"
    end(start(table, output), 0)
    return output


def assert_same(output: Path, whole: Path) -> None:
    assert records(output) == records(whole)
    assert len(records(output)) == 8
    assert_equal(newest(output), newest(whole))
    first, second = (load_file(folder / "lora.safetensors") for folder in (output, whole))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def killed_at_operations(table: dict[str, Any], whole: Path, output: Path, kills: int, seed: int) -> None:
    """One run, killed again and again, each time at another operation on a file; then let alone."""
    draw = random.Random(seed)
    operations = int(whole.with_suffix(".count").read_text())
    for _ in range(kills):
        process = start(table, output, draw.randint(1, operations // 2))
        process.join(120)
        assert process.exitcode in (-signal.SIGKILL, 0)
        for path in checkpoints(output / "checkpoints"):
            load_checkpoint(path)  # whatever has the name of a checkpoint is whole
    end(start(table, output), 0)


def test_killed_at_any_file_operation_it_goes_on_to_the_bit(
    table: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    killed_at_operations(table, whole, tmp_path / "cut", kills=7, seed=1)
    assert_same(tmp_path / "cut", whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_killed_at_many_file_operations(
    seed: int, table: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    killed_at_operations(table, whole, tmp_path / "cut", kills=20, seed=seed)
    assert_same(tmp_path / "cut", whole)


def killed_at_times(table: dict[str, Any], output: Path, kills: int, seed: int) -> None:
    """As above, at random moments after a first step was logged."""
    draw = random.Random(seed)
    for _ in range(kills):
        process = start(table, output)
        began = len(records(output)) if (output / "log.jsonl").exists() else 0
        while process.is_alive() and not ((output / "log.jsonl").exists() and len(lines(output)) > began):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.join(120)
    end(start(table, output), 0)


def lines(output: Path) -> list[str]:
    return (output / "log.jsonl").read_text().splitlines()


def test_killed_at_random_times_it_goes_on_to_the_bit(
    table: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    killed_at_times(table, tmp_path / "cut", kills=3, seed=1)
    assert_same(tmp_path / "cut", whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_killed_at_many_times(seed: int, table: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    killed_at_times(table, tmp_path / "cut", kills=10, seed=seed)
    assert_same(tmp_path / "cut", whole)


# ---------------------------------------------------------------- full disks


def full_from(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From this step on no file can grow beyond 64 KiB: the operating system itself refuses the write."""
    original = loop_room.MasterAdamW.step

    def limited(self: Any) -> float:
        if self.steps == step:
            monkeypatch.setattr(saving, "save_checkpoint", within_limit)
        return original(self)

    def within_limit(*arguments: Any) -> Any:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            return state.save_checkpoint(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    monkeypatch.setattr(loop_room.MasterAdamW, "step", limited)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    table: dict[str, Any], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = table | {"lora": {"rank": 32}, "optimiser": table["optimiser"] | {"steps": 4}}
    full_from(2, monkeypatch)
    with pytest.raises(
        ValueError, match=r"no room left .*step-00000002: free some space .* --resume"
    ) as caught:
        train_recipe(recipe_of(large), tmp_path / "cut", render=fake_batches)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    found = checkpoints(tmp_path / "cut" / "checkpoints")
    assert [path.name for path in found] == ["step-00000001", "step-00000002"]
    assert not list((tmp_path / "cut" / "checkpoints").glob("*.tmp"))
    assert load_checkpoint(found[-1])[1]["step"] == 2
    train_recipe(recipe_of(large), tmp_path / "cut", render=fake_batches, resume=True)
    train_recipe(recipe_of(large), tmp_path / "whole", render=fake_batches)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


@pytest.mark.parametrize("what", ["save_checkpoint", "save_lora_file"])
def test_no_space_anywhere_is_one_sentence_and_status_2(
    what: str,
    table: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, what, no_space)
    monkeypatch.setattr(loop_room, "read_recipe", lambda *_: recipe_of(table))
    monkeypatch.setattr(loop_room, "is_ablation", lambda _: False)
    monkeypatch.setattr("sys.argv", ["train", "recipe.toml", "--output", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert "no room left" in told[-1] and "No space left on device" in told[-1]
    assert not any("Traceback" in line for line in told)


def test_another_error_of_a_file_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), state.full_disk_in_words(tmp_path):
        raise PermissionError(errno.EACCES, "no", "file")


def test_random_states_are_those_of_each_process() -> None:
    world = loop_room.World()
    torch.manual_seed(5)
    kept = saving.random_states(world)
    wanted = torch.rand(3)
    torch.manual_seed(6)
    saving.set_random_states(kept, world)
    assert torch.equal(torch.rand(3), wanted)
