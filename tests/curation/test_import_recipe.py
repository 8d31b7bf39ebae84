"""recipes/curate-import.toml on small hand-made sets, with the true classes on tiny random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from perception import tiny
from PIL import Image

from mosaic.curation.duplicates import note_duplicates
from mosaic.curation.recipe import Recipe, plan_of, read_recipe
from mosaic.curation.stages.refer import Section, make
from mosaic.curation.worker import Report, Worker
from mosaic.data.shards import Sample, mask_of, read_shard, webp_of

from .pipelines import kontext
from .test_import_sets import uno_set
from .works import segmented

RECIPE = Path(__file__).parents[2] / "recipes" / "curate-import.toml"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Changes of the recipe: every model a tiny one, on the CPU."""
    root = tmp_path_factory.mktemp("models")
    detector, masker = tiny.grounding_dino(root / "detector"), tiny.sam2(root / "masker")
    dino = tiny.dinov2(root / "dino")
    found = [
        f"refer.model={kontext(root / 'editor')}",
        f"refer.encoder={dino}",
        "refer.side=64",
        "refer.size=48",
    ]
    found += ["refer.steps=1", "refer.arguments={max_sequence_length=16}", "thresholds={}", "shard=2"]
    for where in ("segment", "refer.segmenter"):
        found += [f"{where}.detector={detector}", f"{where}.masker={masker}", f"{where}.device=cpu"]
    found += [
        "refer.device=cpu",
        "correspond.device=cpu",
        "correspond.first=[{kind='gradients',tokens=16,cell=2}]",
    ]
    return [*found, f"correspond.second=[{{kind='dino',model='{dino}',patches=4,tokens=16}}]"]


def run(recipe: Recipe, folder: Path) -> list[Report]:
    plan = plan_of(recipe, folder)
    early, late = Worker(plan, [stage for stage in recipe.stages if stage != "pack"]), Worker(plan, ["pack"])
    reports = [report for shard in range(plan.shards) for report in early(shard)]
    note_duplicates(plan, recipe.stages["pack"].duplicates)  # type: ignore[attr-defined]
    reports += [report for shard in range(plan.shards) for report in late(shard)]
    assert not [report["error"] for report in reports if "error" in report]
    return reports


def table(folder: Path) -> list[dict[str, Any]]:
    return [
        row for file in sorted(folder.glob("imported-*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def packed(folder: Path) -> list[Sample]:
    return [sample for tar in sorted(folder.glob("imported-*.tar")) for sample in read_shard(tar)]


def own_pictures(folder: Path) -> Path:
    """Two pictures, the first again and smaller, and a file that is no picture."""
    folder.mkdir()
    for name, seed, side in (("a", 1, 96), ("b", 2, 96), ("c", 1, 80)):
        blobs = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{name}.jpg")
        (folder / f"{name}.txt").write_text("a dog and a cat on grass")
    (folder / "d.jpg").write_bytes(b"no picture at all")
    (folder / "d.txt").write_text("a dog and a cat on grass")
    return folder


def test_a_folder_of_ones_own(models: list[str], tmp_path: Path) -> None:
    path = own_pictures(tmp_path / "pictures")
    recipe = read_recipe(RECIPE, [*models, f"import.path={path}"])
    run(recipe, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["verdict"] for row in rows] == ["accepted", "accepted", "rejected", "failed"]
    assert rows[2]["duplicate_of"] == rows[0]["id"] and rows[3]["stage"] == "import"
    samples = packed(tmp_path / "out")
    assert [sample.key for sample in samples] == [rows[0]["id"], rows[1]["id"]]
    for sample in samples:
        assert [subject.name for subject in sample.subjects] == ["dog", "cat"]
        assert [reference.image.shape for reference in sample.references] == [(48, 48, 3)] * 2
        assert all(mask.shape == sample.size for mask in sample.target_masks)
    assert {name.partition("/")[0] for name, _ in rows[0]["scores"]} == {
        "segment",
        "refer",
        "correspond",
        "pack",
    }


def test_a_set_that_brings_references_needs_no_editor(models: list[str], tmp_path: Path) -> None:
    uno_set(tmp_path / "uno", "folders")
    changes = [*models, "import.kind=uno-1m", f"import.path={tmp_path / 'uno'}", "refer.kind=brought"]
    recipe = read_recipe(RECIPE, [*changes, "refer.model=nowhere/at-all"])
    run(recipe, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["verdict"] for row in rows][-1] == "failed" and len(rows) == 6
    samples = packed(tmp_path / "out")
    assert samples and all(len(sample.references) == 1 for sample in samples)
    assert samples[0].references[0].image.shape == (48, 64, 3)  # as it came
    assert "segment · " in rows[0]["made_by"][1]


def test_nothing_is_made_where_nothing_was_brought(models: list[str]) -> None:
    stage = make(Section(kind="brought"))
    with pytest.raises(ValueError, match=r'no reference of the bear, and refer\.kind = "brought" makes none'):
        stage([segmented()])


def test_a_brought_reference_is_found_by_the_segmenter(models: list[str]) -> None:
    given = dict(change.split("=", 1) for change in models)
    segmenter = {key: given[f"refer.segmenter.{key}"] for key in ("detector", "masker", "device")}
    work = segmented()
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    work.files.update({f"ref{k}.webp": webp_of(picture) for k in range(2)})  # type: ignore[attr-defined]
    work.facts["references"] = [0, 1]
    (found,) = make(Section(kind="brought", segmenter=segmenter))([work])
    (other,) = make(Section(kind="brought"))([work])
    mine, everything = (mask_of(one.files["ref0.mask.png"]) for one in (found, other))
    assert everything.mean() > 0.99 and not np.array_equal(mine, everything)
    assert found.scores["refer/0/area"] == pytest.approx(mine.mean())
