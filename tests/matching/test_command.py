"""`mosaic match`, from two files to lines or points."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.cli import run
from mosaic.data.folder import Folder
from mosaic.matching.lines import color_at, draw_lines
from mosaic.pictures import read_recipe
from mosaic.sample import Correspondence
from mosaic.toybox.batches import sample


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    toy = sample(3, subjects=1, size=128)
    cut = np.where(toy.target_masks[0][..., None], toy.target, np.uint8(255))
    Image.fromarray(toy.references[0].image).save(tmp_path / "a.png")
    Image.fromarray(cut).save(tmp_path / "b.png")
    return str(tmp_path / "a.png"), str(tmp_path / "b.png")


@pytest.mark.parametrize("features", [["--features", "gradients", "--features", "embedded"], []])
def test_two_files_become_lines(
    features: list[str], pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "lines.png"
    assert run(["match", *pair, "--output", str(output), *features]) == 0
    told = capsys.readouterr()
    assert "points by gradients" in told.out and told.err == ""
    assert ("FLUX" in told.out) == bool(features)
    recipe = read_recipe(output)
    assert recipe["points"] > 30
    with Image.open(output) as picture:
        assert picture.width > 2 * 480
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 200


def test_two_files_become_points_as_samples_json_takes_them(pair: tuple[str, str], tmp_path: Path) -> None:
    output = tmp_path / "points.json"
    assert run(["match", *pair, "--output", str(output), "--features", "gradients"]) == 0
    points = json.loads(output.read_text())
    shown = {"name": "bear", "picture": "a.png", "points": points}
    entries = [{"target": "b.png", "caption": "a bear", "references": [shown]}]
    (tmp_path / "samples.json").write_text(json.dumps(entries))
    sample = Folder(path=tmp_path).read(0)
    found = sample.correspondences[0]
    assert len(found) == len(points) > 30
    assert np.allclose(np.column_stack([found.reference, found.target, found.confidence]), points)


def test_a_white_picture_has_nothing_to_match(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (32, 32), "white").save(tmp_path / "white.png")
    assert run(["match", pair[0], str(tmp_path / "white.png"), "--output", str(tmp_path / "l.png")]) == 2
    assert "nothing to match" in capsys.readouterr().err


def test_a_line_runs_from_place_to_place() -> None:
    black = np.zeros((48, 48, 3), np.uint8)
    points = Correspondence(reference=[(0.5, 0.5)], target=[(0.5, 0.5)], confidence=[1.0])
    picture = np.asarray(draw_lines(black, black, points)).astype(int)
    plain = np.asarray(draw_lines(black, black, points.chosen(np.zeros(1, bool)))).astype(int)
    rows = np.flatnonzero((picture != plain).any(axis=(1, 2)))
    middle = picture.shape[0] / 2
    assert abs(rows.mean() - middle) < 2 and len(rows) < 20
    color = np.array([int(color_at(0.5, 0.5)[i : i + 2], 16) for i in (1, 3, 5)])
    drawn = picture[int(middle), picture.shape[1] // 2]
    assert np.abs(drawn - color).max() < 60
