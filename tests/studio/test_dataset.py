"""Datasets opened and listed, whole and damaged, small and large."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mosaic.data.index import scan as full_scan
from mosaic.studio.data import tars
from mosaic.studio.data.dataset import Dataset
from mosaic.studio.data.edits import Review
from mosaic.studio.data.filters import Filter
from mosaic.studio.data.listing import KEPT, UNJUDGED, Entry
from mosaic.studio.data.views import portrait, thumbs_of, tinted

from .sets import crowd, curated, opened, roots, sample, write_shard


def everything(entry: Entry) -> bool:
    return True


def test_a_curated_set_lists_all_rows_and_shows_them(tmp_path: Path) -> None:
    dataset = opened(tmp_path, curated(tmp_path / "set"))
    entries = list(dataset.entries())
    assert [entry.verdict for entry in entries] == (["accepted"] * 3 + ["rejected"] * 2) * 2
    assert not dataset.problems()
    for entry in entries:
        look = dataset.look(entry)  # rejected ones from what the stages left
        expected = sample(entry.key, entry.nouns)
        assert look.sample is not None and np.array_equal(look.sample.target, expected.target)
        assert [len(points) for points in look.sample.correspondences] == [3] * len(entry.nouns)
        assert thumbs_of(dataset, entry).target.startswith("data:image/webp")


def test_rejected_samples_without_stages_are_listed_all_the_same(tmp_path: Path) -> None:
    folder = curated(tmp_path / "set")
    (folder / "stages").rename(tmp_path / "gone")
    dataset = opened(tmp_path, folder)
    rejected = [entry for entry in dataset.entries() if entry.verdict == "rejected"]
    assert len(rejected) == 4
    assert "not there" in dataset.look(rejected[0]).problem
    (folder / "stages").symlink_to(tmp_path / "gone")  # a link that leads out
    assert "not there" in opened(tmp_path, folder).look(rejected[0]).problem


def test_a_plain_shard_alone(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "plain" / "a.tar", [sample("one"), sample("two", ("duck",))])
    dataset = Dataset(shard, roots(tmp_path, tmp_path / "plain"))
    entries = list(dataset.entries())
    assert [(e.key, e.verdict, e.nouns) for e in entries] == [
        ("one", UNJUDGED, ("bear", "mug")),
        ("two", UNJUDGED, ("duck",)),
    ]
    assert entries[0].caption == "a bear and a mug on sand"
    assert full_scan(shard).rows[1].key == "two"  # as training lists it


def test_views_of_one_subject_count_once(tmp_path: Path) -> None:
    views = sample("k", ("bear", "bear"))
    one = views.references[0].subject
    joined = replace(
        views,
        references=tuple(replace(reference, subject=one) for reference in views.references),
        target_masks=views.target_masks[:1],
    )
    write_shard(tmp_path / "plain" / "a.tar", [joined])
    dataset = opened(tmp_path, tmp_path / "plain")
    assert next(dataset.entries()).nouns == ("bear",)
    assert tinted(joined).target.shape == joined.target.shape


# ---------------------------------------------------------------- faults


def test_a_cut_shard_shows_what_lies_before_the_cut(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample(f"s{n}") for n in range(4)])
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    dataset = opened(tmp_path, tmp_path / "set")
    entries = list(dataset.entries())
    assert 0 < len(entries) < 4
    assert dataset.look(entries[0]).sample is not None
    assert any("a.tar" in problem for problem in dataset.problems())


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 5000])
def test_what_is_no_tar_is_told(tmp_path: Path, content: bytes) -> None:
    write_shard(tmp_path / "set" / "good.tar", [sample("a")])
    (tmp_path / "set" / "bad.tar").write_bytes(content)
    dataset = opened(tmp_path, tmp_path / "set")
    assert [entry.key for entry in dataset.entries()] == ["a"]
    assert len(dataset.problems()) == (content != b"\0" * 5000)  # zeros are an empty tar


def test_a_damaged_table_leaves_the_tar(tmp_path: Path) -> None:
    folder = curated(tmp_path / "set", parts=1)
    (folder / "set-00000.parquet").write_bytes(b"PAR1 not really")
    dataset = opened(tmp_path, folder)
    assert [entry.verdict for entry in dataset.entries()] == [UNJUDGED] * 3
    assert "set-00000.parquet" in dataset.problems()[0]


def test_a_missing_table_and_a_missing_tar(tmp_path: Path) -> None:
    folder = curated(tmp_path / "set")
    (folder / "set-00000.parquet").unlink()
    (folder / "set-00001.tar").unlink()
    dataset = opened(tmp_path, folder)
    verdicts = [entry.verdict for entry in dataset.entries()]
    assert verdicts == [UNJUDGED] * 3 + ["accepted"] * 3 + ["rejected"] * 2
    assert any("lacks 3 of the samples" in problem for problem in dataset.problems())


def test_a_damaged_picture_is_told_and_the_target_is_shown(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    content = bytearray(shard.read_bytes())
    place = tars.scan(shard).samples["a"].files["ref0.webp"]
    content[place.offset : place.offset + place.size] = bytes(place.size)
    shard.write_bytes(content)
    dataset = opened(tmp_path, tmp_path / "set")
    look = dataset.look(next(dataset.entries()))
    assert look.sample is None and look.target is not None and "damaged" in look.problem
    assert "damaged" in portrait(look, "x", lines=3, masks=True)


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no dataset"):
        opened(tmp_path, tmp_path / "empty")


def test_a_shard_that_a_link_leads_to_outside_is_not_there(tmp_path: Path) -> None:
    write_shard(tmp_path / "secret" / "b.tar", [sample("b")])
    write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    (tmp_path / "set" / "b.tar").symlink_to(tmp_path / "secret" / "b.tar")
    assert [entry.key for entry in opened(tmp_path, tmp_path / "set").entries()] == ["a"]


def test_a_changed_shard_is_read_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    dataset = opened(tmp_path, tmp_path / "set")
    assert len(list(dataset.entries())) == 1
    write_shard(tmp_path / "set" / "a.tar", [sample("a"), sample("b")])
    assert len(list(dataset.entries())) == 2


def test_a_damaged_list_is_made_again(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    cache = tmp_path / "cache"
    first = tars.packed_of(shard, cache)
    tars._kept.cache_clear()
    assert tars.packed_of(shard, cache) == first  # from disk
    next(cache.glob("*.json")).write_text("{", encoding="utf-8")
    tars._kept.cache_clear()
    assert tars.packed_of(shard, cache) == first


# ---------------------------------------------------------------- many


def test_ten_thousand_samples_are_listed_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(tmp_path / "many", parts=10, each=1000)
    dataset = opened(tmp_path, tmp_path / "many")
    scanned = []
    real = tars.scan
    monkeypatch.setattr(tars, "scan", lambda path: (scanned.append(path.name), real(path))[1])
    page = dataset.page(everything, 0, 12)
    assert len(page.entries) == 12 and page.total is None and page.more
    assert scanned == ["many-000.tar"]  # the first page reads the first part alone
    assert dataset.page(everything, 1000, 12).entries[0].part == "many-001"
    assert len(scanned) == 2
    assert sum(1 for _ in dataset.entries()) == 10_000
    start = time.process_time()  # not the clock: others may have the core
    chosen = Filter(text="number 9876")
    found = dataset.page(lambda entry: chosen.holds(entry, Review()), 0, 12)
    assert [entry.caption for entry in found.entries] == ["a bear, number 9876"] and found.total == 1
    assert time.process_time() - start < 2  # a tenth of it is usual
    assert len(scanned) == 10


def test_more_parts_than_stay_in_memory_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(tmp_path / "many", parts=KEPT + 6, each=5)
    dataset = opened(tmp_path, tmp_path / "many")
    assert dataset.page(None, 0, 12).total is None
    every = [entry.address for entry in dataset.entries()]
    read = []
    real = dataset.listed
    monkeypatch.setattr(dataset, "listed", lambda part: (read.append(part), real(part))[1])
    for start in (0, 4, 123, len(every) - 1, len(every)):
        page = dataset.page(None, start, 12)
        assert [entry.address for entry in page.entries] == every[start : start + 12]
        assert page.total == len(every) and page.more == (start + 12 < len(every))
    assert len(read) == 3 + 4 + 3 + 1  # the parts that those pages show, and no other
