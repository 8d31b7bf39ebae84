"""The authors' released forward pass, number by number: every golden case under MOSAIC_GOLDEN.

The folder's README says what a case holds. Each case is a pytest id with its folder's name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.attention import Probe
from mosaic.model.layout import TokenLayout, Visibility
from mosaic.model.lora import load_lora
from mosaic.model.transformer import MosaicTransformer, TransformerOutput

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(os.environ.get("MOSAIC_GOLDEN", ROOT.parent / "shared" / "golden"))
CASES = sorted(folder for folder in GOLDEN.glob("*") if (folder / "case.safetensors").is_file())

pytestmark = pytest.mark.skipif(not CASES, reason=f"no golden cases under {GOLDEN}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    model: MosaicTransformer
    tensors: dict[str, Tensor]
    target: Grid
    references: tuple[Grid, ...]
    guidance: float | None
    points: list[dict[int, int]]  # of each reference: reference token → target token

    def run(self, visibility: Visibility, probe: Probe | None = None) -> TransformerOutput:
        x, k = self.tensors, len(self.references)
        layout = TokenLayout(
            text=x["text"].shape[1], target=self.target, references=self.references, visibility=visibility
        )
        guidance = None if self.guidance is None else torch.full_like(x["timestep"], self.guidance)
        with torch.no_grad():
            return self.model(
                x["target"],
                x["text"],
                x["pooled"],
                x["timestep"],
                guidance,
                layout=layout,
                references=[x[f"reference_{i}"] for i in range(k)],
                probe=probe,
            )

    def every_token(self) -> Tensor:
        """Every token of every reference, (B, K, R)."""
        tokens = torch.arange(self.references[0].size)
        return tokens.expand(len(self.tensors["target"]), len(self.references), -1)


@cache
def load_case(folder: Path) -> Case:
    meta = read_meta(folder)
    config = meta["config"]
    model = MosaicTransformer(**config | {"axes_dims_rope": tuple(config["axes_dims_rope"])})
    model.load_state_dict(load_file(folder / "base.safetensors"))
    load_lora(model, folder / "lora.safetensors")
    grid = grid_of(meta["reference_grid"])
    return Case(
        model=model.eval(),
        tensors=load_file(folder / "case.safetensors"),
        target=grid_of(meta["target_grid"]),
        references=(grid,) * int(meta["K"]),
        guidance=float(meta["guidance_target"]) if config["guidance_embeds"] else None,
        points=[{int(u): int(v) for u, v in points.items()} for points in meta["points"]],
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """Values are JSON once more inside the JSON."""
    with safe_open(folder / "case.safetensors", framework="pt") as file:
        meta = file.metadata() or {}
    if (folder / "meta.json").is_file():
        meta = json.loads((folder / "meta.json").read_text())
    return {k: json.loads(v) if isinstance(v, str) and v[:1] in "[{" else v for k, v in meta.items()}


def grid_of(text: str) -> Grid:
    return Grid(*map(int, text.split("x")))


@pytest.fixture(params=CASES, ids=lambda folder: folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    return load_case(request.param)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("visibility", list(Visibility))
def test_velocity(case: Case, visibility: Visibility) -> None:
    assert error(case.run(visibility).velocity, case.tensors[f"velocity_{visibility}"]) <= 2e-5


def test_rows(case: Case) -> None:
    probe = Probe(tokens=case.every_token(), blocks="double")
    rows = case.run(Visibility.RELEASE, probe).rows
    assert rows is not None and error(rows.flatten(1, 2), case.tensors["rows"]) <= 1e-6


def test_align(case: Case) -> None:
    from mosaic.objectives import correspondence_loss

    longest = max(map(len, case.points))
    u, v, valid = torch.zeros(3, 1, len(case.points), longest, dtype=torch.long)
    for k, points in enumerate(case.points):
        for j, (reference, target) in enumerate(points.items()):
            u[0, k, j], v[0, k, j], valid[0, k, j] = reference, target, 1
    batch = len(case.tensors["target"])
    rows = case.run(Visibility.RELEASE, Probe(tokens=u.expand(batch, -1, -1), blocks="double")).rows
    assert rows is not None
    loss = correspondence_loss(rows[:1], v, valid.bool(), reduction="flat")
    assert error(loss, case.tensors["align"].squeeze()) <= 1e-5


def test_separation(case: Case) -> None:
    """The released MD averages all rows of a reference, not the points' alone."""
    from mosaic.objectives import disentanglement_loss

    rows = case.run(Visibility.RELEASE, Probe(tokens=case.every_token(), blocks="double")).rows
    assert rows is not None
    valid = torch.ones(rows[:1].shape[:3], dtype=torch.bool)
    loss = disentanglement_loss(rows[:1], valid, distance="jensen_shannon")
    assert error(loss, case.tensors["separation"].squeeze()) <= 1e-5
