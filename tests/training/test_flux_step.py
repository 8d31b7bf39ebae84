"""The benchmark of a step of FLUX.1-dev's shape, on a shape a CPU can hold: all but the GPU's own figures."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mosaic.training.optimiser import MasterAdamW
from mosaic.training.plan import reading

SMALL: dict[str, Any] = {
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 24,
    "axes_dims_rope": (4, 6, 6),
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, with a smaller FLUX.1-dev."""
    path = Path(__file__).parents[2] / "benchmarks" / "flux_step.py"
    spec = importlib.util.spec_from_file_location("flux_step", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    t5, clip = reading.FLUX_DEV_TEXT
    encoders = replace(t5, tokens=8, width=32), replace(clip, width=24)
    monkeypatch.setattr(reading, "FLUX_DEV_TRANSFORMER", reading.FLUX_DEV_TRANSFORMER | SMALL)
    monkeypatch.setattr(reading, "FLUX_DEV_TEXT", encoders)
    return module


@pytest.mark.parametrize(
    "name", ["release, checkpointed", "full, checkpointed", "isolated, checkpointed", "release"]
)
def test_a_step_learns_and_is_the_planned_one(benchmark: ModuleType, name: str) -> None:
    recipe = benchmark.recipe(**benchmark.VARIANTS[name])
    model, latents = benchmark.random_model(recipe, torch.device("cpu")), benchmark.random_latents(recipe)
    assert sum(p.numel() for p in model.trained.values()) == reading.model_of(recipe).lora
    optimiser = MasterAdamW(model.trained, recipe.optimiser)
    before = {key: weights.clone() for key, weights in model.trained.items()}
    benchmark.step(model, optimiser, latents, recipe, 0)
    moved = [key for key, weights in model.trained.items() if not torch.equal(weights, before[key])]
    assert len(moved) > len(before) // 3  # the ups start at zero and the downs have no gradient yet
    plan = benchmark.predicted(recipe)
    assert plan["flops"] > plan["model_flops"] > 0  # checkpointing, or the fused attention, computes twice


def test_the_table_tells_what_was_measured_and_what_did_not_fit(benchmark: ModuleType) -> None:
    plan = benchmark.predicted(benchmark.recipe())
    found = {"seconds": 2.0, "tensors": 30.0, "device": 33.0, "held_before": 0.5}
    line = {"variant": "release", "gpu": "H200", "planned": plan}
    told = line | {"measured": found, "utilisation": 0.41, "model_utilisation": 0.31}
    rows = benchmark.table([told, line | {"out_of_memory": True}]).splitlines()
    assert rows[2].startswith("| release | H200 | 2.000 | 41% | 31% | 30.0,")
    assert "out of memory" in rows[3]
