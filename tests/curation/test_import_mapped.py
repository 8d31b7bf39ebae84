"""Any WebDataset and Parquet, by the names of their parts; in any order, cut off, or damaged."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mosaic.curation.stages.importing import Section, make
from mosaic.data.shards import ShardWriter, decode_sample, encode_sample, picture_of
from mosaic.toybox.batches import sample

from .by_hand import add, check_whole, noise, png, rows, save

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


# ---------------------------------------------------------------- WebDataset


def test_our_own_shards_come_back_byte_for_byte(tmp_path: Path) -> None:
    made = [sample(0, subjects=2, index=n, size=64, reference_size=64) for n in range(3)]
    for number, part in enumerate((made[:2], made[2:])):
        with ShardWriter(tmp_path / f"s-{number}.tar") as writer:
            for one in part:
                writer.write(one)
    found = rows(kind="webdataset", path=str(tmp_path))
    assert len(found) == 3
    for (record, outcome), one in zip(found, made, strict=True):
        check_whole(record, outcome)
        assert outcome.facts["joins"] == "pack" and outcome.facts["references"] == [0, 1]
        files = encode_sample(one)
        assert outcome.files == {k: v for k, v in files.items() if k not in ("__key__", "json")}
        assert record.caption == one.caption


def web_set(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        add(tar, "README", b"not a sample")
        for n in range(3):
            add(tar, f"set/{n:03d}.jpg", png(noise(n)))
            told = {"caption": {"short": f"a dog and a cat {n}"}, "who": ["dog", "cat"], "aesthetic": 5.5}
            add(tar, f"set/{n:03d}.json", json.dumps(told).encode())
            for k in (10, 2) if n != 1 else (2,):
                add(tar, f"set/{n:03d}.ref{k}.png", png(noise(100 + k)))


COLUMNS = {
    "target": "jpg",
    "caption": "json.caption.short",
    "names": "json.who",
    "references": "ref*.png",
    "scores": {"aesthetic": "json.aesthetic"},
}


def test_any_webdataset_is_read_by_the_names_of_its_files(tmp_path: Path) -> None:
    web_set(tmp_path / "a.tar")
    first, second, third = rows(kind="webdataset", path=str(tmp_path / "*.tar"), columns=COLUMNS)
    check_whole(*first)
    assert first[0].caption == "a dog and a cat 0" and first[0].origin["key"] == "set/000"
    assert first[1].scores["import/aesthetic"] == 5.5
    assert np.array_equal(picture_of(first[1].files["ref0.webp"]), noise(102))  # ref2 before ref10
    assert second[1].status == "failed" and "1 references have 2 names" in second[1].error
    assert third[1].status == "done"
    bare = rows(kind="webdataset", path=str(tmp_path), columns={**COLUMNS, "caption": "txt"})
    assert {outcome.error for _, outcome in bare} == {"it lacks txt"}


def test_a_tar_that_breaks_off_is_a_failed_row_at_its_end(tmp_path: Path) -> None:
    web_set(tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: int(len(content) * 0.55)])
    found = rows(
        kind="webdataset", path=str(tmp_path), columns={**COLUMNS, "references": "", "names": "json.who"}
    )
    assert found[0][1].status == "done"
    assert found[-1][1].status == "failed" and "cut off" in found[-1][1].error


def test_what_is_no_tar_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(ValueError, match="no uncompressed tar"):
        make(Section(kind="webdataset", path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"import\.path: there is no shard"):
        make(Section(kind="webdataset", path=str(tmp_path / "none")))


# ---------------------------------------------------------------- Parquet


def parquet_set(folder: Path) -> None:
    mask = np.zeros((48, 64), bool)
    mask[:10] = True
    save(folder / "pictures" / "r.png", noise(5))
    table = [
        {
            "picture": {"bytes": png(noise(n)), "path": None},
            "text": {"plain": f"a dog {n}", "full": f"a brown dog {n}"},
            "who": ["dog"],
            "looks": ["brown dog"],
            "refs": ["pictures/r.png"] if n % 2 else ["pictures/none.png"],
            "masks": [png(mask)],
            "where": [png(mask)],
            "points": [[[0.1, 0.2, 0.3, 0.4, 0.5]]] if n < 8 else [[[0.1, 0.2, 0.3, 1.4]]],
        }
        for n in range(10)
    ]
    pq.write_table(pa.Table.from_pylist(table), folder / "a.parquet", row_group_size=3)


PARQUET = {
    "target": "picture",
    "caption": "text.plain",
    "detailed_caption": "text.full",
    "names": "who",
    "looks": "looks",
    "references": "refs",
    "masks": "masks",
    "target_masks": "where",
    "points": "points",
}


def test_any_parquet_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    parquet_set(tmp_path)
    found = rows(kind="parquet", path=str(tmp_path), columns=PARQUET)
    for row in found:
        check_whole(*row)
    assert [outcome.status == "done" for _, outcome in found] == [n % 2 == 1 and n < 8 for n in range(10)]
    record, outcome = found[7]
    assert (record.caption, record.detailed_caption) == ("a dog 7", "a brown dog 7")
    assert outcome.facts["joins"] == "pack" and record.subjects[0].phrase == "brown dog"
    assert np.array_equal(picture_of(outcome.files["ref0.webp"]), noise(5))
    assert "none.png" in found[0][1].error and "[0, 1]" in found[9][1].error


def test_rows_of_a_parquet_are_the_same_in_any_order_and_slices(tmp_path: Path) -> None:
    parquet_set(tmp_path)
    section = Section(kind="parquet", path=str(tmp_path), columns=PARQUET)
    whole = make(section)(range(10))
    source = make(section)
    for indices in ([9, 3], [0], [4, 5, 6], [7], [7], [8, 1], list(range(2, 10))):
        assert source(indices) == [whole[i] for i in indices]
    assert len({record.id for record, _ in whole}) == 10


def test_a_missing_column_is_told_with_those_there_are(tmp_path: Path) -> None:
    parquet_set(tmp_path)
    with pytest.raises(ValueError, match=r"no column target: it has picture, text"):
        make(Section(kind="parquet", path=str(tmp_path)))


def test_files_of_an_import_decode_to_a_sample(tmp_path: Path) -> None:
    parquet_set(tmp_path)
    record, outcome = rows(kind="parquet", path=str(tmp_path), columns=PARQUET)[1]
    texts = {
        "caption": record.caption,
        "detailed_caption": record.detailed_caption,
        "references": [{"subject": "0", "name": "dog"}],
    }
    made = decode_sample({"__key__": record.id, **outcome.files, "json": json.dumps(texts)})
    assert np.allclose(made.correspondences[0].reference, [[0.1, 0.2]], atol=1e-4)
    assert made.target_masks[0].sum() == made.references[0].mask.sum() == 640
