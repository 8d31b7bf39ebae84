"""The human check of correspondences: which points to look at, what was said of them, and how far two agree.

Points are drawn blind: of samples in an order that a seed alone decides, one point each, then a second one
each, and so on. So the first points of a check, as many as there are samples, are independent draws, and
whoever checks with the same seed sees the same points. What is estimated is the share of right points of a
sample, all samples counting alike.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mosaic.data.shards import AXES, POINT, UNIT
from mosaic.evaluation.statistics import LEVEL, Interval
from mosaic.studio.data.edits import Edit, Review

Table = np.ndarray[tuple[int], np.dtype[np.void]]  # (P,) of POINT
ROUNDS = 64  # points of one sample at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One point to be looked at; positions in [0, 1]² as (x, y)."""

    sample: str
    reference: int
    row: int  # in points.npy
    place: str  # the row's positions as they are stored, which an edit keeps
    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def which(self) -> str:
        return f"{self.reference}/{self.row}"

    @property
    def id(self) -> str:
        return f"{self.sample}#{self.which}"

    def edit(self, value: str | None) -> Edit:
        """What a mark of it is stored as."""
        return Edit(sample=self.sample, thing="point", which=self.which, value=value, was=self.place)


def points_of(files: Mapping[str, bytes]) -> Table:
    """A sample's points as they are stored: (P,). ValueError if they are damaged."""
    if "points.npy" not in files:
        return np.zeros(0, POINT)
    try:
        loaded = np.load(io.BytesIO(files["points.npy"]), allow_pickle=False)
        table: Table = loaded.astype(POINT, casting="no")
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"points.npy is damaged: {error}") from error
    return table


def place_of(row: np.void) -> str:
    """A point's positions as text: by them it is known again."""
    return ",".join(str(int(row[name])) for name in ("reference", *AXES))


def question(sample: str, table: Table, row: int) -> Question:
    """The point in a row of a sample's table."""
    one = table[row]
    y, x, target_y, target_x = (int(one[axis]) / UNIT for axis in AXES)
    return Question(
        sample=sample,
        reference=int(one["reference"]),
        row=row,
        place=place_of(one),
        start=(x, y),
        end=(target_x, target_y),
    )


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """An order that depends on the seed and the names alone, not on the order they come in."""
    return sorted(names, key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())


def questions(samples: Sequence[str], tables: Callable[[str], Table], seed: int) -> Iterator[Question]:
    """The points of a check in their order; `tables` is asked only for what is drawn."""
    left = shuffled(samples, seed)
    for turn in range(ROUNDS):
        still = []
        for sample in left:
            table = tables(sample)
            if turn < len(table):
                still.append(sample)
                rows = shuffled((f"{sample}/{row}" for row in range(len(table))), seed)
                yield question(sample, table, int(rows[turn].rpartition("/")[2]))
        left = still


# ---------------------------------------------------------------- how many are right


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What the marks of a review say."""

    right: int
    wrong: int
    unsure: int
    samples: int  # that the marked points are of

    @property
    def decided(self) -> int:
        return self.right + self.wrong

    @property
    def value(self) -> float | None:
        """The share of right among right and wrong; None before the first."""
        return self.right / self.decided if self.decided else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's, 95 %; it takes the points for independent, which is so for one a sample."""
        from scipy.stats import binomtest

        if not self.decided:
            return None
        found = binomtest(self.right, self.decided).proportion_ci(LEVEL, method="wilson")
        return Interval(low=float(found.low), high=float(found.high))


def precision(review: Review) -> Precision:
    """Of all points that a review marks."""
    marks = [edit for edit in review.edits.values() if edit.thing == "point"]
    counts = Counter(edit.value for edit in marks)
    return Precision(
        right=counts["right"],
        wrong=counts["wrong"],
        unsure=counts["unsure"],
        samples=len({edit.sample for edit in marks}),
    )


# ---------------------------------------------------------------- two reviewers


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two reviewers over what both judged: how often they say the same, and how much more than by chance."""

    both: int
    same: int
    kappa: float | None  # Cohen's; None where chance alone would make them agree always
    counts: Mapping[tuple[str, str], int]  # (first says, second says) → how often

    @property
    def share(self) -> float | None:
        return self.same / self.both if self.both else None


def agreement(pairs: Sequence[tuple[str, str]]) -> Agreement:
    """Of judgements of the same things: (first's, second's) each."""
    counts = Counter(pairs)
    same = sum(first == second for first, second in pairs)
    return Agreement(both=len(pairs), same=same, kappa=kappa(pairs), counts=counts)


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """(p_o − p_e) / (1 − p_e), p_e by the two reviewers' own frequencies (Cohen 1960)."""
    if not pairs:
        return None
    firsts, seconds = (Counter(side) for side in zip(*pairs, strict=True))
    by_chance = sum(firsts[value] * seconds[value] for value in firsts)  # × n²
    total = len(pairs) ** 2
    if by_chance == total:
        return None
    observed = sum(first == second for first, second in pairs) * len(pairs)
    return (observed - by_chance) / (total - by_chance)


def compared(first: Review, second: Review, thing: str) -> list[tuple[Edit, Edit]]:
    """The edits of one thing ("decision" or "point") that both reviewers made, of the same place."""
    shared = [about for about in first.edits if about in second.edits and about[1] == thing]
    pairs = [(first.edits[about], second.edits[about]) for about in shared]
    return [(one, other) for one, other in pairs if one.was == other.was or thing == "decision"]


def agreements(first: Review, second: Review) -> dict[str, Agreement]:
    """By what was judged; a point that either is unsure of takes no part."""
    found = {}
    for thing in ("decision", "point"):
        values = [(str(one.value), str(other.value)) for one, other in compared(first, second, thing)]
        found[thing] = agreement([pair for pair in values if "unsure" not in pair])
    return found


def disagreements(first: Review, second: Review) -> list[tuple[Edit, Edit]]:
    """Where two reviewers say different things of the same, captions and nouns included."""
    shared = [(first.edits[about], second.edits[about]) for about in first.edits if about in second.edits]
    return [(one, other) for one, other in shared if one.value != other.value]
