"""recipes/curate-flux.toml: it is read, its thresholds name true scores, its figures follow."""

import inspect
import re
from fnmatch import fnmatchcase
from pathlib import Path

import diffusers
import pytest

from mosaic.curation.costs.lines import Costs, costs_of
from mosaic.curation.costs.rates import Gpu
from mosaic.curation.diffusers_backends import licence_of
from mosaic.curation.recipe import Recipe, read_recipe
from mosaic.curation.rows import STAGES

RECIPE = Path(__file__).parents[2] / "recipes" / "curate-flux.toml"
TEXT = RECIPE.read_text(encoding="utf-8")
FREE = re.findall(r"--set ((?:paint|refer)\.\S+)", TEXT)
SCORES = {
    "judge": "sharpness exposure unclipped colours aesthetic quality coherence clarity once".split(),
    "segment": "instances box mask_score area overlap borders fragments".split(),
    "refer": "area borders change similarity identity viewpoint".split(),
    "correspond": "points confidence shared".split(),
}


def read(*overrides: str) -> Recipe:
    return read_recipe(RECIPE, list(overrides))


def test_it_has_every_stage_in_order() -> None:
    recipe = read()
    assert list(recipe.stages) == [stage for stage in STAGES if stage != "import"]
    assert recipe.stages["paint"].model == "black-forest-labs/FLUX.1-dev"
    counts = recipe.stages["prompts"].subjects
    assert sum(counts) / len(counts) == 2.5


def test_thresholds_name_scores_that_stages_give() -> None:
    known = [f"{stage}/{name}" for stage in SCORES for name in SCORES[stage]]
    known += [f"{stage}/0/{name}" for stage in SCORES for name in SCORES[stage]]
    for pattern in read().thresholds:
        assert any(fnmatchcase(name, pattern) for name in known), pattern


def test_the_free_variant_is_free() -> None:
    assert len(FREE) == 6
    recipe = read(*FREE)
    for stage in ("paint", "refer"):
        assert licence_of(read().stages[stage]).startswith("FLUX.1 [dev]")
        assert licence_of(recipe.stages[stage]) == "Apache-2.0"
        assert recipe.stages[stage].steps == 4


@pytest.mark.parametrize(
    ("name", "stage", "overrides"),
    [
        ("FluxPipeline", "paint", []),
        ("FluxPipeline", "paint", FREE),
        ("FluxKontextPipeline", "refer", []),
        ("Flux2KleinPipeline", "refer", FREE),
        ("QwenImageEditPlusPipeline", "refer", ["refer.arguments={true_cfg_scale=4.0}"]),
    ],
)
def test_its_pipelines_take_its_arguments(name: str, stage: str, overrides: list[str]) -> None:
    known = set(inspect.signature(getattr(diffusers, name).__call__).parameters)
    given = {"prompt", "height", "width", "num_inference_steps", "generator", "output_type"}
    given |= {"image"} if stage == "refer" else set()
    assert given | set(read(*overrides).stages[stage].arguments) <= known


def step(tokens: int) -> float:
    """TFLOP of FLUX.1's forward pass: matrix products, attention."""
    width, blocks = 3072, 57
    return blocks * (24 * width**2 * tokens + 4 * width * tokens**2) / 1e12


def costs(*overrides: str) -> Costs:
    return costs_of(read(*overrides), "flux", Gpu(name="H100", peak=989, utilisation=0.4))


def test_the_headers_figures_are_those_of_the_plan() -> None:
    found = costs()
    rows = re.findall(
        r"^#   (\w+(?: \w+)?)\s+([\d.]+) M.*?(\d+\.?\d*) s\s+([\d ]+?)   ", TEXT, flags=re.MULTILINE
    )
    assert [row[0] for row in rows] == [
        "paint",
        "segment",
        "refer",
        "refer checks",
        "correspond",
        "questions",
    ]
    lines = {line.part: line for line in found.lines}
    for part, number, each, hours in rows[:-1]:
        assert lines[part].number == pytest.approx(1e6 * float(number), rel=0.005)
        assert lines[part].seconds == pytest.approx(float(each), rel=0.005)
        assert lines[part].hours == pytest.approx(float(hours.replace(" ", "")), rel=0.005)
    assert sum(lines[f"{stage} questions"].number for stage in ("prompts", "judge", "refer")) == 15.25e6
    assert found.hours("GPU") == pytest.approx(25_440, rel=0.001)
    assert pytest.approx(8.3, abs=0.03) == found.hours("GPU") / 24 / 128
    assert found.counts.packed == pytest.approx(1.2e6, rel=0.01)
    assert found.tokens == pytest.approx((13.7e9, 1.88e9), rel=0.005)
    assert found.dollars == pytest.approx(2124, abs=1) and found.bytes == pytest.approx(2.25e12, rel=0.005)
    assert costs("refer.side=512").hours("GPU") - found.hours("GPU") == pytest.approx(3885 - 17_076, abs=2)
    assert costs(*FREE).hours("GPU") == pytest.approx(3100, rel=0.005)


def test_the_plan_follows_from_the_sizes() -> None:
    assert step(4096 + 512) == pytest.approx(74.4, abs=0.1)
    assert step(2 * 4096 + 512) == pytest.approx(165.4, abs=0.1)
    lines = {line.part: line for line in costs().lines}
    assert lines["paint"].seconds == pytest.approx(28 * step(4608) / (0.4 * 989))
    assert lines["refer"].seconds == pytest.approx(28 * step(8704) / (0.4 * 989))
    views = 5e6 * 0.7 * 0.6 * 2.5
    assert lines["refer"].number == pytest.approx(views) == lines["refer questions"].number
