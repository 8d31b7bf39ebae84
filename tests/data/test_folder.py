import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.data.folder import Entry, Folder
from mosaic.geometry import Grid


def picture(path, size=(40, 30), color=(200, 30, 30), box=None):
    """White with a coloured box: (width, height)."""
    image = Image.new("RGB", size, "white" if box else color)
    if box:
        image.paste(color, box)
    image.save(path)


def world(folder, *entries):
    picture(folder / "beach.png", (64, 48))
    picture(folder / "dog.png", box=(10, 5, 30, 25))
    picture(folder / "mug.png", (20, 20), (0, 0, 200))
    mask = Image.new("L", (64, 48))
    mask.paste(255, (0, 0, 32, 48))
    mask.save(folder / "dog-in-beach.png")
    (folder / "samples.json").write_text(json.dumps(entries))
    return Folder(path=folder)


DOG = {
    "name": "dog",
    "picture": "dog.png",
    "target_mask": "dog-in-beach.png",
    "points": [[0.5, 0.5, 0.2, 0.3]],
}
MUG = {"name": "mug", "picture": "mug.png", "points": [[0, 0, 1, 1, 0.25]]}
BEACH = {"target": "beach.png", "caption": "a dog and a mug", "references": [DOG, MUG]}


def test_an_entry_is_a_sample(tmp_path):
    folder = world(tmp_path, BEACH)
    (row,) = folder.index().rows
    assert row[:4] == ("000000", 2, 48, 64)
    sample = folder.read(0)
    assert sample.size == (48, 64) and [s.name for s in sample.subjects] == ["dog", "mug"]
    assert sample.references[0].mask.sum() == 400 and sample.references[0].mask[5:25, 10:30].all()
    assert sample.target_masks[0].mean() == 0.5
    assert sample.target_masks[1].all()  # nobody said where: anywhere
    assert sample.correspondences[0].target.tolist() == [[0.2, 0.3]]
    assert sample.correspondences[1].confidence.tolist() == [0.25]
    assert sample.caption == sample.detailed_caption == "a dog and a mug"


def test_the_documented_example_is_read():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    (entry,) = [Entry.model_validate(content) for content in json.loads(example)]
    assert [shown.name for shown in entry.references] == ["dog", "mug"]


def test_the_digest_is_of_the_targets_and_what_decides_their_order(tmp_path):
    def digest(*entries):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "other.png").symlink_to("beach.png")
        return world(folder, *entries).index().digest

    first = digest(BEACH)
    assert first.startswith("1 ") and digest(BEACH | {"caption": "mended"}) == first
    others = [
        digest(BEACH, BEACH),
        digest(BEACH | {"target": "other.png"}),
        digest(BEACH | {"references": []}),
    ]
    assert len({first, *others}) == 4


def test_views_of_one_subject(tmp_path):
    views = [DOG | {"subject": "rex", "target_mask": ""}, DOG | {"subject": "rex"}, MUG]
    sample = world(tmp_path, BEACH | {"references": views}).read(0)
    assert sample.subject_indices.tolist() == [0, 0, 1]
    assert sample.target_masks[0].mean() == 0.5  # the view that says it


def test_a_picture_on_its_side_is_upright(tmp_path):
    folder = world(tmp_path, BEACH | {"references": [MUG]})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(tmp_path / "beach.png", exif=exif)
    (row,) = folder.index().rows
    assert row.size == folder.read(0).size == (64, 48)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"caption": "no target"}, "target: Field required"),
        (BEACH | {"target": "gone.png"}, "gone.png"),
        (BEACH | {"references": [MUG | {"picture": "gone.png"}]}, 'there is no file "gone.png"'),
        (BEACH | {"references": [MUG | {"mask": "gone.png"}]}, 'there is no file "gone.png"'),
        (BEACH | {"references": [DOG, MUG | {"target_mask": "gone.png"}]}, 'there is no file "gone.png"'),
        (BEACH | {"references": [MUG | {"picture": ""}]}, 'there is no file ""'),
        (BEACH | {"target": ""}, 'there is no file ""'),
        (BEACH | {"colour": 1}, "colour: Extra inputs"),
        (BEACH | {"references": [DOG | {"points": [[0, 0, 1.5, 0]]}]}, "must lie in [0, 1]"),
        (BEACH | {"references": [DOG | {"points": [[0, 0, 1]]}]}, "points.0"),
        ("a string", "000000 is damaged"),
    ],
)
def test_a_bad_entry_is_left_out_and_told(tmp_path, entry, problem):
    folder = world(tmp_path, entry, BEACH | {"key": "good"})
    assert [row.key for row in folder.index().rows] == ["good"]
    ((key, told),) = folder.index().problems
    assert key == "000000" and problem in told and folder.read(0).key == "good"


def test_a_damaged_picture_is_told_when_it_is_read(tmp_path):
    folder = world(tmp_path, BEACH)
    assert folder.index().rows
    (tmp_path / "dog.png").write_bytes((tmp_path / "dog.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"000000 is damaged: .*dog.png"):
        folder.read(0)


def test_a_picture_that_would_fill_memory_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    ((_, told),) = world(tmp_path, BEACH).index().problems
    assert "decompression bomb" in told


def test_a_mask_of_another_size_is_told(tmp_path):
    with pytest.raises(ValueError, match="000000 is damaged: A target mask"):
        world(tmp_path, BEACH | {"references": [DOG | {"target_mask": "dog.png"}]}).read(0)


@pytest.mark.parametrize(("text", "problem"), [("{", "not valid JSON"), ("{}", "a list of samples")])
def test_a_list_that_is_none(tmp_path, text, problem):
    (tmp_path / "samples.json").write_text(text)
    with pytest.raises(ValueError, match=problem):
        Folder(path=tmp_path).index()


def test_no_list_at_all(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*samples.json"):
        Folder(path=tmp_path).index()


def test_points_stay_with_their_references(tmp_path):
    points = world(tmp_path, BEACH).read(0).points_on(reference_grids=[Grid(1, 1)] * 2)
    assert points.valid.tolist() == [[True], [True]]
    assert np.array_equal(points.target, [[0 * 4 + 0], [2 * 4 + 3]])
