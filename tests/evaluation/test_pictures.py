"""Which file is which image, and what is said of folders that hold something else."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation.pictures import cases
from mosaic.evaluation.records import Benchmark

from .bench import small, write_picture

FOUR = (42, 43, 44, 45)


def fill(folder: Path, benchmark: Benchmark, suffix: str = ".png", size: tuple[int, int] = (32, 32)) -> Path:
    """One file a record, named as the benchmark's first pattern."""
    for one in benchmark.records:
        name = one.names[0].replace("{image}", "0")
        write_picture(folder / one.part / f"{name}{suffix}", size)
    return folder


def test_files_are_found_by_part_and_name(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    found = cases(benchmark, "UNO", fill(tmp_path / "uno", benchmark, ".jpg"))
    assert [one.record for one in found] == list(benchmark.records)
    assert all(one.method == "UNO" and one.grid is None for one in found)
    assert [one.pictures[0].path.name for one in found] == ["0_0.jpg", "1_0.jpg", "0_0.jpg", "1_0.jpg"]
    assert [one.pictures[0].path.parent.name for one in found] == ["single", "single", "multi", "multi"]
    assert found[0].pictures[0].quadrant is None


def test_several_images_are_files_of_their_own(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=(7, 8, 9))
    for one in benchmark.records:
        for image in range(3):
            write_picture(tmp_path / "x" / one.part / f"{one.id[-1]}_{image}.png", colour=(image, 0, 0))
    found = cases(benchmark, "x", tmp_path / "x")
    assert [[int(picture.read()[0, 0, 0]) for picture in one.pictures] for one in found] == [[0, 1, 2]] * 4


def test_a_grid_is_four_pictures_row_by_row(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=FOUR, grid=True)
    grid = np.zeros((64, 64, 3), np.uint8)
    for quadrant in range(4):
        row, column = divmod(quadrant, 2)
        grid[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = 50 * quadrant
    names = ("0_a bear on grass", "1_a_bear_on_grass", "0_a bear on grass", "1_a bear on grass")  # both ways
    for one, name in zip(benchmark.records, names, strict=True):
        file = tmp_path / "x" / one.part / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grid).save(file)
    for one in cases(benchmark, "x", tmp_path / "x"):
        assert one.grid is not None and one.grid.quadrant is None
        assert one.grid.read().shape == (64, 64, 3)
        assert [picture.quadrant for picture in one.pictures] == [0, 1, 2, 3]
        for quadrant, picture in enumerate(one.pictures):
            assert picture.read().shape == (32, 32, 3)
            assert np.unique(picture.read()).tolist() == [50 * quadrant]


def test_single_files_will_do_where_others_keep_grids(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=FOUR, grid=True)
    for one in benchmark.records:
        for image in range(4):
            write_picture(tmp_path / "x" / one.part / f"{one.id[-1]}_{image}.png")
    assert all(one.grid is None and len(one.pictures) == 4 for one in cases(benchmark, "x", tmp_path / "x"))


def test_missing_pictures_are_counted_and_named(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    folder = fill(tmp_path / "uno", benchmark)
    (folder / "multi/1_0.png").unlink()
    with pytest.raises(ValueError, match=r"UNO lacks 1 of .* small's 4 records .*: multi/1_0\.png\."):
        cases(benchmark, "UNO", folder)
    with pytest.raises(ValueError, match=r"lacks 4 .*single/0_0\.png, .*multi/0_0\.png and 1 more"):
        cases(benchmark, "UNO", tmp_path / "nothing")


def test_one_missing_of_four_is_named_by_the_names_in_use(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=FOUR, grid=True)
    for one in benchmark.records:
        for image in range(3 if one.id == "single-1" else 4):
            write_picture(tmp_path / "x" / one.part / f"{one.id[-1]}_{image}.png")
    with pytest.raises(ValueError, match=r"lacks 1 .*: single/1_3\.png\."):
        cases(benchmark, "x", tmp_path / "x")


def test_extra_pictures_are_told_of_and_other_files_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark = small(tmp_path)
    folder = fill(tmp_path / "uno", benchmark)
    (folder / "single/0_0.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        cases(benchmark, "UNO", folder)
        assert not caplog.text
        for name in ("9_0", "8_0", "7_0", "6_0"):
            write_picture(folder / f"multi/{name}.png")
        assert len(cases(benchmark, "UNO", folder)) == 4
    assert "4 pictures of UNO belong to no record" in caplog.text
    assert "multi/6_0.png, multi/7_0.png, multi/8_0.png and 1 more" in caplog.text


@pytest.mark.parametrize(
    ("grid", "size", "said"),
    [
        (False, (48, 32), r"0_0\.png is 48x32 and not 32x32: give --size 48x32"),
        (True, (32, 32), "is 32x32, no 2×2 grid of four pictures of 32x32"),
        (True, (66, 65), "is 66x65, no 2×2 grid"),
        (True, (128, 128), "2×2 grid of 32x32 is 64x64: give --size 64x64"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    tmp_path: Path, grid: bool, size: tuple[int, int], said: str
) -> None:
    benchmark = small(tmp_path, seeds=FOUR if grid else (7,), grid=grid)
    folder = fill(tmp_path / "x", benchmark, size=size)
    with pytest.raises(ValueError, match=said) as error:
        cases(benchmark, "x", folder)
    assert "3 more of small do not fit either" in str(error.value)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    folder = fill(tmp_path / "x", benchmark)
    (folder / "single/1_0.png").write_text("not one")
    with pytest.raises(ValueError, match=r"1_0\.png is no picture that can be read"):
        cases(benchmark, "x", folder)


def test_one_picture_under_two_suffixes_is_refused(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    folder = fill(fill(tmp_path / "x", benchmark), benchmark, ".jpg")
    with pytest.raises(ValueError, match=r"0_0\.png and 0_0\.jpg are one picture twice"):
        cases(benchmark, "x", folder)


def test_a_part_alone_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    from dataclasses import replace

    whole = small(tmp_path)
    benchmark = replace(whole, records=whole.records[:2])
    for i in range(2):
        write_picture(tmp_path / "x" / f"{i}_0.png")
    assert len(cases(benchmark, "x", tmp_path / "x")) == 2
