"""The grid of methods: the right picture in the right cell, and what is not there said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from mosaic.evaluation.report.grid import CELL, GAP, MARGIN, draw_grid
from mosaic.evaluation.report.writing import spread
from mosaic.evaluation.summary import Method
from tests.evaluation.invented import benchmark, methods_of

HEIGHT = round(CELL * 48 / 64)


@pytest.fixture
def methods(tmp_path: Path) -> list[Method]:
    return methods_of(benchmark(tmp_path), tmp_path, ["ours", "theirs"])


def color(sheet: Image.Image, column: int, x: float, y: float) -> tuple[int, ...]:
    """Of a point of a cell of the first row, x and y in [0, 1]; column 0 are the references."""
    at = (MARGIN + column * (CELL + GAP) + x * CELL, MARGIN + 36 + y * HEIGHT)
    return tuple(np.asarray(sheet.convert("RGB"))[int(at[1]), int(at[0])].tolist())


def test_references_come_first_then_the_methods_in_their_order(methods: list[Method], tmp_path: Path) -> None:
    sheet = Image.open(draw_grid(methods, tmp_path / "new" / "grid.png", records=["multi-3"]))
    assert sheet.format == "PNG"
    assert color(sheet, 0, 0.2, 0.45) == ImageColor.getrgb("orange")  # the cat, left
    assert color(sheet, 0, 0.8, 0.45) == ImageColor.getrgb("navy")  # the mug, right
    for n in (0, 1):
        for x, y in ((0.02, 0.02), (0.5, 0.5), (0.98, 0.98)):
            assert color(sheet, n + 1, x, y) == ImageColor.getrgb(f"hsl({70 * n}, 60%, 60%)")


def test_rows_are_the_first_records_or_those_named(methods: list[Method], tmp_path: Path) -> None:
    heights = [Image.open(draw_grid(methods, tmp_path / f"{n}.png", count=n)).height for n in (1, 2, 3)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > HEIGHT
    first = draw_grid(methods, tmp_path / "first.png", count=2)
    named = draw_grid(methods, tmp_path / "named.png", records=["single-0", "single-1"])
    assert first.read_bytes() == named.read_bytes()


def test_a_method_without_the_picture_has_an_empty_cell(methods: list[Method], tmp_path: Path) -> None:
    less = replace(methods[1], cases=methods[1].cases[1:])
    sheet = Image.open(draw_grid([methods[0], less], tmp_path / "grid.png", count=1))
    assert color(sheet, 1, 0.1, 0.1) != color(sheet, 2, 0.1, 0.1) == ImageColor.getrgb("#f1efe9")


def test_long_prompts_are_wrapped_and_long_names_cut(methods: list[Method], tmp_path: Path) -> None:
    case = methods[0].cases[0]
    wordy = replace(case, record=replace(case.record, prompt="very " * 80 + "w" * 400))
    method = replace(methods[0], name="m" * 200, cases=(wordy,))
    tall = Image.open(draw_grid([method], tmp_path / "grid.png", count=1))
    usual = Image.open(draw_grid(methods[:1], tmp_path / "usual.png", count=1))
    assert tall.width == usual.width and tall.height > usual.height + 60
    right = np.asarray(tall.convert("RGB"))[:, -MARGIN + 2 :]
    assert (right == 255).all()


def test_records_are_taken_evenly() -> None:
    ids = [one.id for one in benchmark().records]
    assert spread(benchmark(), 4) == [ids[3], ids[9], ids[15], ids[21]]
    assert spread(benchmark(), 24) == spread(benchmark(), 99) == ids


def test_what_cannot_be_shown_is_said(methods: list[Method], tmp_path: Path) -> None:
    output = tmp_path / "grid.png"
    with pytest.raises(ValueError, match="no record is called multi-99: their names are like single-0"):
        draw_grid(methods, output, records=["multi-99"])
    with pytest.raises(ValueError, match="no method to show"):
        draw_grid([], output)
    with pytest.raises(ValueError, match="at least one"):
        draw_grid(methods, output, count=0)
    assert not output.exists()
