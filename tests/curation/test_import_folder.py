"""Folders with and without samples.json; pictures that are too large, damaged, or of one colour."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mosaic.curation.importers.entry import Limits, load, load_mask
from mosaic.curation.stages.importing import Section, make
from mosaic.data.shards import decode_sample, mask_of, picture_of

from .by_hand import check_whole, noise, only_row, png, rows, save


def test_a_folder_of_pictures_joins_at_segment_with_what_its_notes_say(tmp_path: Path) -> None:
    target = save(tmp_path / "a" / "one.png", noise(1))
    (tmp_path / "a" / "one.txt").write_text("A Border Collie and a red umbrella\non a beach")
    save(tmp_path / "two.jpg", noise(2))
    (tmp_path / "two.json").write_text(json.dumps({"subjects": {"mug": "blue mug"}, "detailed_caption": "x"}))
    save(tmp_path / "zzz.png", noise(3))
    first, second, third = rows(kind="folder", path=str(tmp_path))
    for row in (first, second, third):
        check_whole(*row)
    record, outcome = first
    assert outcome.facts["joins"] == "segment"
    assert [named.name for named in record.subjects] == ["border collie", "umbrella"]
    assert record.caption == "A Border Collie and a red umbrella on a beach"
    assert np.array_equal(picture_of(outcome.files["target.webp"]), target)
    assert record.origin["file"] == "a/one.png"
    assert (second[0].caption, second[0].detailed_caption) == ("a mug", "x")
    assert second[0].subjects[0].phrase == "blue mug"
    assert "zzz.txt" in third[1].error


def test_a_folder_takes_its_nouns_from_the_recipe(tmp_path: Path) -> None:
    save(tmp_path / "one.png", noise(1))
    record, outcome = only_row(kind="folder", path=str(tmp_path), subjects=("unicycle", "ukulele"))
    assert record.caption == "a unicycle and a ukulele" and outcome.status == "done"


def listed(folder: Path) -> None:
    """samples.json with: points everywhere; none, and no target masks; a broken entry; a wrong mask."""
    save(folder / "t.png", noise(1))
    save(folder / "r.png", noise(2))
    save(folder / "v.png", noise(3, 40, 40))
    mask = np.zeros((48, 64), bool)
    mask[10:30, 20:40] = True
    save(folder / "m.png", mask)
    save(folder / "bad.png", np.zeros((64, 48), bool))
    points = [[0.25, 0.5, 0.75, 0.125], [0.5, 0.5, 0.5, 0.5, 0.25]]
    entries: list[Any] = [
        {
            "target": "t.png",
            "caption": "a dog",
            "detailed_caption": "a brown dog",
            "references": [
                {"name": "dog", "picture": "r.png", "mask": "m.png", "target_mask": "m.png", "points": points}
            ],
        },
        {
            "target": "t.png",
            "caption": "a dog and a cat",
            "references": [
                {"name": "dog", "picture": "r.png"},
                {"name": "dog", "picture": "v.png"},
                {"name": "cat", "picture": "v.png"},
            ],
        },
        {"target": "t.png"},
        {
            "target": "t.png",
            "caption": "x",
            "references": [{"name": "dog", "picture": "r.png", "mask": "bad.png"}],
        },
        {"target": "missing.png", "caption": "x"},
    ]
    (folder / "samples.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def test_samples_json_joins_where_its_files_allow(tmp_path: Path) -> None:
    listed(tmp_path)
    whole, views, broken, wrong, missing = rows(kind="folder", path=str(tmp_path))
    for row in (whole, views, broken, wrong, missing):
        check_whole(*row)
    assert whole[1].facts["joins"] == "pack"
    texts = {"caption": "", "detailed_caption": "", "references": [{"subject": "0", "name": "dog"}]}
    made = decode_sample({"__key__": "k", **whole[1].files, "json": json.dumps(texts)})
    assert np.allclose(made.correspondences[0].target, [[0.75, 0.125], [0.5, 0.5]])
    assert np.allclose(made.correspondences[0].confidence, [1, 0.25])
    assert made.target_masks[0].sum() == 400
    assert views[1].facts["joins"] == "segment"
    assert views[1].facts["references"] == [0, 1, 0]  # the cat's view before the second of the dog
    assert picture_of(views[1].files["ref1.webp"]).shape == (40, 40, 3)
    assert [named.name for named in views[0].subjects] == ["dog", "cat"]
    assert "caption" in broken[1].error and "missing.png" in missing[1].error
    assert "48×64" in wrong[1].error and wrong[1].status == "failed"


def test_an_entry_is_read_the_same_whatever_was_read_before(tmp_path: Path) -> None:
    listed(tmp_path)
    source = make(Section(kind="folder", path=str(tmp_path)))
    together = source(range(len(source)))
    assert [make(Section(kind="folder", path=str(tmp_path)))([i])[0] for i in range(len(source))] == together


# ---------------------------------------------------------------- limits and faults


def test_pictures_beyond_the_limits_are_failed_rows(tmp_path: Path) -> None:
    save(tmp_path / "wide.png", noise(1, 40, 400))
    save(tmp_path / "flat.png", np.full((40, 40, 3), 9, np.uint8))
    (tmp_path / "cut.png").write_bytes(png(noise(2))[:1000])
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    common = {"kind": "folder", "path": str(tmp_path), "subjects": ("dog",)}
    errors = {record.origin["index"]: outcome.error for record, outcome in rows(**common)}
    names = sorted(path.name for path in tmp_path.iterdir())
    said = {name: errors[str(i)] for i, name in enumerate(names)}
    assert said["wide.png"] == "" and "one colour" in said["flat.png"]
    assert "cut.png cannot be read" in said["cut.png"]
    assert "no picture" in said["text.png"] and "no picture" in said["empty.png"]
    small = rows(**common, most_pixels=10_000)[names.index("wide.png")][1]
    assert "most_pixels = 10000" in small.error
    assert "most_bytes = 100" in rows(**common, most_bytes=100)[names.index("wide.png")][1].error
    shrunk = rows(**common, longest=100)[names.index("wide.png")][1]
    assert picture_of(shrunk.files["target.webp"]).shape == (10, 100, 3)


def test_a_picture_bomb_is_not_unpacked() -> None:
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")  # some 20 kB
    with pytest.raises(ValueError, match="most_pixels"):
        load(file.getvalue(), "it", Limits())
    with pytest.raises(ValueError, match="most_pixels"):
        load_mask(file.getvalue(), "it", Limits())


def test_masks_shrink_with_their_picture(tmp_path: Path) -> None:
    save(tmp_path / "t.png", noise(1, 100, 200))
    mask = np.zeros((100, 200), bool)
    mask[:, 100:] = True
    save(tmp_path / "m.png", mask)
    shown = {"name": "dog", "picture": "t.png", "mask": "m.png", "target_mask": "m.png"}
    (tmp_path / "samples.json").write_text(
        json.dumps([{"target": "t.png", "caption": "a dog", "references": [shown]}])
    )
    _, outcome = only_row(kind="folder", path=str(tmp_path), longest=50)
    found = mask_of(outcome.files["target.mask0.png"])
    assert found.shape == (25, 50) and found[:, 25:].all() and not found[:, :25].any()
    assert outcome.facts["joins"] == "correspond"
