"""Speed in the journal: samples, operations by the plan, and the share of a known device's peak."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from mosaic.errors import explain
from mosaic.training import run as run_room
from mosaic.training.journal import Journal, Pace, told, wandb_mirror
from mosaic.training.plan.devices import DEVICES
from mosaic.training.run import open_journal, prepare, train_recipe
from mosaic.training.speed import operations, peak, peak_of
from tests.training.fake_world import fake_batches


def test_the_pace_is_what_the_formulas_say() -> None:
    told = Pace(samples=6, operations=2e12, peak=8e12).told(steps=10, seconds=5.0)
    assert told["speed/samples_a_second"] == pytest.approx(12.0)
    assert told["speed/teraflops"] == pytest.approx(4.0)
    assert told["speed/utilisation"] == pytest.approx(0.5)
    assert set(Pace(samples=6).told(1, 1.0)) == {"speed/samples_a_second"}


@pytest.mark.parametrize(
    ("driver", "known"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
        ("NVIDIA A100-SXM4-40GB", "A100-40"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA L40S", "L40S"),
    ],
)
def test_a_gpu_is_known_by_its_drivers_name(driver: str, known: str) -> None:
    assert peak_of(driver, "bfloat16") == DEVICES[known].rate("bfloat16")


def test_an_unknown_device_has_no_peak() -> None:
    assert peak_of("NVIDIA Tesla K80", "bfloat16") is None
    assert peak(torch.device("cpu"), "float32") is None


def test_a_run_knows_its_operations(tiny_recipe: Any, tiny_start: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(model={"base": str(tiny_start)})
    run = prepare(recipe, tmp_path, "test", fake_batches)
    with open_journal(run) as journal:
        assert isinstance(journal, Journal) and journal.pace.operations > 0
    twice = recipe.optimiser.model_copy(update={"accumulation": 2 * recipe.optimiser.accumulation})
    more = operations(recipe.model_copy(update={"optimiser": twice}), run.model.folder)
    assert more == pytest.approx(2 * journal.pace.operations)


def test_weights_and_biases_gets_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    mirror = wandb_mirror("mosaic-test", tmp_path, {"seed": 3})
    with Journal(tmp_path, 0, 4, Pace(samples=2), mirror) as journal:
        journal.record(2, {"loss/flow": 0.5})
    assert wandb.config["seed"] == 3
    wandb.finish()
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    summary = capfd.readouterr().err
    assert "loss/flow 0.5" in summary and "speed/samples_a_second" in summary
    assert json.loads((tmp_path / "log.jsonl").read_text())["loss/flow"] == 0.5


@pytest.mark.parametrize(
    ("package", "changes"),
    [
        ("tensorboard", {}),
        ("wandb", {"output": {"wandb": "project"}}),
        ("torchao", {"optimiser": {"kind": "adamw8bit"}}),
    ],
)
def test_a_missing_package_is_told_before_anything_is_made(
    package: str, changes: dict[str, Any], tiny_recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_room, "find_spec", lambda name: None if name == package else find_spec(name))
    recipe = tiny_recipe(**({"train": {"parameters": "lora"}} | changes))
    with pytest.raises(ModuleNotFoundError) as caught:
        train_recipe(recipe, tmp_path / "run", render=fake_batches)
    assert f"needs the package {package}" in str(explain(caught.value))
    assert not (tmp_path / "run").exists()


def test_validation_and_pictures_do_not_slow_the_rate_told(tmp_path: Path, monkeypatch: Any) -> None:
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr("mosaic.training.journal.time.monotonic", lambda: float(next(now)))
    with Journal(tmp_path, 0, 4, Pace(samples=20)) as journal:  # at 0
        with journal.aside():  # 10 to 20
            pass
        journal.record(1, {"loss/flow": 1.0})  # at 30: 20 seconds of training
        journal.record(1, {"validation/flow": 0.5, "validation/block00/exact": 0.1})
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["samples_a_second"] for record in log] == [1.0, 1.0]
    assert told({"validation/flow": 0.5, "validation/block00/exact": 0.1}) == "validation  flow 0.5"
