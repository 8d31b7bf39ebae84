"""Means of scores, bootstrap intervals, paired tests: what may be said of two methods, and what may not.

M methods, R records drawn from together (a stratum), C cells (a mean is taken in each first), B resamples.
docs/statistics.md has the formulas, what is assumed and an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic.evaluation.tally import Floats, Tally, exchanged, means, weighted

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 20260
FEWEST = 4  # degrees of freedom below which a resample says nothing of the spread
EXACT = 12  # units up to which every exchange of signs is tried
NUMBERS_AT_ONCE = 1 << 22  # of one block of resamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Of a mean or of a difference, in the units of the values."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies in it, its ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """First less second, over the same records; without an interval nothing is shown."""

    value: float
    interval: Interval | None
    p: float | None  # of the sign-flip test, by Holm's rule once it is one of several


def draws(tally: Tally, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """(B, M) means of bootstrap resamples: the same records for every method, so that differences are paired.

    Assumed: records (within a group, for "groups") are exchangeable and independent of each other; images,
    subjects and photographs of one record may depend on each other as they like. Groups are the benchmark's
    and stay; where a group has a single record, groups themselves are drawn, which can only widen. Of R units
    R − 1 are drawn, so that the spread of small groups is not understated (Rao and Wu 1988). The same seed
    and records give the same draws, whatever the order of rows.
    """
    generator = np.random.default_rng(seed)
    found = [
        weighted(tally, [_weights(len(stratum.units), size, generator) for stratum in tally.strata])
        for size in _blocks(resamples, sum(len(stratum.units) for stratum in tally.strata))
    ]
    return np.concatenate(found)


def interval(drawn: Floats, freedom: int, level: float = LEVEL) -> Interval | None:
    """Percentiles of draws, widened from the normal's to Student's t (expanded percentile, Hesterberg 2015).

    None if there are fewer than `FEWEST` degrees of freedom.
    """
    from scipy.stats import norm, t

    if freedom < FEWEST:
        return None
    tail = float(norm.cdf(t.ppf((1 - level) / 2, freedom)))
    low, high = np.quantile(drawn[~np.isnan(drawn)], [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))


def compare(
    tally: Tally,
    first: str,
    second: str,
    *,
    drawn: Floats | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Difference:
    """First less second: paired bootstrap interval, sign-flip p-value; `drawn`: of `draws`, if at hand.

    The test exchanges all scores of a record between the two methods, record by record (group by group where
    groups are the unit), and asks how often the difference is as large. Assumed: were the methods equal,
    either could have made a record's scores.
    """
    one, other = tally.methods.index(first), tally.methods.index(second)
    found = means(tally)
    drawn = draws(tally, resamples=resamples, seed=seed) if drawn is None else drawn
    shown = interval(drawn[:, one] - drawn[:, other], tally.freedom)
    p = None if shown is None else sign_flip(tally, one, other, resamples=resamples, seed=seed)
    return Difference(value=float(found[one] - found[other]), interval=shown, p=p)


def sign_flip(tally: Tally, one: int, other: int, *, resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """Two-sided p-value in (0, 1]: exact up to `EXACT` units, beyond that of `resamples` random exchanges."""
    sizes = [len(stratum.units) for stratum in tally.strata]
    flat = means(tally)
    seen = abs(flat[one] - flat[other]) * (1 - 1e-9)
    exact = sum(sizes) <= EXACT
    blocks = _all_swaps(sizes) if exact else _random_swaps(sizes, resamples, seed)
    as_large = tried = 0
    for swaps in blocks:
        found = np.abs(exchanged(tally, one, other, swaps))
        as_large, tried = as_large + int((found >= seen).sum()), tried + len(found)
    return as_large / tried if exact else (1 + as_large) / (1 + tried)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for being several, in the order given (Holm 1979): reject where it is below the level."""
    order = sorted(range(len(p_values)), key=lambda n: p_values[n])
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[n]))
        adjusted[n] = largest
    return adjusted


def winner(
    first: str, second: str, difference: Difference, *, lower_is_better: bool = False, level: float = LEVEL
) -> str | None:
    """The better of two, if interval and test both show a difference; None inside the noise."""
    if difference.interval is None or difference.p is None:
        return None
    if difference.interval.holds(0.0) or difference.p >= 1 - level:
        return None
    return first if (difference.value > 0) != lower_is_better else second


def verdict(
    first: str, second: str, difference: Difference, *, lower_is_better: bool = False, level: float = LEVEL
) -> str:
    """One sentence: who is better by how much, or that no difference is shown."""
    value, shown = difference.value, difference.interval
    if shown is None:
        return f"too few records to compare: {signed(value)}"
    told = f"{signed(value)} [{plain(shown.low)}, {plain(shown.high)}]"
    better = winner(first, second, difference, lower_is_better=lower_is_better, level=level)
    return f"{better} is better: {told}" if better else f"no difference shown: {told}"


def signed(value: float) -> str:
    """Two digits with a sign."""
    return f"{value:+.2f}".replace("-", "−")


def plain(value: float) -> str:
    """Two digits, with the minus sign of text."""
    return f"{value:.2f}".replace("-", "−")


def _weights(units: int, size: int, generator: np.random.Generator) -> Floats:
    """(B, R): how often each unit is drawn."""
    return generator.multinomial(units - 1, np.full(units, 1 / units), size).astype(np.float64)


def _all_swaps(sizes: Sequence[int]) -> Iterator[list[Floats]]:
    bits = (np.arange(1 << sum(sizes))[:, None] >> np.arange(sum(sizes))) & 1
    yield np.split(bits.astype(np.float64), np.cumsum(sizes)[:-1], axis=1)


def _random_swaps(sizes: Sequence[int], count: int, seed: int) -> Iterator[list[Floats]]:
    generator = np.random.default_rng(seed)
    for size in _blocks(count, sum(sizes)):
        bits = generator.integers(0, 2, (size, sum(sizes)), dtype=np.int8).astype(np.float64)
        yield np.split(bits, np.cumsum(sizes)[:-1], axis=1)


def _blocks(count: int, width: int) -> Iterator[int]:
    """Sizes that add up to `count`, each of a bounded number of numbers."""
    most = max(1, NUMBERS_AT_ONCE // max(1, width))
    for start in range(0, count, most):
        yield min(most, count - start)
