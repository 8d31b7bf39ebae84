"""Prompts without a network: the taxonomy, templates, near-duplicates, and the source that stages see."""

import sys
from collections import Counter
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.curation.prompting.near import Neighbours, grams, jaccard, signature
from mosaic.curation.prompting.taxonomy import CATEGORIES, alike, load_taxonomy
from mosaic.curation.prompting.templates import SPAN, make_plan, record_of, sentence, with_article
from mosaic.curation.stages.prompts import PlannedPrompts, Section, make

COUNTS = (1, 2, 3, 4, 5, 6, 7, 8)


def test_the_taxonomy_is_of_a_decent_size_and_of_one_kind() -> None:
    taxonomy = load_taxonomy()
    words = [noun.word for noun in taxonomy.nouns]
    assert len(words) == len(set(words)) >= 400
    assert len({place.words for place in taxonomy.places}) >= 60
    assert sum(map(len, taxonomy.relations.values())) + sum(map(len, taxonomy.actions.values())) >= 60
    assert {noun.category for noun in taxonomy.nouns} == set(CATEGORIES)
    for place in taxonomy.places:  # eight subjects can be found for any place
        for size in range(place.least, place.most + 1):
            near = [
                noun
                for category in CATEGORIES
                for noun in taxonomy.fitting(
                    category, max(place.least, size - SPAN), min(place.most, size + SPAN)
                )
            ]
            assert len(near) > 80
    looks = {colour for kind in taxonomy.paints.values() for colour in kind}
    assert not [word for word in words if looks & set(word.split())]  # a noun tells no colour


@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**9), count=st.sampled_from(COUNTS))
def test_a_prompt_keeps_its_promises(seed: int, index: int, count: int) -> None:
    plan = make_plan(seed, index, (count,))
    record = record_of(plan)
    names = [named.name for named in record.subjects]
    assert len(names) == len(set(names)) == count
    assert not any(alike(a, b) for a, b in combinations(names, 2))
    for caption in (record.caption, record.detailed_caption):
        for name in names:
            assert f" {name} " in f" {caption.replace(',', ' ')} "
        assert plan.place in caption and "{" not in caption and "  " not in caption
    for named in record.subjects:
        assert named.looks in record.detailed_caption and named.name in named.looks != named.name
    sizes = [noun.size for noun in plan.nouns]
    assert max(sizes) - min(sizes) <= 2 * SPAN if count > 2 else max(sizes) - min(sizes) <= SPAN
    place = next(place for place in load_taxonomy().places if place.words == plan.place)
    assert all(place.least <= size <= place.most for size in sizes)
    plain = set(record.caption.replace(",", "").split())
    assert not plain & set(load_taxonomy().paints["{colour}"])  # its looks are not in the plain caption
    assert 0 <= record.seed < 2**32


@given(seed=st.integers(0, 2**40), index=st.integers(0, 10**9))
def test_no_two_subjects_share_a_colour(seed: int, index: int) -> None:
    colours = set(load_taxonomy().paints["{colour}"]) - {"white", "black", "yellow"}  # words of some looks
    record = record_of(make_plan(seed, index, (4,)))
    told = Counter(word for named in record.subjects for word in named.looks.split() if word in colours)
    assert not [word for word, times in told.items() if times > 1 and word != "golden"]


def test_a_prompt_depends_on_seed_and_index_alone() -> None:
    first = [record_of(make_plan(5, n, (2, 3))) for n in range(20)]
    assert [record_of(make_plan(5, n, (2, 3))) for n in reversed(range(20))] == first[::-1]
    assert (
        first[3].id == "6a2ee322e704c846000d7db59ac5e436"
        and first[3].caption
        == "a hatbox in front of a sailor, and an alpaca around them in a cosy living room"
    )  # on any machine
    assert {record.id for record in first}.isdisjoint(
        {record_of(make_plan(6, n, (2, 3))).id for n in range(20)}
    )


def test_prompts_vary() -> None:
    records = [record_of(make_plan(0, n, (2, 3, 4))) for n in range(600)]
    assert len({record.caption for record in records}) >= 599
    nouns = Counter(named.name for record in records for named in record.subjects)
    assert len(nouns) > 350 and nouns.most_common(1)[0][1] < 40
    counts = Counter(len(record.subjects) for record in records)
    assert min(counts[n] for n in (2, 3, 4)) > 150


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("unicycle", "a"),
        ("umbrella", "an"),
        ("hourglass", "an"),
        ("ukulele", "a"),
        ("Owl", "an"),
        ("horse", "a"),
    ],
)
def test_articles(phrase: str, wanted: str) -> None:
    assert with_article(phrase) == f"{wanted} {phrase}"


def test_sentences_have_each_form() -> None:
    plans = [make_plan(0, n, (3,)) for n in range(40)]
    assert {plan.form for plan in plans} == {0, 1, 2, 3}
    for plan in plans:
        text = sentence(plan, ["A", "B", "C"])
        assert [text.index(letter) for letter in "ABC"] == sorted(text.index(letter) for letter in "ABC")


# ---------------------------------------------------------------- near-duplicates


def test_minhash_estimates_jaccard() -> None:
    texts = [record_of(make_plan(0, n, (2, 3))).caption for n in range(60)]
    texts += [text.replace("a ", "the ") for text in texts[:20]]
    pairs = list(combinations(range(80), 2))
    sets = [grams(text) for text in texts]
    signatures = [signature(one) for one in sets]
    errors = [(signatures[i] == signatures[j]).mean() - jaccard(sets[i], sets[j]) for i, j in pairs]
    assert abs(np.mean(errors)) < 0.01 and np.std(errors) < 0.07


@given(
    texts=st.lists(st.text("abcd ", min_size=1, max_size=24), min_size=1, max_size=12),
    window=st.integers(0, 6),
)
def test_the_nearest_is_that_of_a_slow_loop(texts: list[str], window: int) -> None:
    neighbours = Neighbours(lambda n: texts[n], window)
    for n, text in enumerate(texts):
        number, similarity = neighbours.nearest(n)
        before = {i: jaccard(grams(texts[i]), grams(text)) for i in range(max(0, n - window), n)}
        if not before:
            assert (number, similarity) == (-1, 0.0)
        else:  # by 64 hashes, a near tie of small similarities may go either way; what decides never does
            assert similarity == before[number]
            assert similarity == max(before.values()) or max(before.values()) < 0.6


def test_near_duplicates_are_failed_rows_that_name_their_neighbour() -> None:
    captions = ["a red fox on a beach", "an owl and a drum in a barn", "a red fox on the beach", "a mole"]
    source = PlannedPrompts(Section(nearest=0.5), lambda plans: [record_of(plan) for plan in plans], by="t")
    source._neighbours = Neighbours(lambda n: captions[n], 10)
    statuses = [outcome.status for _, outcome in source(range(4))]
    assert statuses == ["done", "done", "failed", "done"]
    (_, outcome) = source([2])[0]
    assert "prompt 0" in outcome.error and 0.5 < outcome.scores["prompts/nearest"] < 0.9
    assert outcome.facts["prompts"]["near"] == 0


@pytest.mark.parametrize("cuts", [(0, 120), (0, 1, 60, 61, 120), (0, 40, 80, 120)])
def test_what_is_said_of_an_index_does_not_depend_on_shards(cuts: tuple[int, ...]) -> None:
    section = Section(seed=3, subjects=(1,), nearest=0.4, window=50)
    whole = make(section)(range(120))
    assert 3 < sum(outcome.status == "failed" for _, outcome in whole) < 60
    parts: list[Any] = []
    for start, stop in pairwise(cuts):
        parts += make(section)(range(start, stop))
    assert parts == whole
    backwards = make(section)
    assert [backwards([n])[0] for n in reversed(range(110, 120))] == whole[110:120][::-1]


def test_a_source_has_no_end_and_answers_in_order() -> None:
    source = make(Section())
    assert len(source) == sys.maxsize
    found = source([10**9, 4, 5])
    assert [record.id for record, _ in found] == [outcome.id for _, outcome in found]
    assert found[1:] == make(Section())([4, 5])


# ---------------------------------------------------------------- the toybox


def test_toybox_prompts_reproduce_their_scene() -> None:
    from mosaic.curation.toybox_backends import composition

    for record, outcome in make(Section(kind="toybox", subjects=(1, 3), seed=7))(range(6)):
        scene = composition(record)
        assert (record.caption, record.detailed_caption) == (scene.caption, scene.detailed_caption)
        assert [named.name for named in record.subjects] == [toy.species for toy in scene.scene.toys]
        assert all(named.looks in record.detailed_caption for named in record.subjects)
        assert outcome.id == record.id and outcome.status == "done"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subjects": (0,)}, "1 to 8"),
        ({"subjects": ()}, "subjects"),
        ({"kind": "model"}, "belong together"),
        ({"model": {"model": "m"}}, "belong together"),
        ({"nearest": 2}, "nearest"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_section_says_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Section(**changes)
