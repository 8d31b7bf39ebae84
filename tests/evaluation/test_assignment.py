"""One thing serves one subject: against every permutation, every pixel, and a slow loop."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaic.evaluation.metrics.assignment import assigned, best, matched, overlaps, per_thing, things

from .subjects import units

UNSEEN = -np.inf
sizes = st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 10**6))


def table(subjects: int, number: int, seed: int, unseen: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(seed)
    similar = random.uniform(-1, 1, (subjects, number))
    return np.where(random.uniform(size=similar.shape) < unseen, UNSEEN, similar)


def exhaustive(similar: np.ndarray) -> tuple[int, float]:
    """Most pairs, then the largest sum, over every way to give things to subjects."""
    subjects, number = similar.shape
    padded = np.concatenate([similar, np.full((subjects, subjects), UNSEEN)], axis=1)
    ways = permutations(range(number + subjects), subjects)
    rows = [[padded[k, t] for k, t in enumerate(way) if np.isfinite(padded[k, t])] for way in ways]
    return max((len(values), sum(values)) for values in rows)


@given(sizes)
def test_the_assignment_is_the_best_of_all(size: tuple[int, int, int]) -> None:
    similar = table(*size)
    chosen = matched(similar)
    has = chosen >= 0
    assert len(set(chosen[has])) == has.sum()
    pairs, total = exhaustive(similar)
    assert has.sum() == pairs
    assert similar[np.flatnonzero(has), chosen[has]].sum() == pytest.approx(total)


@given(sizes)
def test_an_assigned_value_is_never_above_the_best(size: tuple[int, int, int]) -> None:
    similar = table(*size)
    values, has = assigned(similar)
    assert (values <= best(similar) + 1e-12).all()
    seen = np.isfinite(similar).any(axis=1) if similar.size else np.zeros(len(similar), bool)
    assert not has[~seen].any() and (values[~seen] == 0).all() and (values[~has] <= 0).all()


@given(sizes, st.randoms())
def test_the_order_of_subjects_and_things_does_not_matter(size: tuple[int, int, int], random) -> None:
    similar = table(*size)
    rows, columns = (random.sample(range(number), number) for number in similar.shape)
    shuffled = similar[np.ix_(rows, columns)]
    np.testing.assert_array_equal(best(shuffled), best(similar)[rows])
    for first, second in zip(assigned(shuffled), assigned(similar), strict=True):
        np.testing.assert_array_equal(first, second[rows])


def test_nothing_found_is_zero() -> None:
    assert best(np.zeros((2, 0))).tolist() == [0, 0]
    values, has = assigned(np.zeros((2, 0)))
    assert values.tolist() == [0, 0] and not has.any()


def test_one_thing_for_two_goes_to_the_nearer() -> None:
    values, has = assigned(np.array([[0.8], [0.9], [-0.2]]))
    assert values.tolist() == [0, 0.9, -0.2] and has.tolist() == [False, True, False]


boxes = st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=4).map(
    lambda rows: np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows], np.float32)
)


@given(boxes)
def test_overlap_counts_pixels(boxes: np.ndarray) -> None:
    masks = np.zeros((len(boxes), 12, 12), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    for a, row in zip(masks, overlaps(boxes), strict=True):
        expected = [(a & b).sum() / max(1, (a | b).sum()) for b in masks]
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_boxes_of_one_place_are_one_thing_by_way_of_others_too() -> None:
    chain = np.array([[0, 0, 100, 100], [200, 0, 300, 100], [8, 0, 108, 100], [16, 0, 116, 100]], np.float32)
    assert overlaps(chain)[0, 3] < 0.8 < overlaps(chain)[0, 2]
    assert things(chain).tolist() == [0, 1, 0, 0]
    assert things(np.zeros((0, 4))).tolist() == []


def test_a_thing_is_as_like_as_its_likest_detection_of_the_own_noun() -> None:
    references, nouns = units(3, 8, seed=1), ["dog", "corgi", "dog"]
    place, elsewhere = [0, 0, 50, 50], [90, 90, 120, 120]
    found = [
        ("dog", units(3, 8, seed=2), np.array([place, elsewhere, [1, 0, 51, 50]], np.float32)),
        ("corgi", units(1, 8, seed=3), np.array([place], np.float32)),
    ]
    similar = per_thing(references, nouns, found)
    dog, corgi = found[0][1], found[1][1]
    for k, noun in enumerate(nouns):
        if noun == "dog":
            expected = [max(references[k] @ dog[0], references[k] @ dog[2]), references[k] @ dog[1]]
        else:
            expected = [references[k] @ corgi[0], UNSEEN]
        np.testing.assert_allclose(similar[k], expected, rtol=1e-5)


def test_no_detections_are_no_things() -> None:
    nothing = ("dog", np.zeros((0, 8)), np.zeros((0, 4)))
    assert per_thing(units(2, 8), ["dog", "cat"], [nothing]).shape == (2, 0)
    assert per_thing(units(2, 8), ["dog", "cat"], []).shape == (2, 0)
