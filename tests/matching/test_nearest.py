"""Matching against loops of plain NumPy, and what holds for any similarities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mosaic.geometry import Grid
from mosaic.matching.nearest import (
    cells_of,
    mutual,
    nearest,
    peak,
    similarity,
    way_back,
    window_soft_argmax,
)

GRID = Grid(5, 6)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> np.ndarray:
    """Similarities of 4 queries and the grid's tokens, no two alike."""
    return np.random.default_rng(seed).uniform(-1, 1, (4, GRID.size))


def literal_soft_argmax(row: np.ndarray, grid: Grid, window: int, temperature: float) -> np.ndarray:
    best = int(row.argmax())
    by, bx = divmod(best, grid.width)
    total, place = 0.0, np.zeros(2)
    for token, value in enumerate(row):
        y, x = divmod(token, grid.width)
        if abs(y - by) <= window // 2 and abs(x - bx) <= window // 2 and np.isfinite(value):
            weight = np.exp((value - row[best]) / temperature)
            total, place = total + weight, place + weight * np.array((x, y))
    return place / total


@given(SEEDS, st.sampled_from([1, 3, 5, 7]), st.sampled_from([0.02, 0.1, 1.0]))
def test_window_soft_argmax_is_the_literal_one(seed: int, window: int, temperature: float) -> None:
    rows = drawn(seed)
    rows[:, ::7] = -np.inf
    found = window_soft_argmax(torch.from_numpy(rows).float(), GRID, window, temperature).numpy()
    wanted = [literal_soft_argmax(row, GRID, window, temperature) for row in rows]
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@given(SEEDS)
def test_soft_argmax_stays_in_its_window_and_sharpens_to_the_nearest(seed: int) -> None:
    rows = drawn(seed)
    values = torch.from_numpy(rows)
    middle = cells_of(nearest(values), GRID)
    assert ((window_soft_argmax(values, GRID, 3) - middle).abs() <= 1 + 1e-6).all()
    assert torch.equal(window_soft_argmax(values, GRID, 1), middle.double())


def test_an_even_window_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        window_soft_argmax(torch.zeros(1, GRID.size), GRID, 4)


@given(SEEDS)
def test_mutual_is_the_literal_one(seed: int) -> None:
    rows = drawn(seed)
    wanted = [int(rows[:, row.argmax()].argmax()) == i for i, row in enumerate(rows)]
    assert mutual(torch.from_numpy(rows)).tolist() == wanted


def test_similarity_and_nearest_are_cosines() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(7, 12)), rng.normal(size=(9, 12))
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    allowed = np.arange(9) % 2 == 0
    found = similarity(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(allowed))
    np.testing.assert_allclose(found[:, allowed], (a @ b.T)[:, allowed])
    assert torch.isinf(found[:, ~allowed]).all()
    assert nearest(found).tolist() == np.where(allowed, a @ b.T, -9).argmax(1).tolist()


@given(st.integers(0, 10_000))
def test_the_way_back_from_a_permutation_ends_where_it_began(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(GRID.size, 16))), dim=1)
    order = torch.from_numpy(rng.permutation(GRID.size))
    target = reference[order]
    found = nearest(similarity(reference, target))
    assert torch.equal(order[found], torch.arange(GRID.size))
    back = way_back(found, target, reference, GRID)
    assert torch.equal(back, cells_of(torch.arange(GRID.size), GRID))


@given(SEEDS)
def test_the_peak_is_the_softmax_of_the_nearest(seed: int) -> None:
    rows = drawn(seed)
    exponentials = np.exp((rows - rows.max(1, keepdims=True)) / 0.05)
    found = peak(torch.from_numpy(rows), 0.05).numpy()
    np.testing.assert_allclose(found, 1 / exponentials.sum(1))
    assert (found >= 1 / GRID.size - 1e-9).all() and (found <= 1 + 1e-9).all()
