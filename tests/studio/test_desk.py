"""Filters, pages, keys and mending on a desk, and what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.curation.verdicts import Bounds
from mosaic.matching.spread import thinned
from mosaic.studio.data import desk as steps
from mosaic.studio.data.edits import Edit, Review
from mosaic.studio.data.filters import Filter, range_of, score_names
from mosaic.studio.data.listing import Entry
from mosaic.studio.data.mending import Seen, Words, mend, restore
from mosaic.studio.data.samples_tab import _saved
from mosaic.studio.data.sheet import sheet
from mosaic.studio.data.views import LOUPE, cards, lacking, loupe, reach_of
from mosaic.studio.roots import Roots

from .sets import curated, roots, sample, write_shard

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
    assert steps.filtered(last, Filter()) == last  # a glance into the search field turns no page
    assert steps.place_in(steps.page(steps.filtered(last, Filter(text="nothing like it")))) == "0 samples"


def test_mending_writes_what_changed_alone(tmp_path: Path) -> None:
    now = desk_on(tmp_path, curated(tmp_path / "set"))
    with pytest.raises(ValueError, match="Choose a sample"):
        steps.decide(now, "keep")
    now = replace(now, selected=next(now.dataset.entries()).address)
    one = steps.chosen(now)
    seen = Words.of(one)
    assert not mend(now, seen, seen)
    assert Words.typed(" a b ", "", "\n x \n\ny").stripped() == Words.typed("a b", "", "x\ny")
    assert not now.dataset.review_file("ann").exists()
    cub = replace(seen, caption="a cub and a mug", nouns=("cub", "mug"))
    edits = mend(now, cub, seen)
    assert [(edit.thing, edit.value, edit.was) for edit in edits] == [
        ("caption", "a cub and a mug", "a bear and a mug on sand"),
        ("noun", "cub", "bear"),
    ]
    assert steps.chosen(now).nouns[0][1] == "cub"
    back = mend(now, seen, cub)  # as the dataset has it
    assert [edit.value for edit in back] == [None, None] and not now.review.edits
    for caption, nouns in (("", seen.nouns), (one.caption, ("bear",))):
        with pytest.raises(ValueError, match=r"empty|as many nouns"):
            mend(now, replace(seen, caption=caption, nouns=nouns), seen)
    with pytest.raises(ValueError, match="no sample"):
        steps.chosen(replace(now, selected="set-00000/nobody"))


def test_two_windows_do_not_undo_each_other(tmp_path: Path) -> None:
    now = desk_on(tmp_path, curated(tmp_path / "set"))
    now = replace(now, selected=next(now.dataset.entries()).address)
    seen = Words.of(steps.chosen(now))  # in both windows
    mend(now, replace(seen, caption="a cub and a mug"), seen)
    mend(now, replace(seen, nouns=("cub", "mug")), seen)  # the other, which still shows the old caption
    assert Words.of(steps.chosen(now)) == replace(seen, caption="a cub and a mug", nouns=("cub", "mug"))
    with pytest.raises(ValueError, match='another window and reads "a cub and a mug" now'):
        mend(now, replace(seen, caption="a bear, a mug"), seen)
    assert len(restore(now)) == 2 and Words.of(steps.chosen(now)) == seen
    assert not restore(now)


def test_what_is_typed_belongs_to_the_sample_it_was_typed_for(tmp_path: Path) -> None:
    """A key that comes before the answer to the last one finds another sample chosen."""
    now = desk_on(tmp_path, curated(tmp_path / "set"))
    first, second = [entry.address for entry in now.dataset.entries()][:2]
    words = Words.of(steps.chosen(replace(now, selected=first)))
    sent = Seen(sample=first, words=words).sent()
    assert Seen.received(sent) == Seen(sample=first, words=words) and Seen.received("") is None
    moved, nouns = replace(now, selected=second), "\n".join(words.nouns)
    assert _saved(moved, words.caption, words.detailed_caption, nouns, sent) == 0
    assert _saved(moved, "a bear, a mug", words.detailed_caption, nouns, sent) == 1
    assert [edit.sample for edit in now.review.edits.values()] == [first]


def test_keys_step_through_samples_and_pages(tmp_path: Path) -> None:
    now = desk_on(tmp_path, curated(tmp_path / "set", accepted=10, rejected=5))
    every = [entry.address for entry in now.dataset.entries()]
    seen = []
    for _ in range(len(every) + 1):  # one step too many stays at the last
        now = steps.stepped(now, 1)
        seen.append(now.selected)
    assert seen == [*every, every[-1]] and now.start == 24
    for _ in range(len(every)):
        now = steps.stepped(now, -1)
    assert now.selected == every[0] and now.start == 0
    assert [steps.at_page(now, number).start for number in (-3, 1, 2, 3, 4, 99)] == [0, 0, 12, 24, 24, 24]
    empty = steps.filtered(now, Filter(text="nothing like it"))
    assert steps.stepped(replace(empty, selected=""), 1).selected == ""
    assert steps.at_page(empty, 7).start == 0


def test_datasets_are_offered_and_reports_are_not(tmp_path: Path) -> None:
    write_shard(tmp_path / "data" / "toys" / "a.tar", [sample("a")])
    (tmp_path / "data" / "report").mkdir()
    (tmp_path / "data" / "report" / "scores.parquet").touch()
    assert steps.offered(roots(tmp_path, tmp_path / "data")) == [str(tmp_path / "data" / "toys")]


# ---------------------------------------------------------------- what is shown


def test_what_people_wrote_is_escaped(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    entry = Entry(part="p", key=evil, caption=evil, verdict=evil, stage=evil, reason=evil)
    from mosaic.studio.data.views import Thumbs, scores_of, told_of

    html = cards([(entry, Thumbs())], Review(), "", False) + told_of(entry, Review()) + scores_of(entry)
    assert "<img" not in html and "onerror" in html


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_a_sheet_draws_each_point_from_its_reference_to_the_target(count: int) -> None:
    one = sample("a", nouns=[f"toy{n}" for n in range(count)], points=7)
    root = ElementTree.fromstring(sheet(one, 4, 'of "<a>" & b'))
    assert root.attrib["aria-label"] == 'of "<a>" & b'
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    target, *groups = root
    on_target = box_of(target)
    assert len(groups) == count
    for group, points in zip(groups, one.correspondences, strict=True):
        picture, *pairs = group
        x, y, w, h = box_of(picture)
        assert x >= 0 and y >= 0 and y + h <= height and x + w < on_target[0]
        drawn = thinned(points, 4)
        assert len(pairs) == len(drawn) == 4
        for pair, start, end in zip(pairs, drawn.reference, drawn.target, strict=True):
            line = [float(pair[0].attrib[name]) for name in ("x1", "y1", "x2", "y2")]
            ends = [*placed(start, (x, y, w, h)), *placed(end, on_target)]
            assert np.allclose(line, ends, atol=0.11)
    assert on_target[0] + on_target[2] <= width and on_target[1] + on_target[3] <= height


def box_of(image: ElementTree.Element) -> tuple[float, ...]:
    return tuple(float(image.attrib[name]) for name in ("x", "y", "width", "height"))


def placed(point: np.ndarray, box: tuple[float, ...]) -> list[float]:
    return [box[0] + float(point[0]) * box[2], box[1] + float(point[1]) * box[3]]


def test_a_caption_that_lacks_a_noun_is_flagged() -> None:
    assert lacking("two Bears on a mug", ["bear", "mug", "duck"]) == ["duck"]


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_loupe_shows_what_lies_around_a_point(x: float, y: float) -> None:
    from PIL import Image

    image = Image.new("RGB", (64, 48), "#ff0000")
    reach = 6.0
    part = np.asarray(loupe(image, (x, y), "#00ff00", reach))
    assert part.shape == (LOUPE, LOUPE, 3)
    corner = part[4, 4].tolist()
    inside = x * 64 - reach * 0.97 > 1 and y * 48 - reach * 0.97 > 1
    if inside:
        assert corner == [255, 0, 0]


@pytest.mark.parametrize("scale", [1, 4])
def test_a_loupe_shows_as_much_of_a_subject_in_any_picture(scale: int) -> None:
    mask = np.zeros((100 * scale, 80 * scale), bool)
    mask[10 * scale : 60 * scale, 20 * scale : 40 * scale] = True
    assert reach_of(mask) / (50 * scale) == pytest.approx(0.22, rel=0.03)
    assert reach_of(np.ones((100, 80), bool)) == reach_of(np.zeros((100, 80), bool)) == 11


def test_roots_can_be_kept_in_a_set(tmp_path: Path) -> None:
    assert len({Roots(home=tmp_path), Roots(home=tmp_path)}) == 1
