"""Subjects200K in its published layout, with and without what the authors released for it."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mosaic.curation.importers.released import agreed_points, classic_png, read_grid, release_keys
from mosaic.curation.importers.subjects200k import panels
from mosaic.data.shards import decode_sample, mask_of, picture_of
from mosaic.geometry import Grid, token_of

from .by_hand import check_whole, noise, only_row, png, rows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


SIDE = 64


def pair_of(seed: int) -> np.ndarray:
    """A picture with two panels of SIDE and their borders, as published but smaller."""
    return noise(seed, SIDE + 16, 2 * SIDE + 24)


def subjects_table(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "data").mkdir(parents=True)
    for file in range(2):  # two files, small row groups: both ends matter
        part = rows[file::2]
        pq.write_table(
            pa.Table.from_pylist(part), folder / "data" / f"train-{file}.parquet", row_group_size=2
        )


def subject_row(seed: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "quality_assessment": {"compositeStructure": 5, "objectConsistency": 5, "imageQuality": 4},
        "description": {
            "item": f"Lamp {seed}",
            "description_0": f"The lamp {seed} stands on a desk.",
            "description_1": "It hangs.",
            "category": "Furniture",
            "description_valid": True,
        },
        "raw_json": "{}",
        "image": {"bytes": png(pair_of(seed)), "path": None},
        "collection": "collection_2",
    }
    return row | changes


def test_subjects200k_cuts_the_panels_and_keeps_the_marks(tmp_path: Path) -> None:
    bad = {"bytes": png(noise(9, 40, 50)), "path": None}
    cut = {"bytes": png(pair_of(4))[:300], "path": None}
    subjects_table(
        tmp_path,
        [
            subject_row(0),
            subject_row(1, collection="collection_1"),
            subject_row(2, image=bad),
            subject_row(3, image=cut),
        ]
        + [subject_row(n) for n in range(4, 9)],
    )
    found = rows(kind="subjects200k", path=str(tmp_path))
    assert len(found) == 9
    for row in found:
        check_whole(*row)
    by_name = {record.subjects[0].name: (record, outcome) for record, outcome in found if record.subjects}
    record, outcome = by_name["Lamp 0"]
    picture = pair_of(0)
    assert np.array_equal(picture_of(outcome.files["target.webp"]), picture[8 : 8 + SIDE, 8 : 8 + SIDE])
    assert np.array_equal(
        picture_of(outcome.files["ref0.webp"]), picture[8 : 8 + SIDE, 16 + SIDE : 16 + 2 * SIDE]
    )
    assert record.caption == "The lamp 0 stands on a desk."
    assert outcome.scores["import/image_quality"] == 4 and outcome.facts["joins"] == "segment"
    errors = sorted(outcome.error for _, outcome in found if outcome.status == "failed")
    assert len(errors) == 3 and "collection_1" in " ".join(errors) and "50×40" in " ".join(errors)
    assert not {"Lamp 1", "Lamp 2", "Lamp 3"} & by_name.keys()


def test_the_panels_of_the_published_size() -> None:
    picture = np.zeros((528, 1056, 3), np.uint8)
    picture[8:520, 8:520], picture[8:520, 528:1040] = 1, 2
    target, reference = panels(Image.fromarray(picture))
    assert target.size == reference.size == (512, 512)
    assert (np.asarray(target) == 1).all() and (np.asarray(reference) == 2).all()


def test_marks_below_a_bound_fail_the_row_before_files_are_written(tmp_path: Path) -> None:
    subjects_table(tmp_path, [subject_row(0)])
    record, outcome = only_row(
        kind="subjects200k", path=str(tmp_path), only={"import/image_quality": {"least": 5}}
    )
    assert outcome.status == "failed" and outcome.error == "import/image_quality is 4, below 5"
    assert outcome.scores["import/image_quality"] == 4 and record.subjects


def released(folder: Path, seed: int, first: Any, second: Any, mask: np.ndarray | None) -> None:
    """mask.zip and coord.zip as the authors published them, for one pair."""
    import torch

    target, _ = panels(Image.fromarray(pair_of(seed)))
    key = release_keys(f"Lamp {seed}", f"The lamp {seed} stands on a desk.", target)[0]
    folder.mkdir()
    with zipfile.ZipFile(folder / "mask.zip", "w") as archive:
        if mask is not None:
            archive.writestr(f"mask/{key}.png", png(mask))
    with zipfile.ZipFile(folder / "coord.zip", "w") as archive:
        for name, grid in (("dift", first), ("geoaware", second)):
            file = io.BytesIO()
            torch.save(grid, file)
            archive.writestr(f"coord/{name}/{key}_ref0.pt", file.getvalue())


def test_the_authors_annotations_become_mask_and_points(tmp_path: Path) -> None:
    import torch

    first = torch.randint(0, 64, (4096, 2))
    second = first.clone()
    second[::2] = (second[::2] + 1) % 64  # odd patches agree
    mask = np.zeros((SIDE, SIDE), bool)
    mask[: SIDE // 2] = True
    subjects_table(tmp_path / "set", [subject_row(0), subject_row(1)])
    released(tmp_path / "notes", 0, first, second, mask)
    found = rows(kind="subjects200k", path=str(tmp_path / "set"), annotations=str(tmp_path / "notes"))
    annotated, bare = sorted(found, key=lambda row: -row[1].scores["import/annotated"])
    assert annotated[1].facts["joins"] == "pack" and annotated[1].scores["import/annotated"] == 1
    assert np.array_equal(mask_of(annotated[1].files["target.mask0.png"]), mask)
    assert bare[1].facts["joins"] == "segment" and bare[1].scores["import/annotated"] == 0
    assert bare[1].status == "done"  # what they have no files for is said, not passed off as a mask of ones
    texts = {"caption": "", "detailed_caption": "", "references": [{"subject": "0", "name": "lamp"}]}
    points = decode_sample({"__key__": "k", **annotated[1].files, "json": json.dumps(texts)}).correspondences[
        0
    ]
    grid = Grid(64, 64)
    there, here = token_of(points.target, grid), token_of(points.reference, grid)
    assert 200 < len(points) <= 256
    assert (there % 2 == 1).all() and (there < 2048).all()  # agreed, and in the upper half
    wanted = (first[:, 0] * 64 + first[:, 1]).numpy()
    assert np.array_equal(wanted[there], here)


def test_points_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    first = rng.integers(0, 16, (256, 2))
    second = np.where(rng.random((256, 1)) < 0.6, first, rng.integers(0, 16, (256, 2)))
    mask = rng.random((40, 56)) < 0.7
    found = agreed_points(first, second, mask, most=10**6)
    seen: dict[tuple[int, int], tuple[int, int]] = {}
    for row in range(16):
        for column in range(16):
            n = row * 16 + column
            held = mask[int((row + 0.5) / 16 * 40), int((column + 0.5) / 16 * 56)]
            if tuple(first[n]) == tuple(second[n]) and held:
                seen.setdefault(tuple(first[n]), (row, column))
    wanted = {
        ((c + 0.5) / 16, (r + 0.5) / 16, (y + 0.5) / 16, (x + 0.5) / 16) for (r, c), (x, y) in seen.items()
    }
    assert {(*a, *b) for a, b in zip(found.reference.tolist(), found.target.tolist(), strict=True)} == wanted
    few = agreed_points(first, second, mask, most=10)
    assert len(few) == 10 and {tuple(p) for p in few.target} <= {tuple(p) for p in found.target}


def test_a_grid_that_is_no_plain_tensor_is_refused(tmp_path: Path) -> None:
    import torch

    for content in (b"", b"not a tensor", _saved({"a": 1}), _saved(torch.zeros(4096, 2)), _saved(_Trap())):
        with pytest.raises(ValueError, match="grid"):
            read_grid(content)
    with pytest.raises(ValueError, match="square"):
        read_grid(_saved(torch.full((4096, 2), 64)))
    assert not _Trap.sprung


class _Trap:
    """Unpickling it would call `spring`."""

    sprung = False

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _Trap.spring, ()

    @staticmethod
    def spring() -> None:
        _Trap.sprung = True


def _saved(thing: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def test_a_png_is_that_of_pillow_with_the_classic_zlib() -> None:
    # sha256 of what Pillow 10.4.0 with zlib 1.2.13 writes of these pixels
    y, x = np.mgrid[:96, :80]
    smooth = np.stack([(x + y) // 4 % 256, x * y // 64 % 256, (x - y) % 256], -1)
    mixed = (smooth + np.stack([x * 7 % 11, y * 5 % 13, x * y % 7], -1)) % 256
    wanted = {
        "smooth": "717e36e6b09a0f46a1234c53fd4ce8913875add701c2efa61643cf284a9fa4d0",
        "mixed": "10cd4f80b3c686850ce36ca13d844d34e056e2c7f0a84892695824a4ef80c90d",
    }
    for name, picture in (("smooth", smooth), ("mixed", mixed)):
        content = classic_png(picture.astype(np.uint8))
        assert np.array_equal(np.array(Image.open(io.BytesIO(content))), picture.astype(np.uint8))
        assert hashlib.sha256(content).hexdigest() == wanted[name]
