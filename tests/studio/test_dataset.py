"""Datasets opened, listed and filtered, whole and damaged, small and large."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.curation.verdicts import Bounds
from mosaic.data.index import scan as full_scan
from mosaic.studio.data import desk as steps
from mosaic.studio.data import tars
from mosaic.studio.data.dataset import UNJUDGED, Dataset, Entry
from mosaic.studio.data.edits import Edit, Review
from mosaic.studio.data.filters import Filter, range_of, score_names
from mosaic.studio.data.views import cards, lacking, loupe, portrait, thumbs_of, tinted
from mosaic.studio.roots import Roots

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
    from dataclasses import replace

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
    with pytest.raises(ValueError, match="holds no shard"):
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
    start = time.perf_counter()
    chosen = Filter(text="number 9876")
    found = dataset.page(lambda entry: chosen.holds(entry, Review()), 0, 12)
    assert [entry.caption for entry in found.entries] == ["a bear, number 9876"] and found.total == 1
    assert time.perf_counter() - start < 2  # a tenth of it on an idle core
    assert len(scanned) == 10


# ---------------------------------------------------------------- filters

ENTRIES = st.builds(
    Entry,
    part=st.just("p"),
    key=st.sampled_from(["a1", "b2"]),
    verdict=st.sampled_from(["accepted", "rejected"]),
    stage=st.sampled_from(["", "segment", "judge"]),
    reason=st.sampled_from(["", "too small"]),
    caption=st.sampled_from(["a Bear on sand", "a mug"]),
    nouns=st.sampled_from([("bear",), ("mug", "bear")]),
    scores=st.dictionaries(
        st.sampled_from(["s/0/area", "s/1/area", "j/x"]), st.floats(allow_nan=True, width=16)
    ),
)
FILTERS = st.builds(
    Filter,
    subjects=st.sets(st.sampled_from([1, 2])).map(frozenset),
    verdicts=st.sets(st.sampled_from(["accepted", "rejected"])).map(frozenset),
    stages=st.sets(st.sampled_from(["segment", "judge"])).map(frozenset),
    text=st.sampled_from(["", "bear", "SAND a", "small", "b2"]),
    ranges=st.sampled_from([(), (("s/*/area", Bounds(least=0.0)),), (("j/x", Bounds(least=-1, most=1)),)]),
)


@given(ENTRIES, FILTERS)
def test_a_filter_is_what_it_says(entry: Entry, chosen: Filter) -> None:
    holds = True
    if chosen.subjects:
        holds &= len(entry.nouns) in chosen.subjects
    if chosen.verdicts:
        holds &= entry.verdict in chosen.verdicts
    if chosen.stages:
        holds &= entry.stage in chosen.stages
    for pattern, bounds in chosen.ranges:
        values = [v for name, v in entry.scores.items() if fnmatchcase(name, pattern)]
        low = -np.inf if bounds.least is None else bounds.least
        high = np.inf if bounds.most is None else bounds.most
        holds &= len(values) > 0 and all(low <= v <= high for v in values)
    text = f"p/{entry.key} {entry.caption} {' '.join(entry.nouns)} {entry.reason}".lower()
    holds &= all(word in text for word in chosen.text.lower().split())
    assert chosen.holds(entry, Review()) == holds


def test_filters_by_review_and_ranges() -> None:
    entry = Entry(part="p", key="k")
    dropped = Review.of([Edit(sample="p/k", thing="decision", value="drop")])
    mended = Review.of([Edit(sample="p/k", thing="caption", value="x")])
    for review, kind in ((Review(), "not decided"), (dropped, "dropped"), (mended, "mended")):
        assert Filter(reviewed=kind).holds(entry, review)  # type: ignore[arg-type]
    assert not Filter(reviewed="kept").holds(entry, dropped)
    assert range_of("", 1, 2) is None and range_of("a", None, None) is None
    assert score_names([Entry(part="p", key="k", scores={"s/0/a": 1, "s/1/a": 2})]) == ["s/*/a"]


# ---------------------------------------------------------------- the desk


def desk_on(tmp_path: Path, data: Path) -> steps.Desk:
    return steps.open_dataset(steps.Desk(roots=roots(tmp_path, data)), str(data), "ann")


def test_pages_turn_within_their_bounds(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "a.tar", [sample(f"s{n:02d}", ("bear",)) for n in range(30)])
    now = desk_on(tmp_path, tmp_path / "set")
    assert steps.turned(now, -1).start == 0
    last = steps.turned(steps.turned(now, 1), 1)
    assert last.start == 24 and steps.turned(last, 1) == last
    steps.choices(now.dataset)
    assert steps.place_in(steps.page(last)) == "25 – 30 of 30"
    assert steps.filtered(last, Filter(text="nothing like it")).start == 0
    assert steps.place_in(steps.page(steps.filtered(last, Filter(text="nothing like it")))) == "0 samples"


def test_mending_writes_what_changed_alone(tmp_path: Path) -> None:
    from dataclasses import replace

    now = desk_on(tmp_path, curated(tmp_path / "set"))
    with pytest.raises(ValueError, match="Choose a sample"):
        steps.decide(now, "keep")
    now = replace(now, selected=next(now.dataset.entries()).address)
    one = steps.chosen(now)
    nouns = "\n".join(noun for _, noun in one.nouns)
    assert not steps.mend(now, one.caption, one.detailed_caption, nouns)
    assert not now.dataset.review_file("ann").exists()
    edits = steps.mend(now, "a cub and a mug", one.detailed_caption, nouns.replace("bear", "cub"))
    assert [(edit.thing, edit.value, edit.was) for edit in edits] == [
        ("caption", "a cub and a mug", "a bear and a mug on sand"),
        ("noun", "cub", "bear"),
    ]
    assert steps.chosen(now).nouns[0][1] == "cub"
    back = steps.mend(now, one.caption, one.detailed_caption, nouns)  # as the dataset has it
    assert [edit.value for edit in back] == [None, None] and not now.review.edits
    for caption, lines in ((" ", nouns), (one.caption, "bear")):
        with pytest.raises(ValueError, match=r"empty|as many nouns"):
            steps.mend(now, caption, "", lines)
    with pytest.raises(ValueError, match="no sample"):
        steps.chosen(replace(now, selected="set-00000/nobody"))


def test_datasets_are_offered_and_reports_are_not(tmp_path: Path) -> None:
    write_shard(tmp_path / "data" / "toys" / "a.tar", [sample("a")])
    (tmp_path / "data" / "report").mkdir()
    (tmp_path / "data" / "report" / "scores.parquet").touch()
    assert steps.offered(roots(tmp_path, tmp_path / "data")) == [str(tmp_path / "data" / "toys")]


# ---------------------------------------------------------------- what is shown


def test_what_people_wrote_is_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    entry = Entry(part="p", key=evil, caption=evil, verdict=evil, stage=evil, reason=evil)
    now = Dataset.__new__(Dataset)
    del now
    from mosaic.studio.data.views import Thumbs, scores_of, told_of

    html = cards([(entry, Thumbs())], Review(), "") + told_of(entry, Review()) + scores_of(entry)
    assert "<img" not in html and "onerror" in html


def test_a_caption_that_lacks_a_noun_is_flagged() -> None:
    assert lacking("two Bears on a mug", ["bear", "mug", "duck"]) == ["duck"]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_loupe_shows_what_lies_around_a_point(x: float, y: float) -> None:
    from PIL import Image

    image = Image.new("RGB", (64, 48), "#ff0000")
    part = np.asarray(loupe(image, (x, y), "#00ff00"))
    assert part.shape == (200, 200, 3)
    corner = part[4, 4].tolist()
    reach = 64 * 0.09
    inside = x * 64 - reach * 0.97 > 1 and y * 48 - reach * 0.97 > 1
    if inside:
        assert corner == [255, 0, 0]


def test_roots_can_be_kept_in_a_set(tmp_path: Path) -> None:
    assert len({Roots(home=tmp_path), Roots(home=tmp_path)}) == 1
