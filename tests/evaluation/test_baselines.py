"""Copy-paste: every reference's cut-out is on the canvas, unchanged but for its size, one beside another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation import baselines
from mosaic.evaluation.baselines import CopyPaste, copy_paste, cutout
from mosaic.evaluation.pictures import cases
from mosaic.evaluation.protocols import dreambench
from mosaic.evaluation.records import BenchSubject, Record
from mosaic.pictures import read_recipe

from .bench import SHARED, needs_data, small, write_picture, write_subject

COLOURS = (
    (200, 40, 90), (40, 90, 200), (30, 160, 60), (240, 170, 20),
    (120, 40, 160), (20, 20, 20), (90, 200, 200), (160, 90, 30),
)  # fmt: skip


def crowd(folder: Path, count: int) -> Record:
    files = [write_subject(folder / f"{k}.png", colour) for k, colour in enumerate(COLOURS[:count])]
    subjects = [
        BenchSubject(noun=f"toy {k}", kind="object", reference=f, photographs=(f,))
        for k, f in enumerate(files)
    ]
    return replace(small(folder).records[0], id=f"crowd-{count}", subjects=tuple(subjects))


def boxes(picture: np.ndarray, colours: tuple[tuple[int, int, int], ...]) -> list[tuple[int, int, int, int]]:
    """Left, top, right, bottom of all that is of each colour."""
    found = []
    for colour in colours:
        rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
        found.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return found


@pytest.mark.parametrize("count", range(1, 9))
def test_everyone_is_there_at_equal_sizes_and_apart(tmp_path: Path, count: int) -> None:
    benchmark = small(tmp_path, size=128)
    picture = np.asarray(CopyPaste().picture(crowd(tmp_path, count), benchmark.settings["single"], 7))
    assert picture.shape == (128, 128, 3)
    found = boxes(picture, COLOURS[:count])
    columns = count if count <= 3 else -(-count // 2)
    side = round(0.9 * min(128 // columns, 128 // (1 if count <= 3 else 2)))
    assert all(
        abs(right - left - side) <= 1 and abs(bottom - top - side) <= 1 for left, top, right, bottom in found
    )
    assert [row * columns + column for row, column in _cells(found, columns)] == list(range(count))
    inside = sum((right - left) * (bottom - top) for left, top, right, bottom in found)
    assert abs((picture == 255).all(-1).sum() + inside - 128 * 128) <= 8 * side * count  # white all around


def _cells(found: list[tuple[int, int, int, int]], columns: int) -> list[tuple[int, int]]:
    tops = sorted({top for _, top, _, _ in found})
    return [(tops.index(top), (left + right) // 2 // (128 // columns)) for left, top, right, bottom in found]


def test_a_cutout_is_the_subject_alone(tmp_path: Path) -> None:
    noisy = np.asarray(Image.open(write_subject(tmp_path / "a.png", COLOURS[0]))).copy()
    noisy[0, :, 1] = 250  # as JPEG leaves a white border
    Image.fromarray(noisy).save(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        one = cutout(tmp_path / name)
        assert (one.mode, one.size) == ("RGBA", (24, 24))
        assert np.unique(np.asarray(one).reshape(-1, 4), axis=0).tolist() == [[*COLOURS[0], 255]]
    transparent = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    transparent.paste((*COLOURS[1], 255), (10, 5, 20, 25))
    transparent.save(tmp_path / "c.png")
    assert cutout(tmp_path / "c.png").size == (10, 20)


def test_where_nothing_stands_out_the_whole_picture_is_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(picture: Image.Image) -> Image.Image:
        raise ValueError("No subject was found to cut out.")

    monkeypatch.setattr(baselines, "cut_out", nothing)
    assert cutout(write_picture(tmp_path / "plain.png", (40, 30))).size == (40, 30)
    assert cutout(write_picture(tmp_path / "white.png", (40, 30), (255, 255, 255))).size == (40, 30)


def test_a_scene_is_the_background(tmp_path: Path) -> None:
    record = crowd(tmp_path, 2)
    scene = write_picture(tmp_path / "scene.png", (60, 30), (10, 120, 40))
    behind = BenchSubject(noun="forest", kind="scene", reference=scene, photographs=(scene,))
    record = replace(record, subjects=(*record.subjects, behind))
    picture = np.asarray(CopyPaste().picture(record, small(tmp_path, size=128).settings["single"], 7))
    assert not (picture == 255).all(-1).any()
    assert picture[0, 0].tolist() == [10, 120, 40]
    assert len(boxes(picture, COLOURS[:2])) == 2


def test_files_are_those_of_the_benchmark_and_are_kept(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=(42, 43, 44, 45), grid=True)
    copy_paste(benchmark, tmp_path / "x")
    found = cases(benchmark, "copy-paste", tmp_path / "x")
    assert len(found) == 4
    assert np.array_equal(found[2].pictures[0].read(), found[2].pictures[3].read())
    assert found[2].grid is not None
    recipe = read_recipe(found[2].grid.path)
    assert (recipe["baseline"], len(recipe["references"])) == ("copy-paste", 2)
    before = found[2].grid.path.stat().st_mtime_ns
    copy_paste(benchmark, tmp_path / "x")
    assert found[2].grid.path.stat().st_mtime_ns == before


@needs_data
def test_real_photographs_are_cut_out(tmp_path: Path) -> None:
    benchmark = dreambench.read(SHARED, limit=2)
    record = benchmark.records[-1]
    picture = np.asarray(CopyPaste().picture(record, benchmark.settings["multi"], 0))
    white = (picture == 255).all(-1).mean()
    assert 0.2 < white < 0.95  # something is pasted, and not with all that was around it
    assert all((picture[:, half] != 255).any() for half in (slice(0, 256), slice(256, 512)))
