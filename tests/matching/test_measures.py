"""Spreading points and counting how right they are."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.matching.keypoints import spair, willow
from mosaic.matching.pck import at_coverage, curve, errors, kept, pck
from mosaic.matching.spread import farthest, thinned
from mosaic.sample import Correspondence

WILLOW = Path(__file__).parents[3] / "shared" / "benchmarks" / "willow"


def literal_farthest(points: np.ndarray, confidence: np.ndarray, most: int) -> list[int]:
    chosen = [int(np.argmax(confidence))]
    while len(chosen) < min(most, len(points)):
        best, gain = -1, -1.0
        for i in set(range(len(points))) - set(chosen):
            own = min(float(np.linalg.norm(points[i] - points[c])) for c in chosen) * confidence[i]
            if own > gain or (own == gain and i < best):
                best, gain = i, own
        chosen.append(best)
    return chosen


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 8))
def test_farthest_is_the_literal_one(seed: int, count: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    points, confidence = rng.integers(0, 4, (count, 2)) / 4, rng.random(count)
    assert farthest(points, confidence, most).tolist() == literal_farthest(points, confidence, most)


def test_thinned_points_are_apart_and_in_order() -> None:
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)), -1).reshape(-1, 2)
    points = Correspondence(reference=grid, target=grid[::-1], confidence=np.ones(81))
    few = thinned(points, 4)
    assert len(few) == 4
    assert {tuple(corner) for corner in few.reference.tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_array_equal(few.target, 1 - few.reference)
    assert len(thinned(points)) == 81
    nothing = Correspondence(reference=np.zeros((0, 2)), target=np.zeros((0, 2)), confidence=np.zeros(0))
    assert len(thinned(nothing)) == 0


def test_errors_are_in_the_longer_side_of_the_box() -> None:
    found, truth = [(0.5, 0.5), (0.25, 0.5)], [(0.5, 0.6), (0.5, 0.5)]
    wrong = errors(found, truth, (100, 200), (20, 10, 60, 90))
    np.testing.assert_allclose(wrong, [10 / 80, 50 / 80])


def test_pck_by_point_and_by_pair() -> None:
    wrong = [np.array([0.01, 0.2, 0.3]), np.array([0.09]), np.zeros(0), np.array([np.nan])]
    found = pck(wrong, 0.1)
    assert found.points == pytest.approx(100 * 2 / 5)
    assert found.pairs == pytest.approx(100 * (1 / 3 + 1 + 0) / 3)
    assert np.isnan(pck([], 0.1).points)


def test_precision_and_coverage() -> None:
    wrong, believed = np.array([0.01, 0.5, np.nan, 0.05]), np.array([True, True, True, False])
    found = kept(wrong, believed, 0.1)
    assert (found.precision, found.coverage) == (pytest.approx(100 / 3), 75)
    ranked = curve(wrong, np.array([0.9, 0.8, 0.8, -np.inf]), 0.1)
    assert [(round(p.precision), p.coverage) for p in ranked] == [(100, 25), (33, 75)]
    best = at_coverage(ranked, 50)
    assert best is not None and best.coverage == 75
    assert at_coverage(ranked, 80) is None


def test_willow_is_read_by_pairs_of_a_class(tmp_path: Path) -> None:
    picture = {"file": "Duck/a.jpg", "size": [200, 100], "points_xy": [[20, 10], [180, 90]]}
    other = {"file": "Duck/b.jpg", "size": [100, 100], "points_xy": [[50, 50], [70, 90]]}
    (tmp_path / "keypoints.json").write_text(json.dumps({"classes": {"Duck": [picture, other]}}))
    first, second = willow(tmp_path)
    assert (first.kind, first.source, second.source) == (
        "Duck",
        tmp_path / "Duck/a.jpg",
        tmp_path / "Duck/b.jpg",
    )
    np.testing.assert_allclose(first.source_points, [(0.1, 0.1), (0.9, 0.9)])
    assert (first.target_size, first.target_box) == ((100, 100), (50, 50, 70, 90))
    assert second.target_size == (100, 200)
    with pytest.raises(ValueError, match="not a WILLOW folder"):
        list(willow(tmp_path / "nowhere"))


def test_spair_is_read_in_its_own_layout(tmp_path: Path) -> None:
    folder = tmp_path / "PairAnnotation" / "test"
    folder.mkdir(parents=True)
    told = {
        "src_imname": "2008_1.jpg",
        "trg_imname": "2008_2.jpg",
        "src_imsize": [500, 375, 3],
        "trg_imsize": [400, 200, 3],
        "src_bndbox": [0, 0, 10, 10],
        "trg_bndbox": [40, 20, 240, 120],
        "src_kps": [[250, 75]],
        "trg_kps": [[100, 50]],
        "category": "cat",
    }
    (folder / "000001-2008_1-2008_2:cat.json").write_text(json.dumps(told))
    (pair,) = spair(tmp_path)
    assert pair.source == tmp_path / "JPEGImages" / "cat" / "2008_1.jpg"
    np.testing.assert_allclose(pair.source_points, [(0.5, 0.2)])
    np.testing.assert_allclose(pair.target_points, [(0.25, 0.25)])
    assert (pair.target_size, pair.target_box) == ((200, 400), (40, 20, 240, 120))
    with pytest.raises(ValueError, match="PairAnnotation/val"):
        list(spair(tmp_path, "val"))
    (folder / "000002-broken.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        list(spair(tmp_path))


@pytest.mark.skipif(not WILLOW.is_dir(), reason="the WILLOW subset is not there")
def test_the_real_willow_has_its_pictures() -> None:
    pairs = list(willow(WILLOW))
    assert len(pairs) == 4 * 18 * 17
    for pair in pairs[::200]:
        with Image.open(pair.target) as picture:
            assert picture.size == pair.target_size[::-1]
        assert pair.source_points.shape == pair.target_points.shape == (10, 2)
