"""Pictures as metrics see them: on white, quadrants row by row, never those of an older file."""

import os
from pathlib import Path

import numpy as np
import pytest
from perception import tiny
from PIL import Image

from mosaic.evaluation.features import PictureFile

from .cases import file_of


def test_quadrants_are_numbered_row_by_row(tmp_path: Path) -> None:
    grid = tiny.random_picture(64, 96)
    path = file_of(tmp_path, "grid", grid)
    np.testing.assert_array_equal(PictureFile(path).read(), grid)
    quarters = [grid[:32, :48], grid[:32, 48:], grid[32:, :48], grid[32:, 48:]]
    for quadrant, expected in enumerate(quarters):
        np.testing.assert_array_equal(PictureFile(path, quadrant).read(), expected)


def test_transparency_is_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    seen = PictureFile(tmp_path / "cut.png").read()
    assert seen[0, 0].tolist() == [10, 20, 30] and (seen[1:] == 255).all()


def test_a_file_written_again_is_read_again(tmp_path: Path) -> None:
    path = file_of(tmp_path, "a", tiny.random_picture(8, 8))
    first = PictureFile(path).read()
    file_of(tmp_path, "a", tiny.random_picture(8, 8, 1))
    os.utime(path, ns=(0, 0))
    assert np.abs(PictureFile(path).read().astype(int) - first).max() > 0


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"away\.png does not exist"):
        PictureFile(tmp_path / "away.png").read()
