"""Means of scores against literal loops, and what has no mean."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.evaluation.records import Mean
from mosaic.evaluation.rows import Row
from mosaic.evaluation.statistics import draws
from mosaic.evaluation.tally import joined, mean, means, tally_of
from tests.evaluation.simulated import kinds, literal_groups, plain_rows, row, some_rows


@given(some_rows)
def test_groups_is_the_mean_of_means_of_means(rows: list[Row]) -> None:
    assert mean(rows, "groups") == pytest.approx(literal_groups(rows), abs=1e-12)


@given(some_rows)
def test_entries_is_the_mean_of_all(rows: list[Row]) -> None:
    assert mean(rows, "entries") == pytest.approx(fmean(row.value for row in rows), abs=1e-12)


def test_the_two_means_differ_where_groups_do() -> None:
    rows = [
        row(1.0, record="a"),
        row(0.0, record="b"),
        row(0.0, record="c"),
        row(1.0, record="d", group="dog"),
    ]
    assert mean(rows, "entries") == 0.5
    assert mean(rows, "groups") == pytest.approx((1 / 3 + 1) / 2)


@given(some_rows, kinds, st.floats(0.1, 10))
def test_scale_scales_everything(rows: list[Row], kind: Mean, scale: float) -> None:
    plain, scaled = tally_of(rows, kind), tally_of(rows, kind, scale=scale)
    assert means(scaled) == pytest.approx(scale * means(plain), abs=1e-9)
    assert draws(scaled, resamples=20) == pytest.approx(
        scale * draws(plain, resamples=20), abs=1e-9, nan_ok=True
    )


def test_other_records_are_an_error_that_names_them() -> None:
    rows = [*plain_rows([0.1] * 8), *plain_rows([0.1] * 6, "theirs")]
    with pytest.raises(ValueError, match=r"theirs has no score in DINO for 2 of 8 records \(r006, r007\)"):
        tally_of(rows, "entries")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_none_is_an_error_that_names_it(value: float) -> None:
    with pytest.raises(ValueError, match="DINO of ours, record r1, is"):
        mean([row(0.5), row(value, record="r1")], "entries")


def test_no_score_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no score"):
        mean([], "entries")


def test_columns_over_different_records_are_averaged() -> None:
    people = tally_of(plain_rows([0.2, 0.4]), "entries")
    things = tally_of([row(0.9, record="r001"), row(0.5, record="r002"), row(0.1, record="r003")], "entries")
    both = joined([people, things])
    assert means(both) == pytest.approx([(0.3 + 0.5) / 2])
    assert both.units == 4
    assert both.entries(0) == 5


def test_only_means_over_entries_are_averaged() -> None:
    with pytest.raises(ValueError, match="averaged"):
        joined([tally_of(plain_rows([0.1] * 4, groups=2), "groups")])
