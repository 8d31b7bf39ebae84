"""recipes/curate-flux.toml: it is read, its thresholds name true scores, its figures follow."""

import inspect
import re
from fnmatch import fnmatchcase
from pathlib import Path

import diffusers
import pytest

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


def test_the_headers_figures_follow() -> None:
    numbers = {"5.0 M": 5.0e6, "3.5 M": 3.5e6, "5.25 M": 5.25e6, "3.15 M": 3.15e6, "10.25 M": 10.25e6}
    rows = re.findall(r"^#   \S.*?\s(\d+\.\d+ M)\s+(\d+\.\d+) s\s+([\d ]*\d)   ", TEXT, flags=re.MULTILINE)
    assert len(rows) == 7
    hours = [numbers[number] * float(each) / 3600 for number, each, _ in rows]
    for computed, (_, _, stated) in zip(hours, rows, strict=True):
        assert float(stated.replace(" ", "")) == pytest.approx(computed, rel=0.02)
    assert sum(hours) == pytest.approx(25_100, rel=0.005) and pytest.approx(8, abs=0.3) == 25_100 / 24 / 128
    assert step(4096 + 512) == pytest.approx(74.4, abs=0.1)
    assert step(2 * 4096 + 512) == pytest.approx(165.4, abs=0.1)
    assert step(4608) * 28 / 400 == pytest.approx(5.21, abs=0.01)
    assert step(8704) * 28 / 400 == pytest.approx(11.58, abs=0.01)
    assert step(2 * 1024 + 512) * 28 / 400 * 5.25e6 / 3600 == pytest.approx(3840, rel=0.005)
    kept = 5.0e6 * 0.7 * 0.6 * 0.6 * 0.95
    assert kept == pytest.approx(1.2e6, rel=0.01)
    small = sum(hours) - hours[0] - hours[3]
    free = small + 5.0e6 * step(4096 + 256) * 4 / 400 / 3600 + 5.25e6 * 0.73 / 3600
    assert free == pytest.approx(3000, rel=0.02)
