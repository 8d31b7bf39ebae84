"""Means against loops, bootstrap and sign flips against literal ones and scipy's, what must never be said."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mosaic.evaluation.records import Mean
from mosaic.evaluation.rows import Row
from mosaic.evaluation.statistics import (
    Difference,
    Interval,
    compare,
    draws,
    holm,
    interval,
    sign_flip,
    verdict,
    winner,
)
from mosaic.evaluation.tally import Tally, means, tally_of
from tests.evaluation.simulated import kinds, literal_groups, plain_rows, row, simulated, some_rows


@given(some_rows, kinds, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Row], kind: Mean, chance: random.Random) -> None:
    other = [replace(one, method="theirs", value=-one.value) for one in rows]
    mixed = [*rows, *other]
    shuffled = sorted(mixed, key=lambda _: chance.random())
    one, two = tally_of(mixed, kind), tally_of(shuffled, kind)
    at = [two.methods.index(name) for name in one.methods]
    assert np.array_equal(means(one), means(two)[at])
    assert np.array_equal(draws(one, resamples=50), draws(two, resamples=50)[:, at], equal_nan=True)
    assert compare(one, "ours", "theirs", resamples=50) == compare(two, "ours", "theirs", resamples=50)


@given(some_rows, kinds)
def test_a_method_against_itself_never_wins(rows: list[Row], kind: Mean) -> None:
    tally = tally_of([*rows, *(replace(one, method="same") for one in rows)], kind)
    found = compare(tally, "ours", "same", resamples=200)
    assert found.value == 0
    assert winner("ours", "same", found) is None
    assert found.p in (None, 1.0)
    assert found.interval in (None, Interval(low=0.0, high=0.0))


def test_exchanging_the_methods_exchanges_the_signs() -> None:
    tally = tally_of(simulated(1, 30, ("ours", "theirs")), "entries")
    one, other = (compare(tally, *pair) for pair in (("ours", "theirs"), ("theirs", "ours")))
    assert one.value == -other.value
    assert one.interval is not None and other.interval is not None
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert one.p == other.p


def test_draws_are_literal_resamples_of_records_within_groups() -> None:
    rows = simulated(3, 24, groups=3)
    generator = np.random.default_rng(5)
    weights = [generator.multinomial(7, [1 / 8] * 8, 40) for _ in range(3)]  # 8 records a group, 7 drawn
    expected = []
    for n in range(40):
        drawn = []
        for group in range(3):
            records = sorted({one.record for one in rows if one.group == f"g{group}"})
            for record, times in zip(records, weights[group][n], strict=True):
                drawn += [one for one in rows if one.record == record] * int(times)
        expected.append(literal_groups(drawn))
    assert draws(tally_of(rows, "groups"), resamples=40, seed=5)[:, 0] == pytest.approx(expected)


def test_draws_in_blocks_are_bounded_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic.evaluation import statistics

    monkeypatch.setattr(statistics, "NUMBERS_AT_ONCE", 100)
    tally = tally_of(simulated(3, 30, ("ours", "theirs")), "entries")
    assert draws(tally, resamples=50).shape == (50, 2)
    assert 0 < sign_flip(tally, 0, 1, resamples=50) <= 1


def test_methods_are_drawn_together() -> None:
    rows = simulated(4, 40)
    tally = tally_of(
        [*rows, *(replace(one, method="more", value=one.value + 0.25) for one in rows)], "entries"
    )
    drawn = draws(tally, resamples=100)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.full(100, 0.25))


def test_the_interval_is_scipys_where_records_are_many() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    tally = tally_of(plain_rows(values.tolist()), "entries")
    found = interval(draws(tally)[:, 0], tally.freedom)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    assert found is not None
    assert [found.low, found.high] == pytest.approx([theirs.low, theirs.high], abs=0.01)


def test_the_interval_is_students_where_records_are_few() -> None:
    values = np.random.default_rng(0).normal(size=12)
    tally = tally_of(plain_rows(values.tolist()), "entries")
    found = interval(draws(tally, resamples=200_000)[:, 0], tally.freedom)
    low, high = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
    assert found is not None
    assert found.high - found.low == pytest.approx(high - low, rel=0.08)


@pytest.mark.parametrize("kind", ["entries", "groups"])
def test_few_records_have_all_signs_tried(kind: Mean) -> None:
    ours, theirs = np.random.default_rng(2).normal([[0.3], [0.0]], 1.0, (2, 10))
    rows = [*plain_rows(ours.tolist(), groups=2), *plain_rows(theirs.tolist(), "theirs", groups=2)]
    exact = scipy.stats.permutation_test(
        (ours - theirs,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert sign_flip(tally_of(rows, kind), 0, 1) == pytest.approx(exact.pvalue)


def test_many_records_have_signs_drawn() -> None:
    ours, theirs = np.random.default_rng(2).normal([[0.35], [0.0]], 1.0, (2, 60))
    tally = tally_of([*plain_rows(ours.tolist()), *plain_rows(theirs.tolist(), "theirs")], "entries")
    theirs_p = scipy.stats.permutation_test(
        (ours - theirs,), np.mean, permutation_type="samples", rng=3
    ).pvalue
    assert sign_flip(tally, 0, 1) == pytest.approx(theirs_p, abs=0.02)


def test_an_exchange_moves_a_records_count_with_its_sum() -> None:
    """ours has two scores in one record: exchanged, its two go to theirs."""
    rows = [row(1.0, record="a"), row(0.0, record="a", image=1), row(0.5, record="b")]
    rows += [row(0.2, method="theirs", record="a"), row(0.1, method="theirs", record="b")]
    tally = tally_of(rows, "entries")
    seen = abs(1.5 / 3 - 0.3 / 2)
    swapped_a = abs((0.2 + 0.5) / 2 - (1.0 + 0.1) / 3)
    expected = sum(one >= seen - 1e-12 for one in (seen, seen, swapped_a, swapped_a)) / 4
    assert sign_flip(tally, 0, 1) == pytest.approx(expected)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_plain_and_bonferronis(p_values: list[float]) -> None:
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= min(1.0, len(p_values) * plain) or adjusted >= plain
    assert min(holm(p_values)) == pytest.approx(min(1.0, len(p_values) * min(p_values)))


def test_a_real_difference_has_a_winner_and_noise_has_none() -> None:
    rows = simulated(6, 60, ("ours", "theirs"))
    better = [replace(one, value=one.value + 0.1) if one.method == "ours" else one for one in rows]
    shown, noise = (compare(tally_of(one, "entries", scale=100), "ours", "theirs") for one in (better, rows))
    assert winner("ours", "theirs", shown) == "ours"
    assert winner("ours", "theirs", shown, lower_is_better=True) == "theirs"
    assert verdict("ours", "theirs", shown).startswith("ours is better: +")
    assert winner("ours", "theirs", noise) is None


def test_inside_the_noise_the_sentence_says_so() -> None:
    noise = Difference(value=0.4, interval=Interval(low=-0.9, high=1.7), p=0.5)
    assert verdict("ours", "theirs", noise) == "no difference shown: +0.40 [−0.90, 1.70]"
    only_one = Difference(value=0.4, interval=Interval(low=0.1, high=0.7), p=0.06)
    assert winner("ours", "theirs", only_one) is None


def test_too_few_records_show_nothing() -> None:
    rows = [*plain_rows([0.9, 0.8, 0.85]), *plain_rows([0.1, 0.1, 0.1], "theirs")]
    found = compare(tally_of(rows, "entries"), "ours", "theirs")
    assert found.interval is None and found.p is None
    assert verdict("ours", "theirs", found) == "too few records to compare: +0.75"


def test_groups_of_one_record_are_drawn_themselves() -> None:
    """Within a group of one there is no spread: an interval of no width would make any difference a win."""
    rows = plain_rows(np.random.default_rng(0).normal(size=20).tolist(), groups=20)
    tally = tally_of(rows, "groups")
    assert tally.unit == "groups"
    assert means(tally)[0] == pytest.approx(literal_groups(rows))
    found = interval(draws(tally)[:, 0], tally.freedom)
    assert found is not None and found.high - found.low > 0.3


def entries_truth(seed: int) -> tuple[Tally, float]:
    return tally_of(simulated(seed, 40), "entries"), 0.1


def few_truth(seed: int) -> tuple[Tally, float]:
    values = np.random.default_rng(seed).normal(0.5, 0.1, 15)
    return tally_of(plain_rows(values.tolist()), "entries"), 0.5


def groups_truth(seed: int) -> tuple[Tally, float]:
    """Groups of four, each with a mean of its own that stays."""
    rows = simulated(seed, 40, groups=10)
    level = {f"g{n}": n / 10 for n in range(10)}
    return tally_of([replace(one, value=one.value + level[one.group]) for one in rows], "groups"), 0.55


@pytest.mark.slow
@pytest.mark.parametrize("simulate", [entries_truth, few_truth, groups_truth])
def test_coverage_is_nominal(simulate: Callable[[int], tuple[Tally, float]]) -> None:
    trials, held = 2000, 0
    for seed in range(trials):
        tally, truth = simulate(seed)
        found = interval(draws(tally, resamples=1000, seed=seed)[:, 0], tally.freedom)
        held += found is not None and found.holds(truth)
    assert 0.93 <= held / trials <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 10])
def test_winners_between_equals_are_as_rare_as_said(groups: int) -> None:
    trials, won = 1000, 0
    for seed in range(trials):
        tally = tally_of(
            simulated(seed, 40, ("ours", "theirs"), groups), "groups" if groups > 1 else "entries"
        )
        won += (
            winner("ours", "theirs", compare(tally, "ours", "theirs", resamples=1000, seed=seed)) is not None
        )
    assert 0.02 <= won / trials <= 0.065
