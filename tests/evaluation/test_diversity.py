"""The mean distance among the images of one record."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception import tiny

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import PictureFile
from mosaic.evaluation.metrics import METRICS

from .cases import case_of, file_of, measured, table


def value_of(rows: np.ndarray) -> float | None:
    metric = METRICS["diversity"](scorers_of([]))
    case = case_of([PictureFile(Path(f"{n}.png")) for n in range(len(rows))])
    features = {ask: {"vector": rows[int(ask.picture.path.stem)]} for ask in metric.asks(case)}
    scores = list(metric.scores(case, features))
    assert all(score.image is None for score in scores)
    return scores[0].value if scores else None


vectors = st.lists(
    st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1),
    min_size=2,
    max_size=5,
).map(np.float32)


@given(vectors)
def test_it_is_the_mean_over_pairs(rows: np.ndarray) -> None:
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    count = len(rows)
    cosines = [unit[a] @ unit[b] for a in range(count) for b in range(count) if a != b]
    assert value_of(rows) == pytest.approx(1 - np.mean(cosines), abs=1e-9)
    assert value_of(rows[::-1].copy()) == pytest.approx(value_of(rows), abs=1e-12)


def test_equal_images_have_none_and_opposite_ones_all() -> None:
    same = np.tile(np.float32([0.3, -2, 1]), (4, 1))
    assert value_of(same) == pytest.approx(0, abs=1e-9)
    assert value_of(np.float32([[1, 0], [-1, 0]])) == pytest.approx(2)


def test_one_image_has_no_diversity() -> None:
    assert value_of(np.float32([[1, 0]])) is None


def test_with_an_encoder(tmp_path: Path) -> None:
    files = [file_of(tmp_path / "p", str(n), tiny.random_picture(50, 50, n)) for n in range(3)]
    chosen = scorers_of([f"dinov2={tiny.dinov2(tmp_path / 'dinov2')}"], "cpu")
    metric, extractor = METRICS["diversity"](chosen), chosen.load("dinov2")
    varied, same = case_of(files, name="varied"), case_of([files[0]] * 3, name="same")
    values = table(metric, [varied, same], measured(metric, [varied, same], extractor))
    assert values["same", None, None, None] == pytest.approx(0, abs=1e-6)
    assert values["varied", None, None, None] > 1e-4
