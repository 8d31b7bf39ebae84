"""A dataset written with a review applied: what changes, what stays to the byte, what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mosaic.data.shards import decode_sample, encode_sample, read_shard
from mosaic.studio.data.dataset import Dataset, read_table
from mosaic.studio.data.edits import Edit, Review, read_edits, write_edit
from mosaic.studio.data.exporting import apply, export, free_name
from mosaic.studio.data.marking import points_of, question

from .sets import curated, opened, roots, sample, write_shard


def digest(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "reviews" not in file.parts
    }


def test_an_export_applies_the_edits_and_leaves_the_dataset_alone(tmp_path: Path) -> None:
    folder = curated(tmp_path / "set")
    before = digest(folder)
    dataset = opened(tmp_path, folder)
    entries = list(dataset.entries())
    accepted = [entry for entry in entries if entry.verdict == "accepted"]
    rejected = [entry for entry in entries if entry.verdict == "rejected"]
    dropped, mended, wrong, same = accepted[:4]
    table = points_of(dataset.files(wrong))
    asked = question(wrong.address, table, 1)
    edits = [
        Edit(sample=dropped.address, thing="decision", value="drop"),
        Edit(sample=rejected[0].address, thing="decision", value="keep"),
        Edit(sample=mended.address, thing="caption", value="a cub", was=mended.caption),
        Edit(sample=mended.address, thing="noun", which=f"{mended.key}-0", value="cub", was="bear"),
        asked.edit("wrong"),
        question(wrong.address, table, 0).edit("right"),
    ]
    file = dataset.review_file("ann")
    for edit in edits:
        write_edit(file, edit)
    review = Review.of(read_edits(file))
    where, done = export(dataset, review, "mine", reviewer="ann")
    assert digest(folder) == before
    assert (done.samples, done.dropped, done.kept, done.mended, done.points_removed) == (6, 1, 1, 1, 1)
    assert not done.problems
    made = {one.key: one for shard in sorted(where.glob("*.tar")) for one in read_shard(shard)}
    assert dropped.key not in made and rejected[0].key in made and rejected[1].key not in made
    assert made[mended.key].caption == "a cub"
    assert made[mended.key].subjects[0].name == "cub"
    assert [len(points) for points in made[wrong.key].correspondences] == [2, *[3] * (len(wrong.nouns) - 1)]
    old = decode_sample({"__key__": wrong.key, **dataset.files(wrong)}).correspondences[0]
    kept = [0, 2]
    assert np.array_equal(made[wrong.key].correspondences[0].target, old.target[kept])
    exported = Dataset(where, dataset.roots)
    rows = {row.id: row for path in where.glob("*.parquet") for row in read_table(path).values()}
    assert (rows[dropped.key].verdict, rows[dropped.key].stage) == ("rejected", "review")
    assert (rows[rejected[0].key].verdict, rows[rejected[0].key].reason) == ("accepted", "")
    assert rows[mended.key].subjects[0] == "cub" and rows[mended.key].caption == "a cub"
    assert exported.files(exported.entry(same.address)) == dataset.files(same)  # to the byte
    assert not exported.problems()
    sums = dict(line.split("  ")[::-1] for line in (where / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: digest(where)[name] for name in sums} and len(sums) == 4
    told = json.loads((where / "review.json").read_text())
    assert told["reviewer"] == "ann" and told["samples"] == 6
    assert Review.of(read_edits(where / "edits.jsonl")).edits == review.edits


def test_replaying_the_edits_gives_the_same_export(tmp_path: Path) -> None:
    dataset = opened(tmp_path, curated(tmp_path / "set"))
    first = next(dataset.entries())
    review = Review.of([Edit(sample=first.address, thing="caption", value="new", was=first.caption)])
    one, _ = export(dataset, review, "one")
    other, _ = export(dataset, Review.of(read_edits(one / "edits.jsonl")), "other")
    assert digest(one) == digest(other)


def test_edits_that_fit_no_more_are_told_and_left_out() -> None:
    files = encode_sample(sample("s2", points=3))
    table = points_of(files)
    stale = [
        Edit(sample="p/s", thing="caption", value="new", was="something else"),
        Edit(sample="p/s", thing="noun", which="nobody", value="cub", was="bear"),
        question("p/s", table, 0).edit("wrong").model_copy(update={"was": "0,9,9,9,9"}),
        Edit(sample="p/s", thing="point", which="0/99", value="wrong", was="0,1,1,1,1"),
    ]
    edited, removed, problems = apply(files, Review.of(stale), "p/s")
    assert edited == files and removed == 0 and len(problems) == 4


def test_keeping_what_has_no_files_is_told(tmp_path: Path) -> None:
    folder = curated(tmp_path / "set")
    (folder / "stages").rename(tmp_path / "gone")
    dataset = opened(tmp_path, folder)
    rejected = next(entry for entry in dataset.entries() if entry.verdict == "rejected")
    review = Review.of([Edit(sample=rejected.address, thing="decision", value="keep")])
    where, done = export(dataset, review, "mine")
    assert done.samples == 6 and done.kept == 0 and rejected.address in done.problems[0]
    rows = {row.id: row for path in where.glob("*.parquet") for row in read_table(path).values()}
    assert rows[rejected.key].verdict == "rejected"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "..", "x" * 81, "/tmp/x"])
def test_an_export_has_a_plain_name(tmp_path: Path, name: str) -> None:
    dataset = opened(tmp_path, curated(tmp_path / "set", parts=1))
    with pytest.raises(ValueError, match="cannot name an export"):
        export(dataset, Review(), name)


def test_an_export_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    dataset = opened(tmp_path, curated(tmp_path / "set"))

    def stop(samples: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(dataset, Review(), "mine", advance=stop)
    assert not list(dataset.roots.exports.iterdir())  # nothing that could be taken for a dataset
    (dataset.roots.exports / ".mine.partial").mkdir()  # as a kill leaves it
    (dataset.roots.exports / ".mine.partial" / "old.tar").touch()
    assert dataset.roots.places("*.tar") == [tmp_path / "set"]
    where, _ = export(dataset, Review(), "mine")
    assert not (where / "old.tar").exists()
    with pytest.raises(ValueError, match="already"):
        export(dataset, Review(), "mine")
    (dataset.roots.exports / "link").symlink_to(tmp_path / "set")
    with pytest.raises(ValueError, match="already"):
        export(dataset, Review(), "link")
    assert [free_name(dataset.roots.exports, name) for name in ("mine", "new")] == ["mine-2", "new"]


def test_two_windows_cannot_write_one_export(tmp_path: Path) -> None:
    dataset = opened(tmp_path, curated(tmp_path / "set"))

    def other(samples: int) -> None:
        with pytest.raises(ValueError, match="is being written"):
            export(dataset, Review(), "mine")

    where, done = export(dataset, Review(), "mine", advance=other)
    assert done.samples == 6 and (where / "review.json").exists()


def test_an_untouched_plain_shard_keeps_its_samples(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample("a"), sample("b")])
    dataset = Dataset(shard, roots(tmp_path, tmp_path / "set"))
    where, _ = export(dataset, Review(), "copy")
    assert not list(where.glob("*.parquet"))
    copy = Dataset(where, dataset.roots)
    for entry in dataset.entries():
        assert copy.files(copy.entry(entry.address)) == dataset.files(entry)
