"""Subjects cut out of drawings and, where they are at hand, of photographs."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_model import draw_photo, draw_subject

from mosaic import pictures
from mosaic.pictures import cutout

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "benchmarks" / "dreambooth" / "dataset"


@pytest.mark.parametrize("index", range(4))
def test_cutout_finds_a_drawn_subject(index: int) -> None:
    truth = np.asarray(draw_subject(index, 96)).min(axis=2) < 255
    opacity = cutout.segment(np.asarray(draw_photo(index, 96)))
    found = opacity >= 0.5
    assert (truth & found).sum() / (truth | found).sum() > 0.9
    assert opacity[0].max() == 0
    assert np.array_equal(opacity, cutout.segment(np.asarray(draw_photo(index, 96))))


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (17, 5), (40, 333)])
def test_cutout_takes_any_size(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    assert cutout.segment(picture).shape == size
    assert cutout.segment(np.full((*size, 3), 90, np.uint8)).shape == size


def test_cut_out_keeps_transparency_and_takes_another_segmenter() -> None:
    picture = draw_subject(0)
    own = pictures.cut_out(picture, lambda image: np.ones(image.shape[:2]) * (image.min(axis=2) < 200))
    assert own.mode == "RGBA"
    assert pictures.cut_out(own, lambda image: 1 / 0) == own
    with pytest.raises(ValueError, match="No subject was found"):
        pictures.cut_out(picture, lambda image: np.zeros(image.shape[:2]))


def test_black_bars_are_left_out() -> None:
    picture = np.asarray(draw_photo(0, 160)).copy()
    picture[:, :30] = picture[:, -24:] = 0
    assert cutout.without_bars(picture) == (0, 160, 30, 136)
    dark = np.zeros((160, 160, 3), np.uint8)
    dark[60:100, 70:90] = 200  # a subject on black is no picture between bars
    assert cutout.without_bars(dark) == (0, 160, 0, 160)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the benchmark photographs are not here")
@pytest.mark.parametrize("name", ["duck_toy/00.jpg", "red_cartoon/00.jpg", "vase/00.jpg", "dog6/00.jpg"])
def test_cutout_of_photographs(name: str) -> None:
    picture = pictures.load_picture(PHOTOGRAPHS / name)
    opacity = cutout.segment(np.asarray(picture))
    assert 0.03 < (opacity >= 0.5).mean() < 0.7
    border = np.concatenate([opacity[0], opacity[:, 0], opacity[:, -1]])
    assert (border >= 0.5).mean() < 0.1
