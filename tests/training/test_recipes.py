"""The recipes for FLUX.1-dev: their constants against paper and release, their headers, one step of each."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from mosaic.cli import run as command
from mosaic.keys import known_keys
from mosaic.training.recipe import Recipe, read_recipe, recipe_of

ROOT = Path(__file__).parents[2]
FLUX = sorted((ROOT / "recipes").glob("flux-dev-*.toml"))
ABLATION = {"none": (0.0, 0.0), "sca": (0.4, 0.0), "md": (0.0, 0.6), "both": (0.4, 0.6)}
NAMES = {
    "paper",
    "released",
    "mosaic",
    "isolated",
    "open",
    "24gb",
    *(f"ablation-{name}" for name in ABLATION),
}

# the paper-against-release table: key, what the paper says, what the release does
TABLE: list[tuple[str, Any, Any]] = [
    ("lora.rank", 128, 512),
    ("optimiser.lr", 1e-4, 8e-5),
    ("optimiser.steps", 100_000, 139_709),  # 10 epochs of 111 767 pairs on 8 GPUs
    ("optimiser.batch", 1, 1),
    ("loss.alpha", 0.4, 0.1),
    ("loss.beta", 0.6, 1.0),
    ("loss.md_start", 0, 10_000),
    ("loss.md_ramp", 0, 1000),
    ("loss.sca_reduction", "per_reference", "flat"),
    ("loss.md_distance", "symmetric_kl", "jensen_shannon"),
    ("loss.md_rows", "points", "all"),
    ("loss.blocks", "all", "double"),
    ("loss.heads", "mean", "mean"),
    ("loss.average", "probabilities", "probabilities"),
    ("loss.support", "columns", "columns"),
    ("references.visibility", "full", "release"),
    ("references.positions", "frequency", "width"),
    ("references.missing", "black", "zeros"),
    ("references.time", 0.0, 0.0),
    ("references.guidance", 1.0, 1.0),
    ("loss.direction", "ref_to_target", "ref_to_target"),
    ("noise.shift", "flux", "flux"),
    # beyond the table: the release's training as scripted, the paper where it says something
    ("model.base", "black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-dev"),
    ("optimiser.kind", "adamw", "adamw"),
    ("optimiser.weight_decay", 0.01, 0.01),
    ("optimiser.betas", (0.9, 0.999), (0.9, 0.999)),
    ("optimiser.schedule", "constant", "constant"),
    ("optimiser.clip", 1.0, 1.0),
    ("optimiser.ema", 0.0, 0.99),
    ("data.size", 512, 512),
    ("data.reference_size", 512, 512),
    ("data.posterior", "sample", "sample"),
    ("data.reference_posterior", "mean", "mean"),
    ("data.dropout.references", 0.0, 0.05),
    ("data.dropout.text", 0.0, 0.05),
    ("data.dropout.both", 0.0, 0.05),
    ("seed", 0, 42),
]


def flux(name: str) -> Recipe:
    return read_recipe(ROOT / "recipes" / f"flux-dev-{name}.toml")


def value(recipe: Recipe, key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("key", "paper", "release"), TABLE, ids=[row[0] for row in TABLE])
def test_constants_are_the_paper_s_and_the_release_s(key: str, paper: Any, release: Any) -> None:
    assert (value(flux("paper"), key), value(flux("released"), key)) == (paper, release)
    stated = key.removeprefix("data.dropout.") if key.startswith("data.dropout.") else key
    table: Any = tomllib.loads((ROOT / "recipes" / "flux-dev-paper.toml").read_text())
    table = table["data"]["dropout"] if stated != key else table
    for part in stated.split("."):  # stated, not left to a default that may change; betas are AdamW's own
        assert part in table or key == "optimiser.betas", f"{key} is not written in the paper's recipe"
        table = table.get(part, {})


def test_the_document_has_the_same_table() -> None:
    text = (ROOT / "docs" / "paper-and-code.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    told = {key: row for row in rows for key in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)*)`", row[0])}
    for key, paper, release in TABLE:
        assert key in told, f"docs/paper-and-code.md has no row of {key}"
        for cell, constant in zip(told[key][2:4], (paper, release), strict=True):
            assert written(constant) in cell, f"{key}: {cell} does not say {written(constant)}"
    assert set(told) <= set(known_keys(Recipe)) | {"seed"}


def written(constant: Any) -> str:
    if isinstance(constant, float):
        return f"{constant:g}".replace("e-0", "e-")
    return f"{constant:,}".replace(",", " ") if isinstance(constant, int) else str(constant)


def test_the_released_modules_are_the_released_list() -> None:
    assert flux("released").lora.targets == ()  # the transformer's own, held to the release by test_lora
    paper = flux("paper").lora.targets
    assert len(paper) == 6 and all(target.rpartition(".")[2] in ("to_q", "to_k", "to_v") for target in paper)


def test_there_is_every_recipe_the_issue_names() -> None:
    assert {path.stem.removeprefix("flux-dev-") for path in FLUX} == NAMES


@pytest.mark.parametrize("name", ABLATION)
def test_the_ablation_differs_from_the_paper_in_the_weights_alone(name: str) -> None:
    table = flux("paper").model_dump(mode="json")
    table["loss"] |= dict(zip(("alpha", "beta"), ABLATION[name], strict=True))
    assert flux(f"ablation-{name}") == recipe_of(table)


def test_ours_says_what_differs() -> None:
    ours, isolated, small = flux("mosaic"), flux("isolated"), flux("24gb")
    assert (ours.loss.md_distance, ours.references.missing) == ("jensen_shannon", "absent")
    assert isolated.model_copy(update={"references": ours.references, "loss": ours.loss}) == ours
    assert (isolated.references.visibility, isolated.references.pooled) == ("isolated", "null")
    assert flux("open").data.source == "shards"
    assert small.model.quantize != "none" and small.model.checkpointing
    assert small.optimiser.kind == "adamw8bit"


ABLATIONS = [ROOT / "recipes" / f"{name}.toml" for name in ("ablation", "ablation-joint")]


@pytest.mark.parametrize("path", [*FLUX, *ABLATIONS], ids=lambda path: path.stem)
def test_headers_are_whole(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    header = text.split("\n\n")[0]
    fields = dict(re.findall(r"^# (\w+(?: at)?) {2,}(\S.+(?:\n# {10,}.+)*)", header, re.MULTILINE))
    assert set(fields) >= {"Aims at", "Needs", "Hardware", "Time", "Expect", "Status"}
    assert re.search(r"hours|minutes", fields["Time"]) and re.search(r"derived|measured", fields["Time"])
    assert re.match(r"(measured|derived|not run)", fields["Status"])
    assert (
        re.search(r"\d", fields["Expect"])
        or "no figure" in fields["Expect"]
        or "interval" in fields["Expect"]
    )
    assert max(map(len, text.splitlines())) <= 120


def test_the_paper_s_figures_are_in_the_headers() -> None:
    """Table 1's and Table 3's multi-subject rows, from the paper itself."""
    rows = {
        "paper": ("84.30 / 31.64 / 77.40", "76.30 / 32.40 / 56.83", "76.04"),
        "ablation-none": ("73.45 / 29.90 / 52.03",),
        "ablation-sca": ("75.89 / 31.10 / 55.99",),
        "ablation-both": ("76.30 / 32.40 / 56.83",),
    }
    for name, figures in rows.items():
        text = (ROOT / "recipes" / f"flux-dev-{name}.toml").read_text(encoding="utf-8")
        assert all(figure in text for figure in figures), name


# ---------------------------------------------------------------- one step of each


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Toybox samples of one and of two subjects as shards, by their number."""
    from mosaic.toybox.export import write_dataset

    folder = tmp_path_factory.mktemp("shards")
    for subjects in (1, 2):
        write_dataset(samples=2, subjects=subjects, seed=0, size=64, output=folder / str(subjects))
    return {subjects: folder / str(subjects) for subjects in (1, 2)}


@pytest.mark.parametrize("path", FLUX, ids=lambda path: path.stem)
def test_one_step_of_each_on_a_tiny_model(
    path: Path, shards: dict[int, Path], tiny_start: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(path)
    changes = {
        "model.base": tiny_start, "model.device": "cpu", "model.dtype": "float32", "model.compile": "false",
        "model.quantize": "none", "optimiser.kind": "adamw", "train.processes": 0, "lora.rank": 2,
        "data.path": shards[min(2, recipe.data.references)], "data.size": 32, "data.reference_size": 32,
        "data.workers": 1, "optimiser.steps": 1, "output.log": 1, "output.checkpoint": 1,
        "data.dropout.references": 0, "data.dropout.both": 0, "output.validation": 1, "output.pictures": 1,
        "output.validation_batches": 1, "output.picture_steps": 1,
    }  # fmt: skip
    changes["data.validation"] = changes["data.path"]
    if recipe.model.text_cache:
        changes["model.text_cache"] = tmp_path / "text"
    arguments = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    assert command(["train", str(path), "--output", str(tmp_path), *arguments]) == 0
    record, held = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert record["step"] == 1 and math.isfinite(record["loss/flow"]) and record["loss/sca"] > 0
    assert json.loads((tmp_path / "best.json").read_text())["flow"] == held["validation/flow"]
    assert (tmp_path / "pictures" / "step-00000001.png").is_file()
    assert (record["loss/md"] < 0) == (recipe.data.references > 1)
    with safe_open(tmp_path / "lora.safetensors", "pt") as file:
        metadata, keys = file.metadata(), list(file.keys())
    assert metadata["visibility"] == recipe.references.visibility
    assert metadata["positions"] == recipe.references.positions
    assert any("ff.net.2" in key for key in keys) == (not recipe.lora.targets)
