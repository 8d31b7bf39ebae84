"""A whole shard through the production backends: templates, then the true classes from folders."""

from pathlib import Path
from typing import Any

import pytest
from perception import tiny

from mosaic.curation.recipe import plan_of, recipe_of
from mosaic.curation.worker import Step, Worker, merged

from .pipelines import flux, kontext


def tables(root: Path) -> dict[str, Any]:
    segmenter = {
        "detector": str(tiny.grounding_dino(root / "detector")),
        "masker": str(tiny.sam2(root / "masker")),
        "device": "cpu",
    }
    short = {"max_sequence_length": 16}
    usual = {"steps": 1, "device": "cpu", "arguments": short, "licence": "Apache-2.0"}
    return {
        "samples": 2,
        "shard": 2,
        "prompts": {"kind": "templates", "subjects": [2]},
        "paint": usual | {"model": str(flux(root / "flux")), "width": 96, "height": 96},
        "judge": {},
        "segment": segmenter,
        "refer": usual
        | {
            "model": str(kontext(root / "kontext")),
            "side": 96,
            "size": 64,
            "segmenter": segmenter,
            "encoder": str(tiny.dinov2(root / "dinov2")),
        },
    }


def run(recipe: dict[str, Any], folder: Path) -> list[Any]:
    plan = plan_of(recipe_of(recipe), folder)
    reports = Worker(plan, [step.stage for step in plan.steps])(0)
    assert not [report for report in reports if "error" in report]
    return [reports, list(merged(plan, Step(stage="pack", make=lambda: None, kind="closing"), 0))]


def test_a_shard_of_true_models(tmp_path: Path) -> None:
    recipe = tables(tmp_path)
    reports, works = run(recipe, tmp_path / "run")
    assert [report["done"] for report in reports] == [2] * 5 and not any(r["failed"] for r in reports)
    for work, failure, complete in works:
        assert complete and not failure
        assert {"paint", "judge", "segment", "refer"} <= set(work.facts)
        assert work.facts["paint"]["licence"] == work.facts["refer"]["licence"] == "Apache-2.0"
        for k in range(2):
            assert {f"segment/{k}/area", f"refer/{k}/similarity"} <= set(work.scores)
    tars = {path.relative_to(tmp_path / "run"): path.read_bytes() for path in tmp_path.glob("run/**/*.tar")}
    assert len(tars) == 3  # paint, segment, refer
    run(recipe, tmp_path / "again")
    assert tars == {
        path.relative_to(tmp_path / "again"): path.read_bytes() for path in tmp_path.glob("again/**/*.tar")
    }


def test_a_model_that_is_not_there_ends_in_one_sentence(tmp_path: Path) -> None:
    recipe = {"samples": 1, "prompts": {"kind": "templates"}, "paint": {"model": str(tmp_path / "none")}}
    plan = plan_of(recipe_of(recipe), tmp_path / "run")
    *_, report = Worker(plan, ["prompts", "paint"])(0)
    assert report["error"].startswith("paint, shard 0: A diffusers pipeline cannot be loaded from")


def test_a_wrong_key_names_the_section() -> None:
    recipe = {"samples": 1, "prompts": {}, "paint": {"guidance": 3.5}}
    with pytest.raises(ValueError, match=r"\[paint\]: unknown key guidance"):
        recipe_of(recipe)
