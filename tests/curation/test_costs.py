"""`mosaic plan` of a curation recipe: figures against literal ones, and against what a run left."""

import json
from pathlib import Path
from typing import Any

import pytest

from mosaic.cli import run
from mosaic.curation.costs.lines import Costs, costs_of
from mosaic.curation.costs.questions import is_own
from mosaic.curation.costs.rates import Gpu
from mosaic.curation.recipe import plan_of, recipe_of
from mosaic.curation.worker import Worker

ROOT = Path(__file__).parents[2]
TOYS: dict[str, Any] = {
    "samples": 8,
    "prompts": {"kind": "toybox", "subjects": [2, 3]},
    "paint": {"kind": "toybox", "width": 128, "height": 128},
    "judge": {"kind": "toybox"},
    "segment": {"kind": "toybox"},
    "refer": {"kind": "toybox", "side": 128, "size": 64},
    "correspond": {"kind": "toybox"},
    "pack": {},
}


def costs(tables: dict[str, Any], **gpu: Any) -> Costs:
    return costs_of(recipe_of(tables), "a", Gpu(**({"name": "H100", "peak": 989, "utilisation": 0.4} | gpu)))


def parts(found: Costs) -> dict[str, Any]:
    return {line.part: line for line in found.lines}


def test_the_disk_of_toys_is_what_a_run_leaves(tmp_path: Path) -> None:
    recipe = recipe_of(TOYS)
    worker = Worker(plan_of(recipe, tmp_path), list(recipe.stages))
    assert not [report for report in worker(0) if "error" in report]
    left = {
        stage: sum(file.stat().st_size for file in (tmp_path / "stages" / stage).glob("*.tar"))
        for stage in ("paint", "segment", "refer", "correspond")
    }
    left["pack"] = sum(file.stat().st_size for file in tmp_path.glob("*.tar"))
    found = {one.part: one.number * one.bytes for one in costs(TOYS).files}
    for part, size in left.items():
        assert found[part] == pytest.approx(size, rel=0.4), part
    tables = sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    assert found["tables"] == pytest.approx(tables, rel=3)  # heads of the files, at eight rows


def test_shares_are_multiplied_and_what_is_known_better_counts() -> None:
    tables = {"samples": 1000, "prompts": {}, "paint": {}, "judge": {}, "segment": {}, "refer": {}}
    tables |= {"correspond": {"first": [{"kind": "gradients"}], "second": []}, "pack": {}}
    known = {"accepted": {"judge": 0.5, "segment": 0.5, "refer": 0.5, "correspond": 1.0}}
    found = costs(tables | {"plan": known | {"seconds": {"paint": 36.0, "refer": 0.0}}})
    assert (found.counts.samples["judge"], found.counts.samples["correspond"]) == (1000, 125)
    assert found.counts.packed == 125
    paint = parts(found)["paint"]
    assert (paint.hours, paint.how) == (10.0, "as the recipe's [plan] says")
    views, segments = 250 * 3, 500 * (3 * 0.06 + 0.05)
    assert parts(found)["refer"].number == views
    assert found.hours("GPU") == pytest.approx(10 + segments / 3600)
    assert parts(found)["correspond gradients"].on == "core"


def test_a_model_nobody_knows_is_said_not_to_be_known() -> None:
    found = costs({"samples": 10, "prompts": {}, "paint": {"model": "somebody/else"}})
    assert parts(found)["paint"].seconds is None and found.hours("GPU") == 0
    assert parts(found)["paint"].how == "not known for somebody/else"


def test_a_weaker_gpu_takes_longer_by_its_peak() -> None:
    tables = {"samples": 100, "prompts": {}, "paint": {}, "segment": {}}
    fast, slow = costs(tables), costs(tables, name="half", peak=989 / 2)
    for part in ("paint", "segment"):
        assert parts(slow)[part].hours == pytest.approx(2 * parts(fast)[part].hours)
    assert costs(tables, utilisation=0.8).hours("GPU") < fast.hours("GPU")


@pytest.mark.parametrize(
    ("base_url", "own"),
    [
        ("http://localhost:8000/v1", True),
        ("http://10.1.2.3:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://gpu-node-7:8000/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://8.8.8.8/v1", False),
    ],
)
def test_whose_gpu_a_question_takes(base_url: str, own: bool) -> None:
    assert is_own(base_url) is own
    vision = {"base_url": base_url, "model": "a"}
    found = costs({"samples": 40, "prompts": {}, "paint": {}, "judge": {"vision": vision}})
    assert ("judge questions" in parts(found)) is own
    assert found.tokens == (40 * 930, 40 * 120) and found.dollars is None
    priced = costs(
        {
            "samples": 40,
            "prompts": {},
            "paint": {},
            "judge": {"vision": vision},
            "plan": {"price": [2.0, 5.0]},
        }
    )
    assert priced.dollars == pytest.approx((40 * 930 * 2 + 40 * 120 * 5) / 1e6)


def test_an_import_passes_stages_by_and_needs_no_data_where_samples_are_given(tmp_path: Path) -> None:
    tables: dict[str, Any] = {"import": {"kind": "uno-1m", "path": str(tmp_path / "none")}, "samples": 100}
    tables |= {
        "judge": {},
        "segment": {},
        "refer": {"encoder": "e", "segmenter": {}},
        "correspond": {},
        "pack": {},
    }
    found = costs(tables)
    assert list(found.counts.samples) == ["import", "segment", "refer", "correspond", "pack"]
    assert {"segment", "refer checks"} < parts(found).keys() and "refer" not in parts(found)
    del tables["samples"]
    with pytest.raises(ValueError, match=r"import\.path: .* is no folder"):
        costs(tables)


# ---------------------------------------------------------------- the command


def test_the_command_tells_curation_recipes_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(ROOT / "recipes" / "curate-flux.toml")]) == 0
    told = capsys.readouterr().out
    assert "5 M samples begun, 1.2 M packed" in told and "25,4" in told and "2,124 $" in told
    assert run(["plan", str(ROOT / "recipes" / "curate-toybox.toml"), "--json", "--gpu", "4090"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["gpu"]["name"], found["gpu_hours"]) == ("curate-toybox", "4090", 0)
    assert found["bytes"] > 1e6 and found["lines"][1]["hours"] > 0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("samples = 3\n[prompts]\nkind = 'poems'\n", [], "[prompts]: kind: "),
        ("samples = 3\n[prompts]\n[plan]\naccepted = { judge = 2.0 }\n", [], "plan.accepted.judge: "),
        ("samples = 3\n[prompts]\n[plan]\nacepted = {}\n", [], "unknown key plan.acepted"),
        ("[pack]\n", [], "one of the tables [import] and [prompts]"),
        ("samples = 3\n[prompts\n", [], "is not valid TOML"),
        ("samples = 3\n[prompts]\n", ["--gpu", "H1000"], "did you mean H100?"),
        ("samples = 3\n[prompts]\n", ["--utilisation", "0"], "--utilisation is a share"),
        ("samples = 3\n[prompts]\n", ["--set", "samples=0"], "samples: Input should be greater"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(
    text: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.toml").write_text(text)
    assert run(["plan", str(tmp_path / "a.toml"), *options]) == 2
    told = capsys.readouterr()
    assert words in told.err and told.err.count("\n") == 1 and not told.out
