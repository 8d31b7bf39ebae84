"""Two processes of gloo, launched by torchrun, do what one process does on the same global batch."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from mosaic.training import parallel
from mosaic.training.parallel import World
from mosaic.training.recipe import Recipe, recipe_of
from mosaic.training.run import train_recipe
from mosaic.training.state import checkpoints

from .fake_world import TINY, fake_batches
from .test_loop import records

ROOT = Path(__file__).parents[2]
EXACT = 1e-8
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def table(start: Path, cache: Path, batch: int, parallel: str = "ddp") -> dict[str, Any]:
    return TINY | {
        "model": {"base": str(start), "dtype": "float64", "device": "cpu", "checkpointing": True},
        "train": {"parameters": "lora", "parallel": parallel},
        "data": TINY["data"]
        | {"cache": str(cache), "dropout": {"references": 0.4, "text": 0.2, "both": 0.3}, "detailed": 0.5},
        "optimiser": {"lr": 1e-3, "steps": 5, "batch": batch, "accumulation": 2, "ema": 0.9, "clip": 0.5},
        "output": {
            "log": 1,
            "checkpoint": 5,
            "gradient_norms": 2,
            "pictures": 5,
            "picture_steps": 1,
            "validation": 5,
        },
    }


def torchrun(
    *arguments: str, processes: int = 2, seconds: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, str(processes), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_start: Path) -> Path:
    """A folder with the runs `one` (this process), `ddp`, `fsdp`, `validated`, `stopped` (two processes)."""
    folder = tmp_path_factory.mktemp("parallel")
    one = recipe_of(table(tiny_start, folder / "latents", 4))
    train_recipe(one, folder / "one", render=fake_batches, validate=lambda run: {"held": 1.0})
    two = {kind: table(tiny_start, folder / "latents-2", 2, kind) for kind in ("ddp", "fsdp")}
    two["validated"] = two["ddp"] | {"output": {"validation": 1, "validation_batches": 1}}
    two["validated"]["optimiser"] = two["ddp"]["optimiser"] | {"steps": 1}
    (folder / "recipes.json").write_text(json.dumps(two))
    done = torchrun("tests/training/worker.py", str(folder))
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def weights(output: Path, kind: str = "masters") -> dict[str, torch.Tensor]:
    return load_file(checkpoints(output / "checkpoints")[-1] / f"{kind}.safetensors")


def steps_of(output: Path) -> list[dict[str, float]]:
    return [record for record in records(output) if "loss/flow" in record]


def assert_near(first: Path, second: Path) -> None:
    assert len(steps_of(first)) == 5
    for a, b in zip(steps_of(first), steps_of(second), strict=True):
        assert a.keys() == b.keys()
        worst = {name: abs(a[name] - b[name]) for name in a if not name.startswith("probe/")}
        assert max(worst.values()) <= EXACT, worst
    for kind in ("masters", "average", "exp_avg"):
        a, b = weights(first, kind), weights(second, kind)
        assert a.keys() == b.keys()
        assert max(float((a[name] - b[name]).abs().max()) for name in a) <= EXACT


def test_the_process_really_sees_two(runs: Path) -> None:
    found = [json.loads((runs / f"world-{rank}.json").read_text()) for rank in range(2)]
    assert found == [[0, 2, [1.0, 2.0]], [1, 2, [1.0, 2.0]]]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_equal_one(runs: Path, kind: str) -> None:
    assert_near(runs / kind, runs / "one")
    start = weights(runs / "one", "exp_avg")
    assert max(float(moment.abs().max()) for moment in start.values()) > 1e-4  # something was learnt
    assert any({"loss/flow", "loss/sca", "loss/md", "gradient/sca"} <= set(r) for r in records(runs / kind))
    lora = load_file(runs / kind / "lora.safetensors")
    whole = load_file(runs / "one" / "lora.safetensors")
    assert all(lora[name].shape == whole[name].shape for name in whole)
    assert (runs / kind / "pictures" / "step-00000005.png").is_file()


@pytest.mark.slow
def test_compiled_blocks_of_a_spread_base_equal_eager_ones_of_one_process(
    runs: Path, tiny_start: Path, tmp_path: Path
) -> None:
    compiled = table(tiny_start, tmp_path / "latents", 2, "fsdp")
    compiled["model"] |= {"compile": True}
    (tmp_path / "recipes.json").write_text(json.dumps({"compiled": compiled}))
    done = torchrun("tests/training/worker.py", str(tmp_path), "--only", seconds=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_near(tmp_path / "compiled", runs / "one")


def test_processes_agree_on_the_best_weights(runs: Path) -> None:
    told = next(r for r in records(runs / "validated") if "validation/flow" in r)
    best = json.loads((runs / "validated" / "best.json").read_text())
    assert best["step"] == 1 and best["flow"] == told["validation/flow"]


def test_a_step_without_references_came_by(runs: Path) -> None:
    assert {"loss/sca" in record for record in steps_of(runs / "ddp")} == {True, False}


def test_a_spread_base_is_in_parts(runs: Path) -> None:
    found = {kind: records(runs / kind)[-1]["validation/held"] for kind in ("ddp", "fsdp")}
    assert found["ddp"] == 1
    assert 0.45 < found["fsdp"] < 0.55


def test_sigterm_to_any_process_saves_and_the_run_goes_on_to_the_bit(runs: Path) -> None:
    assert [(runs / f"stopped-{rank}.txt").read_text() for rank in range(2)] == ["['step-00000002']"] * 2
    assert records(runs / "stopped") == records(runs / "ddp")
    a, b = weights(runs / "stopped"), weights(runs / "ddp")
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert set(weights(runs / "stopped", "random")) >= {"cpu-0", "cpu-1"}


def test_where_one_process_finds_no_sample_all_save_and_the_run_goes_on_to_the_bit(runs: Path) -> None:
    first, second = ((runs / f"lost-{rank}.txt").read_text() for rank in range(2))
    assert first == "Another process could not read its samples: its message says why."
    assert second == "the shard is damaged."
    assert records(runs / "lost") == records(runs / "ddp")
    a, b = weights(runs / "lost"), weights(runs / "ddp")
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_full_disk_of_the_first_process_ends_all(runs: Path) -> None:
    first, second = ((runs / f"full-{rank}.txt").read_text() for rank in range(2))
    assert "no room left" in first and "there is no checkpoint yet" in first
    assert second == "The first process could not write its files: its message says why."


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_killed_at_random_go_on_to_the_bit(kind: str, tmp_path: Path) -> None:
    """The real command on the smoke recipe, all of its processes killed at once, three times."""
    common = f"train.parallel={kind} optimiser.steps=12 optimiser.batch=2 output.checkpoint=1".split()
    settings = [word for key in [*common, f"data.cache={tmp_path / 'latents'}"] for word in ("--set", key)]
    command = ["-m", "mosaic.training.run", str(ROOT / "recipes" / "toybox-smoke.toml"), *settings]
    assert torchrun(*command, "--output", str(tmp_path / "whole")).returncode == 0
    draw, log = random.Random(kind), tmp_path / "cut" / "log.jsonl"
    for _ in range(3):
        began = len(log.read_text().splitlines()) if log.exists() else 0
        process = subprocess.Popen(
            [*TORCHRUN, "2", *command, "--output", str(tmp_path / "cut"), "--resume"],
            cwd=ROOT,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > began):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        children = psutil.Process(process.pid).children(recursive=True)
        for victim in [*children, psutil.Process(process.pid)]:
            victim.kill()
        process.wait(60)
    assert torchrun(*command, "--output", str(tmp_path / "cut"), "--resume").returncode == 0
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    a, b = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_a_wait_for_files_is_longer_than_one_for_a_step(tmp_path: Path) -> None:
    done = torchrun("tests/training/waiter.py", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert [(tmp_path / f"found-{rank}").read_text() for rank in range(2)] == ["True 2"] * 2


def test_nobody_goes_on_before_all_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = torch.distributed.HashStore(), []
    monkeypatch.setattr(parallel, "_get_default_store", lambda: store)
    monkeypatch.setattr(parallel, "LOOK", 0.01)

    def act(rank: int) -> None:
        for turn in range(3):
            time.sleep(0.02 * rank)
            seen.append(turn)
            World(rank=rank, size=3).wait()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(act, range(3)))
    assert seen == sorted(seen) and len(seen) == 9


# ---------------------------------------------------------------- launchers


@pytest.fixture
def launched_alone(monkeypatch: pytest.MonkeyPatch) -> Any:
    """launched_alone(NAME=value): the environment of a launcher, and nothing of another."""
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def asks(processes: int = 0, device: str = "cpu") -> Recipe:
    return recipe_of({"train": {"processes": processes}, "model": {"device": device}})


def test_without_a_launcher_there_is_one_process(launched_alone: Any) -> None:
    assert parallel.join(asks()) == World() == parallel.join(asks(processes=1))


def test_a_launcher_that_started_one_process_silently_is_refused(launched_alone: Any) -> None:
    launched_alone(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")  # accelerate launch --cpu --num_processes 2
    with pytest.raises(ValueError, match=r"asked for several processes .* and started one .*torchrun"):
        parallel.join(asks())


def test_another_number_than_the_recipe_asks_for_is_refused(launched_alone: Any) -> None:
    with pytest.raises(ValueError, match=r"train.processes is 8 and 1 started.*torchrun"):
        parallel.join(asks(processes=8))


def test_processes_that_never_come_are_missed(launched_alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import PartialState

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched_alone(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    monkeypatch.setattr(parallel, "PATIENCE", timedelta(seconds=1))
    try:
        with pytest.raises(ValueError, match=r"Of the 2 processes .* some did not start within 1 s"):
            parallel.join(asks())
    finally:
        PartialState._reset_state()


def test_one_device_for_several_processes_is_refused(launched_alone: Any) -> None:
    launched_alone(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500", WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    with pytest.raises(ValueError, match=r"model.device = .cuda:1. is one device for 2 processes"):
        parallel.join(asks(device="cuda:1"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"parameters": "base", "parallel": "fsdp"}}, "needs a frozen base"),
        (
            {"train": {"parameters": "base"}, "model": {"quantize": "fp8"}},
            "model.quantize needs a frozen base",
        ),
        ({"train": {"parallel": "fsdp"}, "model": {"quantize": "nf4"}}, "a quantised base is not spread"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        recipe_of(changes)


def test_the_mean_keeps_dtypes_and_order_apart() -> None:
    tensors = [torch.ones(3), torch.ones(2, dtype=torch.float64), torch.ones(4), torch.ones(1)]
    assert [[t.numel() for t in bucket] for bucket in parallel._buckets(tensors)] == [[3], [2], [4, 1]]
