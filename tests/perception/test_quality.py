"""Scores without a model, hashes and near-duplicates: literals, properties, photographs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mosaic.perception.duplicates import Hashes, hamming, perceptual_hash
from mosaic.perception.quality import clipped, exposure, luma, one_colour, quality, sharpness

from .tiny import random_picture

PHOTOGRAPHS = sorted((Path(__file__).parents[3] / "shared/benchmarks/dreambooth/dataset").glob("*/00.jpg"))[
    :6
]
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS, reason="no photographs here")


def flat(level: int) -> np.ndarray:
    return np.full((40, 50, 3), level, np.uint8)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    picture = random_picture(20, 31)
    grey = luma(picture)
    values = [
        grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1] - 4 * grey[y, x]
        for y in range(1, 19)
        for x in range(1, 30)
    ]
    assert sharpness(picture) == pytest.approx(np.var(values))


def test_one_colour_has_nothing() -> None:
    assert sharpness(flat(90)) == 0 and sharpness(flat(90)[:2, :2]) == 0
    assert one_colour(flat(90)) == 1
    assert quality(flat(255)) == {"sharpness": 0, "exposure": 0, "unclipped": 0, "colours": 0}
    assert exposure(luma(flat(0))) == 0 and exposure(luma(flat(127))) == pytest.approx(1, abs=0.01)


def test_clipping_counts_both_ends() -> None:
    half = flat(120)
    half[:10], half[10:20] = 0, 255
    assert clipped(luma(half)) == 0.5
    assert one_colour(half) == 0.5


@needs_photographs
@pytest.mark.parametrize("file", PHOTOGRAPHS, ids=lambda file: file.parent.name)
def test_a_blurred_photograph_is_less_sharp_whatever_its_size(file: Path) -> None:
    image = Image.open(file).convert("RGB")
    sharp = sharpness(np.asarray(image))
    assert sharpness(np.asarray(image.filter(ImageFilter.GaussianBlur(6)))) < 0.5 * sharp
    twice = image.resize((1024, 1024 * image.height // image.width))
    assert sharpness(np.asarray(twice)) == pytest.approx(
        sharpness(np.asarray(twice.resize((2048, 2048 * image.height // image.width)))), rel=0.35
    )


def first_kept(hashes: list[int], most: int = 6) -> list[int]:
    """Of each hash the index of the first one kept that is near, or its own."""
    kept, first, known = list[int](), list[int](), Hashes(most)
    for index, value in enumerate(hashes):
        near = known.nearest(value)
        first.append(index if near is None else kept[near[0]])
        if near is None:
            kept.append(index)
            known.add(value)
    return first


@needs_photographs
def test_a_hash_bears_compression_and_size_but_tells_photographs_apart(tmp_path: Path) -> None:
    hashes = []
    for file in PHOTOGRAPHS:
        image = Image.open(file).convert("RGB")
        image.resize((300, 300 * image.height // image.width)).save(tmp_path / "small.jpg", quality=60)
        first = perceptual_hash(np.asarray(image))
        again = perceptual_hash(np.asarray(Image.open(tmp_path / "small.jpg")))
        assert hamming(first, again) <= 6
        hashes += [first, again]
    assert first_kept(hashes) == [i // 2 * 2 for i in range(len(hashes))]


def test_the_hash_is_the_literal_one() -> None:
    """Cosine by cosine, for a picture that is 32 × 32 already."""
    picture = random_picture(32, 32)
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float64)
    n = np.arange(32)
    basis = [np.cos(np.pi * (2 * n + 1) * k / 64) * np.sqrt((1 if k else 0.5) / 16) for k in range(8)]
    low = np.array([[u @ grey @ v for v in basis] for u in basis]).ravel()
    bits = "".join("1" if value > np.median(low[1:]) else "0" for value in low)
    assert perceptual_hash(picture) == int(bits, 2)


def test_a_one_coloured_picture_has_a_hash() -> None:
    assert perceptual_hash(flat(10)) == perceptual_hash(flat(200)) == 1 << 63


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 64))
def test_the_first_near_hash_is_the_slow_loop(hashes: list[int], most: int) -> None:
    expected: list[int] = []
    for index, value in enumerate(hashes):
        kept = [i for i in range(index) if expected[i] == i]
        expected.append(next((i for i in kept if hamming(hashes[i], value) <= most), index))
    assert first_kept(hashes, most) == expected


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6), st.data())
def test_hashes_a_few_bits_apart_are_found(hashes: list[int], data: st.DataObject) -> None:
    bits = st.sets(st.integers(0, 63), max_size=10)
    known, most = Hashes(6), 6
    for value in hashes:
        known.add(value)
    changed = hashes[0] ^ sum(1 << bit for bit in data.draw(bits))
    near = [(i, hamming(value, changed)) for i, value in enumerate(hashes)]
    assert known.nearest(changed) == next((pair for pair in near if pair[1] <= most), None)
