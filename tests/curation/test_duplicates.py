"""Near-duplicates: one of each group stays, whatever the shards, and the others name it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mosaic.curation.duplicates import note_duplicates, note_of
from mosaic.curation.engine import Workers
from mosaic.curation.folder import read_rows, write_rows
from mosaic.curation.recipe import Recipe, phases_of, plan_of, recipe_of
from mosaic.curation.worker import Report, Worker
from mosaic.perception.duplicates import hamming, perceptual_hash

GROUPS = (0, 1, 0, 2, 1, 0, 3, 2)  # which picture each sample shows, but for its brightness and size


def pictures(folder: Path) -> Path:
    """Blurred noise, so that low frequencies tell the groups apart; named in the order of GROUPS."""
    folder.mkdir()
    for number, group in enumerate(GROUPS):
        noise = np.random.default_rng(group).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        side = 96 + 8 * number
        picture = np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))
        Image.fromarray((picture * (0.9 + 0.01 * number)).astype(np.uint8)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(f"a dog and cat number {number}")
    return folder


def recipe(path: Path, duplicates: int | None = 6, **more: Any) -> Recipe:
    section = {} if duplicates is None else {"duplicates": duplicates}
    return recipe_of(
        {"import": {"kind": "folder", "path": str(path)}, "pack": {"name": "set"} | section} | more
    )


def run(read: Recipe, folder: Path, most: int = 6) -> list[Report]:
    """Without Ray: all stages but pack, the pass, pack."""
    plan = plan_of(read, folder)
    early, late = Worker(plan, [stage for stage in read.stages if stage != "pack"]), Worker(plan, ["pack"])
    for shard in range(plan.shards):
        early(shard)
    note_duplicates(plan, most)
    return [report for shard in range(plan.shards) for report in late(shard)]


def table(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("set-*.parquet")) for row in pq.read_table(path).to_pylist()]


def verdicts(folder: Path) -> list[str]:
    return [row["verdict"] for row in table(folder)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures that are packed as they are: their other files would need models."""
    monkeypatch.setattr("mosaic.curation.stages.pack.assembled", lambda work, files: (files, None))
    monkeypatch.setattr("mosaic.curation.stages.pack.measured", lambda sample: {})
    return pictures(tmp_path / "pictures")


def test_the_first_of_each_group_stays_and_the_others_say_of_which(data: Path, tmp_path: Path) -> None:
    run(recipe(data), tmp_path / "out")
    rows = table(tmp_path / "out")
    first = {group: GROUPS.index(group) for group in GROUPS}
    for number, (group, row) in enumerate(zip(GROUPS, rows, strict=True)):
        if number == first[group]:
            assert (row["verdict"], row["duplicate_of"]) == ("accepted", "")
        else:
            of = rows[first[group]]
            assert (row["verdict"], row["stage"], row["duplicate_of"]) == ("rejected", "pack", of["id"])
            bits = hamming(*(int(json.loads(one["facts"])["import"]["hash"], 16) for one in (row, of)))
            assert row["reason"] == f"pack/duplicate is {of['id']}, of whose 64 bits {bits} differ"
    note = json.loads((tmp_path / "out/stages/pack/shard-00000.json").read_text())
    assert note["rejected_by"] == {"pack/duplicate": 4}


def test_the_size_of_the_shards_changes_nothing(data: Path, tmp_path: Path) -> None:
    said = []
    for shard in (1, 3, 100):
        run(recipe(data, shard=shard), tmp_path / str(shard))
        said.append([(row["id"], row["verdict"], row["reason"]) for row in table(tmp_path / str(shard))])
    assert said[0] == said[1] == said[2]


def test_where_the_first_is_rejected_the_second_stays(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    run(recipe(data, shard=3), folder)
    yes, no = "accepted", "rejected"
    assert verdicts(folder) == [yes, yes, no, yes, no, no, yes, no]
    give_scores(folder / "stages/import/shard-00000.parquet", {"import/size": [96.0, 104.0, 112.0]})
    run(recipe(data, shard=3, thresholds={"import/size": {"least": 100}}), folder)
    assert verdicts(folder) == [no, yes, yes, yes, no, no, yes, no]
    rows = table(folder)
    assert rows[0]["reason"] == "import/size is 96, below 100" and rows[5]["duplicate_of"] == rows[2]["id"]


def give_scores(part: Path, scores: dict[str, list[float]]) -> None:
    """Write further scores into a part, whose statistics are then others."""
    rows = read_rows(part)
    for name, values in scores.items():
        rows = [
            replace(row, outcome=replace(row.outcome, scores=row.outcome.scores | {name: value}))
            for row, value in zip(rows, values, strict=True)
        ]
    write_rows(part, rows)
    note = part.with_suffix(".json")
    note.write_text(note.read_text() + "\n")


def test_a_second_run_packs_nothing_and_another_threshold_packs_again(data: Path, tmp_path: Path) -> None:
    run(recipe(data, shard=3), tmp_path / "out")
    before = note_of(tmp_path / "out", 1).stat().st_mtime_ns
    assert [report["rows"] for report in run(recipe(data, shard=3), tmp_path / "out")] == [0, 0, 0]
    assert note_of(tmp_path / "out", 1).stat().st_mtime_ns == before
    again = run(recipe(data, shard=3), tmp_path / "out", most=0)
    assert sum(report["rows"] for report in again) > 0
    run(recipe(data, None, shard=3), tmp_path / "out")
    assert verdicts(tmp_path / "out") == ["accepted"] * len(GROUPS)


def test_the_hash_is_that_of_the_picture_that_is_packed(data: Path, tmp_path: Path) -> None:
    run(recipe(data), tmp_path / "out")
    facts = json.loads(table(tmp_path / "out")[3]["facts"])
    picture = np.asarray(Image.open(data / "3.jpg"))
    assert facts["import"]["hash"] == f"{perceptual_hash(picture):016x}"


def test_packing_waits_where_duplicates_are_dropped() -> None:
    ordinary = {"samples": 2, "prompts": {}, "segment": {"kind": "toybox"}}
    one = Workers()
    dropping = recipe_of(ordinary | {"pack": {"duplicates": 2}})
    assert phases_of(dropping, None) == [{("prompts",): one, ("segment",): one}, {("pack",): one}]
    assert phases_of(dropping, "pack") == [{}, {("pack",): one}]
    assert phases_of(dropping, "segment") == [{("segment",): one}]
    together = recipe_of(ordinary | {"pack": {"duplicates": 2}, "together": True})
    assert phases_of(together, None) == [{("prompts", "segment"): one}, {("pack",): one}]
    assert phases_of(recipe_of(ordinary | {"pack": {}}), None) == [
        {("prompts",): one, ("segment",): one, ("pack",): one}
    ]


def test_a_threshold_beyond_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[pack\]: duplicates: Input should be less than or equal to 16"):
        recipe_of({"samples": 1, "prompts": {}, "pack": {"duplicates": 17}})
