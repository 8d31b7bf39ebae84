"""The toybox world through every stage but Ray: shards, table, card, checksums, sheet, inspection."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest

from mosaic.cli import run as command
from mosaic.curation.publishing import publish
from mosaic.curation.recipe import Recipe, claim, plan_of, recipe_of
from mosaic.curation.worker import Report, Worker
from mosaic.data.shards import read_shard
from mosaic.geometry import Grid, token_of

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "samples": 5,
    "shard": 3,
    "prompts": {"kind": "toybox", "subjects": [2]},
    "paint": {"kind": "toybox", "width": 96, "height": 96},
    "judge": {"kind": "toybox"},
    "segment": {"kind": "toybox"},
    "refer": {"kind": "toybox", "side": 64, "size": 64},
    "correspond": {"kind": "toybox"},
    "pack": {"name": "toys", "licence": "cc0-1.0"},
}


def build(folder: Path, only: str = "", **changes: Any) -> list[Report]:
    recipe = recipe_of(TINY | changes)
    plan = plan_of(recipe, folder)
    claim(recipe, plan.folder)
    worker = Worker(plan, [only] if only else list(recipe.stages))
    reports = [report for shard in range(plan.shards) for report in worker(shard)]
    assert not [report for report in reports if "error" in report]
    publish(plan, recipe.stages["pack"], "samples = 5")  # type: ignore[arg-type]
    return reports


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack") / "made"
    build(folder)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same run, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_shards_hold_samples_with_true_points(made: Path) -> None:
    samples = [sample for shard in sorted(made.glob("*.tar")) for sample in read_shard(shard)]
    assert len(samples) == 5 and all(len(sample.references) == 2 for sample in samples)
    for sample in samples:
        grid, claims = Grid.of_pixels(*sample.size), []
        for reference, points, mask in zip(
            sample.references, sample.correspondences, sample.target_masks, strict=True
        ):
            assert len(points) > 15
            claims.append(set(token_of(points.target, grid).tolist()))
            x, y = (points.target * 95.99).astype(int).T
            assert mask[y, x].mean() > 0.95
            u, v = (points.reference * 63.99).astype(int).T
            apart = np.abs(reference.image[v, u].astype(float) - sample.target[y, x]).mean()
            anywhere = np.abs(reference.image[v, u].astype(float) - sample.target[y, x][::-1]).mean()
            assert apart < min(40, anywhere)  # one place, one colour, but for light
        assert not claims[0] & claims[1]  # eq. 2


def test_the_table_has_every_row_with_every_score(made: Path) -> None:
    table = rows(made)
    assert [row["verdict"] for row in table] == ["accepted"] * 5
    scores = dict(table[0]["scores"])
    stages = {name.partition("/")[0] for name in scores}
    assert stages == {"judge", "segment", "refer", "correspond", "pack"}
    assert "paint · toybox · CC0-1.0" in table[0]["made_by"]
    assert table[0]["caption"] and table[0]["looks"][0].startswith("a")
    keys = [sample.key for shard in sorted(made.glob("*.tar")) for sample in read_shard(shard)]
    assert keys == [row["id"] for row in table]


def test_checksums_are_those_of_the_files(made: Path) -> None:
    lines = (made / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 4
    for line in lines:
        sum_, name = line.split("  ")
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == sum_


def test_the_card_tells_statistics_and_licences(made: Path) -> None:
    card = (made / "README.md").read_text()
    assert card.startswith("---\npretty_name: toys\nlicense: cc0-1.0\n")
    assert "5 samples in 2 shards" in card
    assert "| paint | toybox | CC0-1.0 | 5 |" in card and "| accepted | 5 |" in card


def test_the_sheet_shows_pictures(made: Path) -> None:
    html = (made / "samples.html").read_text()
    assert html.count("data:image/webp;base64,") == 5
    assert len(re.findall(r"http", html)) == 0


def test_moved_thresholds_pack_again_without_a_model(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    areas = sorted(
        min(value for name, value in row["scores"] if re.fullmatch(r"segment/\d/area", name))
        for row in rows(copy)
    )
    least = (areas[1] + areas[2]) / 2
    monkeypatch.setattr("mosaic.curation.toybox_backends.composition", None)  # no renderer any more
    before = {path.name: path.read_bytes() for path in copy.glob("*.tar")}
    reports = build(copy, only="pack", thresholds={"segment/*/area": {"least": least}})
    assert sum(report["rejected"] for report in reports) == 2
    rejected = [row for row in rows(copy) if row["verdict"] == "rejected"]
    assert all(row["stage"] == "segment" and "below" in row["reason"] for row in rejected)
    assert len(rejected) == 2 and "Not taken" in (copy / "samples.html").read_text()
    reports = build(copy, only="pack")
    assert all(report["rows"] for report in reports)
    assert {path.name: path.read_bytes() for path in copy.glob("*.tar")} == before
    assert all(report["rows"] == 0 for report in build(copy, only="pack"))


def test_a_shard_without_an_accepted_sample_has_no_tar(copy: Path) -> None:
    build(copy, only="pack", thresholds={"segment/*/area": {"least": 0.99}})
    assert not list(copy.glob("*.tar")) and len(rows(copy)) == 5
    assert "There are none" in (copy / "samples.html").read_text()


def test_a_damaged_picture_is_a_failed_row(copy: Path) -> None:
    tar = copy / "stages/refer/shard-00000.tar"
    content = bytearray(tar.read_bytes())
    content[512:520] = b"damaged!"
    tar.write_bytes(content)
    statistics = copy / "stages/refer/shard-00000.json"
    statistics.write_text(statistics.read_text() + "\n")  # as another part would be
    build(copy, only="pack")
    assert [row["verdict"] for row in rows(copy)].count("failed") == 1
    failed = next(row for row in rows(copy) if row["verdict"] == "failed")
    assert failed["stage"] == "pack" and "damaged" in failed["reason"]


def test_smaller_packings_leave_no_old_shards(copy: Path) -> None:
    build(copy, only="pack", samples=3)
    assert [path.name for path in sorted(copy.glob("*.tar"))] == ["toys-00000.tar"]
    assert len((copy / "SHA256SUMS").read_text().splitlines()) == 2


def test_another_backend_needs_another_folder(copy: Path) -> None:
    with pytest.raises(ValueError, match=r"stages/paint was made with another paint\.width"):
        build(copy, paint=TINY["paint"] | {"width": 128})
    build(copy, paint=TINY["paint"] | {"batch": 2})  # changes nothing of what is made


def test_inspect_counts_and_draws(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["inspect", str(made), "--output", str(tmp_path / "page.html"), "--samples", "3"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"samples\s+5\n", told) and "96×96: 5" in told
    assert (tmp_path / "page.html").read_text().count("data:image/webp") == 3
    sheet = (made / "samples.html").read_bytes()  # with what was rejected, which shards do not tell
    assert command(["inspect", str(made)]) == 0
    assert (made / "inspected.html").is_file() and (made / "samples.html").read_bytes() == sheet
    (made / "inspected.html").unlink()
    shard = str(shutil.copy(made / "toys-00001.tar", tmp_path))
    assert command(["inspect", shard]) == 0
    assert (tmp_path / "toys-00001.html").is_file()


@pytest.mark.parametrize("content", [None, b"", b"no tar at all" * 100])
def test_inspecting_what_is_no_shard_is_one_sentence(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tar"
    if content is not None:
        path.write_bytes(content)
    status = command(["inspect", str(path)])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1) and "Traceback" not in error


class Hub:
    """Stands in for the hub's client."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []
    refuses = False

    def create_repo(self, repository: str, **options: Any) -> None:
        if self.refuses:
            raise OSError("401: who are you?")
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))


def test_a_push_sends_what_was_packed_and_nothing_else(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    build(copy, only="pack", pack=TINY["pack"] | {"hub": "somebody/toys"})
    (repository, made), (_, sent) = Hub.calls
    assert repository == "somebody/toys" and made["repo_type"] == "dataset" and made["private"]
    names = sent["allow_patterns"]
    assert {"toys-*.tar", "toys-*.parquet", "README.md"} < set(names) and not any(
        "stages" in n for n in names
    )
    monkeypatch.setattr(Hub, "refuses", True)
    with pytest.raises(ValueError, match=r"pack\.hub: somebody/toys could not be pushed to \(401"):
        build(copy, only="pack", pack=TINY["pack"] | {"hub": "somebody/toys"})


# ---------------------------------------------------------------- recipes


def test_the_shipped_recipe_is_understood() -> None:
    from mosaic.curation.recipe import read_recipe

    recipe = read_recipe(ROOT / "recipes" / "curate-toybox.toml", ["samples=7", "paint.width=128"])
    assert (recipe.samples, recipe.together) == (7, True)
    assert json.loads(recipe.stages["paint"].model_dump_json())["width"] == 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampels": 4}, "unknown key sampels; did you mean samples"),
        ({"paint": {"kind": "toybox", "widht": 64}}, r"\[paint\]: unknown key widht; did you mean width"),
        ({"paint": {"kind": "photoshop"}}, "'toybox'"),
        ({"paint": 3}, r"paint is a table, \[paint\]"),
        ({"samples": 0}, "samples: Input should be greater than or equal to 1"),
        ({"samples": None}, "needs samples"),
        ({"thresholds": {"segmant/area": {"least": 0}}}, "must begin with a stage"),
        ({"workers": {"panit": {"count": 2}}}, "workers.panit is no stage"),
        ({"stages": {}}, "unknown key stages"),
        ({"pack": {"name": "../up"}}, r"\[pack\]: name: "),
    ],
)
def test_mistakes_in_a_recipe_are_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        recipe_of(TINY | changes)
    assert "\n" not in str(caught.value)


def test_a_recipe_has_one_source() -> None:
    without = {name: table for name, table in TINY.items() if name != "prompts"}
    with pytest.raises(ValueError, match=r"one of the tables \[import\] and \[prompts\]"):
        recipe_of(without)


def test_only_names_a_stage_of_the_recipe() -> None:
    from mosaic.curation.recipe import pools_of

    recipe: Recipe = recipe_of(TINY)
    assert list(pools_of(recipe, "segment")) == [("segment",)]
    with pytest.raises(ValueError, match="--only import: the recipe has prompts, paint"):
        pools_of(recipe, "import")
