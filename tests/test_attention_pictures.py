"""The attention pictures: what is drawn where."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_model import draw_subject
from PIL import Image

from mosaic.geometry import Grid
from mosaic.pictures.attention import (
    COLORS,
    Seen,
    _rgb,
    draw_looks,
    enlarged,
    glowing,
    owned,
    write_attention,
)

GRID = Grid(4, 6)


def seen(k: int) -> Seen:
    looks = np.full((2, GRID.size), 0.01, np.float32)
    looks[:, k] = 1
    looks /= looks.sum(axis=1, keepdims=True)
    image = np.asarray(draw_subject(k, 32))
    return Seen(
        name=f"toy {k}/x",
        image=image,
        mask=image.min(axis=2) < 255,
        grid=Grid(2, 2),
        tokens=(0, 3),
        looks=looks,
    )


def shares(count: int) -> np.ndarray:
    owners = np.random.default_rng(0).random((count, GRID.size)).astype(np.float32)
    return owners / owners.sum(axis=0)


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_the_files(tmp_path: Path, count: int) -> None:
    target = Image.new("RGB", (96, 64), (120, 160, 90))
    files = write_attention(
        tmp_path / "maps", target, GRID, [seen(k) for k in range(count)], shares(count), "a-"
    )
    names = ["a-looks.png", "a-owners.png", *(f"a-reference-{k + 1}-toy-{k}-x.png" for k in range(count))]
    assert [file.name for file in files] == names
    for file in files:
        with Image.open(file) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) > 300


def test_everything_fits_on_the_sheet() -> None:
    """The margins stay white, whatever the number and the shape."""
    for count, size in ((1, (16, 160)), (4, (160, 16)), (8, (64, 64))):
        grid = Grid(size[1] // 16, size[0] // 16)
        looks = np.eye(2, grid.size, dtype=np.float32)
        image = np.asarray(draw_subject(0, 32))
        all_seen = [
            Seen(
                name="bear",
                image=image,
                mask=image.min(axis=2) < 255,
                grid=Grid(2, 2),
                tokens=(0, 3),
                looks=looks,
            )
            for _ in range(count)
        ]
        sheet = np.asarray(draw_looks(Image.new("RGB", size), grid, all_seen))
        for edge in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
            assert (edge == 255).all()


def test_the_glow_is_where_the_reference_looks() -> None:
    picture = Image.new("RGB", (96, 64), "white")
    heat = np.full(GRID.size, 0.2 / GRID.size, np.float32)
    heat[GRID.width * 2 + 4] += 0.8
    image = np.asarray(glowing(picture, GRID, [heat])).astype(int)
    distance = np.abs(image - _rgb(COLORS[0])).sum(axis=2)
    y, x = np.unravel_index(distance.argmin(), distance.shape)
    assert (y // 16, x // 16) == (2, 4)
    assert (image[:16, :16] == 255).all()


def test_owners_are_told_by_colour() -> None:
    owners = np.zeros((2, GRID.size), np.float32)
    owners[0, : GRID.size // 2] = 1
    owners[1] = 1 - owners[0]
    image = np.asarray(owned(Image.new("RGB", (96, 64), "grey"), GRID, owners)).astype(int)
    for k, row in enumerate((8, 56)):
        distances = [np.abs(image[row, 40] - _rgb(color)).sum() for color in COLORS]
        assert int(np.argmin(distances)) == k
    assert (image[31:33] == 255).all()


def test_small_pictures_keep_their_pixels() -> None:
    two = Image.fromarray(np.array([[[0] * 3, [255] * 3]], np.uint8))
    large = np.asarray(enlarged(two, 100))
    assert large.shape == (50, 100, 3)
    assert (large[:, :49] == 0).all() and (large[:, 51:] == 255).all()


def test_a_place_is_marked_on_the_subject() -> None:
    mask = np.zeros((32, 32), bool)
    mask[12:16, 8:12] = True
    image = np.full((32, 32, 3), 255, np.uint8)
    one = Seen(
        name="a", image=image, mask=mask, grid=Grid(2, 2), tokens=(0, 3), looks=np.eye(2, 4, dtype=np.float32)
    )
    assert one.places() == [(10 / 32, 14 / 32), (0.75, 0.75)]
