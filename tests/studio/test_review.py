"""Edits, the check of points, two reviewers, and the export."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.studio.data import desk as steps
from mosaic.studio.data.edits import Edit, Review, read_edits, review_file, reviewers, write_edit
from mosaic.studio.data.marking import (
    Precision,
    agreement,
    agreements,
    disagreements,
    kappa,
    points_of,
    precision,
    questions,
    shuffled,
)
from mosaic.studio.data.review_views import compared
from mosaic.studio.data.views import precision_bar

from .sets import opened, roots, sample, write_shard

EDITS = st.lists(
    st.one_of(
        st.builds(
            Edit,
            sample=st.sampled_from(["p/a", "p/b"]),
            thing=st.just("decision"),
            value=st.sampled_from(["keep", "drop", None]),
        ),
        st.builds(
            Edit,
            sample=st.sampled_from(["p/a", "p/b"]),
            thing=st.sampled_from(["caption", "detailed_caption"]),
            value=st.sampled_from(["a line\nand “another”", "ä", None]),
        ),
        st.builds(
            Edit,
            sample=st.sampled_from(["p/a", "p/b"]),
            thing=st.just("point"),
            which=st.sampled_from(["0/1", "1/7"]),
            value=st.sampled_from(["right", "wrong", "unsure", None]),
            was=st.just("0,1,2,3,4"),
        ),
    ),
    max_size=12,
)


# ---------------------------------------------------------------- edits


@given(EDITS)
def test_the_last_word_on_each_thing_holds(edits: list[Edit]) -> None:
    literal: dict[tuple[str, str, str], str | None] = {}
    for edit in edits:
        literal[edit.sample, edit.thing, edit.which] = edit.value
    review = Review.of(edits)
    assert {about: edit.value for about, edit in review.edits.items()} == {
        about: value for about, value in literal.items() if value is not None
    }
    assert Review.of(review.edits.values()).edits == review.edits  # replayed, it stays
    assert Review.of([*edits, *edits]).edits == review.edits


@given(EDITS)
def test_edits_are_read_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Edit]
) -> None:
    file = tmp_path_factory.mktemp("edits") / "reviews" / "ann.jsonl"
    written = [write_edit(file, edit) for edit in edits[:4]]
    assert read_edits(file) == written


def test_a_line_that_was_cut_off_is_left_out_and_then_replaced(tmp_path: Path) -> None:
    file = tmp_path / "ann.jsonl"
    first = write_edit(file, Edit(sample="p/a", thing="decision", value="keep"))
    with file.open("a") as open_file:
        open_file.write('{"sample": "p/b", "thi')
    assert read_edits(file) == [first]
    second = write_edit(file, Edit(sample="p/c", thing="decision", value="drop"))
    assert read_edits(file) == [first, second]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])  # the line is whole, its end alone is lost
    third = write_edit(file, Edit(sample="p/d", thing="decision", value="drop"))
    assert read_edits(file) == [first, second, third]


@pytest.mark.parametrize(
    "line", ["{}", "no json", '{"sample": "p/a", "thing": "decision", "value": "burn"}', "[1]"]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "ann.jsonl"
    write_edit(file, Edit(sample="p/a", thing="decision", value="keep"))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match="line 2 is no edit"):
        read_edits(file)


def test_many_hands_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ann.jsonl"

    def work(hand: int) -> None:
        for n in range(20):
            write_edit(file, Edit(sample=f"p/{hand}-{n}", thing="decision", value="keep"))

    threads = [threading.Thread(target=work, args=(hand,)) for hand in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({edit.sample for edit in read_edits(file)}) == 100


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 41, "a b", "-x", "é", "a\n"])
def test_a_reviewer_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a reviewer"):
        review_file(tmp_path, name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"thing": "decision", "value": "maybe"},
        {"thing": "point", "value": "right"},  # of which point?
        {"thing": "caption", "value": "x", "which": "0/1"},
        {"thing": "caption", "value": "  "},
        {"thing": "caption", "value": "x" * 4001},
        {"thing": "mask", "value": "x"},
    ],
)
def test_what_is_no_edit_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Edit.model_validate({"sample": "p/a", **wrong})


def test_edits_lie_beside_the_dataset_and_no_link_leads_them_out(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    assert review_file(tmp_path / "set", "ann") == tmp_path / "set" / "reviews" / "ann.jsonl"
    assert review_file(shard, "ann") == tmp_path / "set" / "a-reviews" / "ann.jsonl"
    (tmp_path / "outside").mkdir()
    (tmp_path / "set" / "reviews").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leads out"):
        opened(tmp_path, tmp_path / "set").review_file("ann")


# ---------------------------------------------------------------- points


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_interval_is_wilsons(right: int, wrong: int) -> None:
    found = Precision(right=right, wrong=wrong, unsure=0, samples=right + wrong)
    n = right + wrong
    if not n:
        assert found.interval is None and found.value is None
        return
    z, p = 1.959963984540054, right / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert found.interval is not None
    assert found.interval.low == pytest.approx(max(0, center - half), abs=1e-9)
    assert found.interval.high == pytest.approx(min(1, center + half), abs=1e-9)


def test_the_bar_tells_when_points_are_not_independent() -> None:
    once = precision_bar(Precision(right=3, wrong=1, unsure=1, samples=5))
    assert "75.0 %" in once and "too narrow" not in once
    assert "too narrow" in precision_bar(Precision(right=3, wrong=1, unsure=1, samples=4))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=40))
def test_kappa_is_cohens(pairs: list[tuple[str, str]]) -> None:
    found = kappa(pairs)
    if not pairs:
        assert found is None
        return
    table = np.zeros((3, 3))
    for one, other in pairs:
        table["abc".index(one), "abc".index(other)] += 1
    table /= table.sum()
    chance = float(table.sum(0) @ table.sum(1))
    if chance == pytest.approx(1):
        assert found is None
    else:
        assert found == pytest.approx((np.trace(table) - chance) / (1 - chance))


def test_kappa_of_a_worked_example() -> None:
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert agreement(pairs).share == pytest.approx(0.7)
    assert kappa([("right", "right")] * 9) is None


def test_points_are_drawn_by_the_seed_alone_one_a_sample_first() -> None:
    tables = {f"p/s{n}": points_of(encoded(n)) for n in range(6)}
    asked = list(questions(list(tables), tables.__getitem__, seed=7))
    again = list(questions(list(tables)[::-1], tables.__getitem__, seed=7))
    assert asked == again  # whoever checks, in whatever order the samples come
    assert sorted(one.sample for one in asked[:6]) == sorted(tables)
    assert len({one.id for one in asked}) == len(asked) == sum(map(len, tables.values()))
    assert asked != list(questions(list(tables), tables.__getitem__, seed=8))
    assert shuffled("abc", 1) == shuffled("cba", 1)


def encoded(n: int) -> dict[str, bytes]:
    from mosaic.data.shards import encode_sample

    return encode_sample(sample(f"s{n}", ("bear", "mug"), points=1 + n % 3))


def test_only_what_is_drawn_is_read() -> None:
    read: list[str] = []

    def tables(name: str) -> np.ndarray:
        read.append(name)
        return points_of(encoded(int(name[3:])))

    next(questions([f"p/s{n}" for n in range(1000)], tables, 0))
    assert len(read) == 1


def test_a_check_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "a.tar", [sample(f"s{n}", points=2) for n in range(3)])
    desk = steps.open_dataset(steps.Desk(roots=roots(tmp_path, tmp_path / "set")), "a.tar", "ann")
    seen = []
    while (asked := steps.next_question(desk)) is not None:
        seen.append(asked[0].id)
        steps.mark(desk, asked[0], ("right", "wrong", "unsure")[len(seen) % 3])
    assert len(seen) == len(set(seen)) == 12
    found = precision(desk.review)
    assert (found.right, found.wrong, found.unsure, found.samples) == (4, 4, 4, 3)
    steps.take_back(desk)
    again = steps.next_question(desk)
    assert again is not None and again[0].id == seen[-1]
    other = replace(desk, reviewer="bob")
    first = steps.next_question(other)
    assert first is not None and first[0].id == seen[0]


def test_damaged_samples_are_passed_over_in_a_check(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set" / "a.tar", [sample("a"), sample("b")])
    from mosaic.studio.data import tars

    content = bytearray(shard.read_bytes())
    place = tars.scan(shard).samples["a"].files["target.webp"]
    content[place.offset : place.offset + place.size] = bytes(place.size)
    shard.write_bytes(content)
    desk = steps.open_dataset(steps.Desk(roots=roots(tmp_path, tmp_path / "set")), "a.tar", "ann")
    for _ in range(6):
        asked = steps.next_question(desk)
        assert asked is not None and asked[0].sample == "a/b"
        steps.mark(desk, asked[0], "right")
    assert steps.next_question(desk) is None


# ---------------------------------------------------------------- two reviewers


def mark(name: str, value: str, was: str = "0,1,2,3,4") -> Edit:
    return Edit(sample=f"p/{name}", thing="point", which="0/0", value=value, was=was)


def test_two_reviewers_are_compared_over_what_both_judged() -> None:
    one = Review.of(
        [mark("a", "right"), mark("b", "wrong"), mark("c", "unsure"), mark("d", "right"), mark("e", "wrong")]
    )
    other = Review.of(
        [mark("a", "right"), mark("b", "right"), mark("c", "right"), mark("e", "wrong", was="moved")]
    )
    found = agreements(one, other)["point"]
    assert (found.both, found.same) == (2, 1)  # unsure, unmarked and moved ones take no part
    assert [pair[0].sample for pair in disagreements(one, other)] == ["p/b", "p/c"]
    html = compared("ann", one, "bob", other)
    assert "Where they differ (2)" in html
    with pytest.raises(ValueError, match="two different"):
        compared("ann", one, "ann", one)
    assert "differ nowhere" in compared("ann", one, "bob", one)


def test_who_has_edits_is_listed(tmp_path: Path) -> None:
    write_shard(tmp_path / "set" / "a.tar", [sample("a")])
    desk = steps.open_dataset(
        steps.Desk(roots=roots(tmp_path, tmp_path / "set")), str(tmp_path / "set"), "zoe"
    )
    write_edit(review_file(tmp_path / "set", "ann"), mark("a", "right"))
    (tmp_path / "set" / "reviews" / "not a name.jsonl").touch()
    assert reviewers(tmp_path / "set") == ["ann"] and steps.names(desk) == ["ann", "zoe"]
