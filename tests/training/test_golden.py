"""Twenty steps of a small recipe on the toybox, on one thread, against losses that are kept in a file.

A change in training is seen here, meant or not. Renew the file after one that is meant, and say why:

    OMP_NUM_THREADS=1 python -m tests.training.test_golden

Losses and gradient norms are held to 1e-5 relative; the kernels of AVX2 and AVX-512 machines
(ATEN_CPU_CAPABILITY) differ by 5e-6 at most.
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch

from mosaic.training.recipe import recipe_of
from mosaic.training.run import train_recipe

from .fake_world import TINY, write_start

KEPT = Path(__file__).with_name("golden.json")
TOLERANCE = 1e-5
RECIPE = TINY | {
    "seed": 7,
    "train": {"parameters": "lora", "threads": 1},
    "data": TINY["data"] | {"size": 64, "reference_size": 32, "points": 8, "detailed": 0.3},
    "loss": {"alpha": 0.4, "beta": 0.6, "md_start": 5, "md_ramp": 5},
    "optimiser": {"lr": 2e-3, "steps": 20, "batch": 2, "accumulation": 2, "warmup": 4, "schedule": "cosine"},
    "output": {"log": 1, "checkpoint": 20, "gradient_norms": 10},
}


def measured(output: Path) -> list[dict[str, float]]:
    """Losses and gradient norms of each step."""
    before = torch.get_num_threads()
    model = RECIPE["model"] | {"base": str(write_start(output / "base"))}
    try:
        train_recipe(recipe_of(RECIPE | {"model": model}), output)
    finally:
        torch.set_num_threads(before)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [
        {key: line[key] for key in line if key.startswith(("step", "loss/", "gradient/"))} for line in lines
    ]


def test_twenty_steps_give_the_kept_losses(tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text())
    found = measured(tmp_path)
    assert len(found) == len(kept) == 20
    for now, then in zip(found, kept, strict=True):
        assert now == pytest.approx(then, rel=TOLERANCE, abs=1e-7), f"step {then['step']}"


def renew() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    KEPT.write_text("[\n" + ",\n".join(json.dumps(line) for line in found) + "\n]\n")


if __name__ == "__main__":
    renew()
