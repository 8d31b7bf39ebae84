"""A folder of pictures and samples.json, opened, reviewed and exported as a dataset like others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mosaic.data.shards import read_shard
from mosaic.studio.data import desk as steps
from mosaic.studio.data.dataset import Dataset
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.edits import Edit, Review
from mosaic.studio.data.exporting import export
from mosaic.studio.data.views import thumbs_of

from .sets import roots, sample, write_shard

POINTS = [[0.25, 0.5, 0.75, 0.125], [0.5, 0.25, 0.5, 0.875, 0.5]]


def picture(file: Path, seed: int, side: int = 24) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def entry(number: int, **more: Any) -> dict[str, Any]:
    references = [
        {"name": "bear", "picture": f"bear-{number}.png", "points": POINTS},
        {"name": "mug", "picture": f"mug-{number}.png"},
    ]
    return {"target": f"{number}.png", "caption": "a bear and a mug", "references": references} | more


def pictured(folder: Path, entries: list[dict[str, Any]]) -> Path:
    for number in range(3):
        for n, name in enumerate((f"{number}.png", f"bear-{number}.png", f"mug-{number}.png")):
            picture(folder / name, 10 * number + n)
    (folder / "samples.json").write_text(json.dumps(entries))
    return folder


def opened(tmp_path: Path, path: Path) -> Dataset:
    return Dataset(path, roots(tmp_path, tmp_path / "data"))


def test_a_folder_of_pictures_is_listed_and_shown(tmp_path: Path) -> None:
    folder = pictured(tmp_path / "data" / "mine", [entry(0), entry(1, key="beach"), entry(2)])
    assert steps.offered(roots(tmp_path, tmp_path / "data")) == [str(folder)]
    for path in (folder, folder / "samples.json"):
        dataset = opened(tmp_path, path)
        entries = list(dataset.entries())
        assert [one.address for one in entries] == ["samples/000000", "samples/beach", "samples/000002"]
        assert not dataset.problems()
        assert entries[0].nouns == ("bear", "mug") and entries[0].caption == "a bear and a mug"
        look = dataset.look(entries[1])
        assert look.sample is not None and look.sample.target.shape == (24, 32, 3)
        assert np.allclose(look.sample.correspondences[0].target, [[0.75, 0.125], [0.5, 0.875]])
        thumbs = thumbs_of(dataset, entries[1])
        assert thumbs.target.startswith("data:image/webp") and len(thumbs.references) == 2


def test_its_points_are_checked_and_an_export_is_shards(tmp_path: Path) -> None:
    folder = pictured(tmp_path / "data" / "mine", [entry(0), entry(1), entry(2)])
    dataset = opened(tmp_path, folder)
    now = steps.open_dataset(Desk(roots=dataset.roots), str(folder), "ann")
    marked = set()
    while (asked := steps.next_question(now)) is not None:
        steps.mark(now, asked[0], "wrong" if asked[0].which == "0/1" else "right")
        marked.add(asked[0].id)
    assert len(marked) == 6
    steps.decide(replace(now, selected="samples/000002"), "drop")
    where, done = export(dataset, now.review, "mine")
    assert (done.samples, done.dropped, done.points_removed) == (2, 1, 2) and not done.problems
    first, second = read_shard(where / "samples.tar")
    assert first.key == "000000" and second.target.shape == (24, 32, 3)
    assert [len(points) for points in first.correspondences] == [1, 0]
    with Image.open(folder / "0.png") as target:
        assert np.array_equal(first.target, np.asarray(target))


def test_what_is_wrong_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    wrong = [
        entry(0),
        {"caption": "no target"},
        entry(1, target="gone.png"),
        entry(2, key="000000"),
        entry(2, key="a.b"),
    ]
    dataset = opened(tmp_path, pictured(tmp_path / "data" / "mine", wrong))
    entries = {one.key: one for one in dataset.entries()}
    assert list(entries) == ["000000", "000002", "a.b"]
    told = " ".join(dataset.problems())
    assert "sample 000001: target" in told and "two samples 000000" in told and "gone.png" in told
    assert entries["000002"].lacks == "gone.png"
    assert "lacks gone.png" in dataset.look(entries["000002"]).problem
    assert not thumbs_of(dataset, entries["000002"]).target
    _, done = export(dataset, Review(), "mine")
    assert done.samples == 1 and len(done.problems) == 2  # the one without a target, and the key with a dot


@pytest.mark.parametrize("content", ["", "{}", "[1]", "nonsense"])
def test_a_damaged_list_is_told(tmp_path: Path, content: str) -> None:
    folder = pictured(tmp_path / "data" / "mine", [])
    (folder / "samples.json").write_text(content)
    dataset = opened(tmp_path, folder)
    assert not list(dataset.entries()) and "samples.json" in dataset.problems()[0]


def test_pictures_outside_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png", 7)
    out = [
        entry(0, target="../../secret.png"),
        entry(1, target=str(tmp_path / "secret.png")),
        entry(2, target="link.png"),
    ]
    folder = pictured(tmp_path / "data" / "mine", out)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    dataset = opened(tmp_path, folder)
    for one in dataset.entries():
        assert one.lacks and dataset.look(one).sample is None
        assert not thumbs_of(dataset, one).target
    with pytest.raises(ValueError, match="Nothing is left"):
        export(dataset, Review(), "mine")


def test_a_list_that_was_edited_is_read_again(tmp_path: Path) -> None:
    folder = pictured(tmp_path / "data" / "mine", [entry(0)])
    dataset = opened(tmp_path, folder)
    assert len(list(dataset.entries())) == 1
    pictured(folder, [entry(0), entry(1, caption="a bear, a mug, and more")])
    assert [one.caption for one in dataset.entries()][1:] == ["a bear, a mug, and more"]


def test_a_shard_whose_samples_lack_files_says_so(tmp_path: Path) -> None:
    import tarfile

    whole = write_shard(tmp_path / "data" / "whole.tar", [sample("a"), sample("b")])
    with tarfile.open(whole) as old, tarfile.open(tmp_path / "data" / "cut.tar", "w") as new:
        for member in old:
            if member.name != "b.target.mask1.png":
                new.addfile(member, old.extractfile(member))
    dataset = Dataset(tmp_path / "data" / "cut.tar", roots(tmp_path, tmp_path / "data"))
    assert [one.lacks for one in dataset.entries()] == ["", "target.mask1.png"]
    assert "one sample is not whole (b lacks target.mask1.png)" in dataset.problems()[0]
    _, done = export(dataset, Review.of([Edit(sample="cut/a", thing="decision", value="keep")]), "mine")
    assert done.samples == 1 and "cut/b is left out" in done.problems[0]
