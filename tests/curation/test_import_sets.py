"""UNO-1M and IMIG-100K in their published layouts."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mosaic.data.shards import mask_of, picture_of

from .by_hand import add, check_whole, noise, png, rows, save

# ---------------------------------------------------------------- UNO-1M


def uno_label(split: int, n: int, **changes: Any) -> dict[str, Any]:
    label: dict[str, Any] = {
        "img_path1": f"split{split}/thing_{n}_1_64x48.png",
        "img_path2": f"split{split}/thing_{n}_2_64x48.png",
        "caption": {
            "img_path1": f"Stew {n} on a table.",
            "img_path2": f"Stew {n} in a field.",
            "judgment": "same",
            "subject": [f"beef stew {n}"],
        },
        "vlm_filter_cot": {"score_part": {"Carrots": 3.0}, "score_final": 3.5 + 0.5 * (n % 2)},
    }
    return label | changes


def uno_set(root: Path, how: str) -> None:
    """Splits 1, 2 and 10, two pairs each, one picture of the last missing, packed in one of three ways."""
    (root / "labels").mkdir(parents=True)
    (root / "images").mkdir()
    for split in (1, 2, 10):
        labels = [uno_label(split, n) for n in range(2)]
        (root / "labels" / f"split{split}.json").write_text(json.dumps(labels, indent=2))
        names = [label[key] for label in reversed(labels) for key in ("img_path2", "img_path1")]
        contents = {name: png(noise(split * 100 + i)) for i, name in enumerate(names)}
        if split == 10:
            del contents[names[0]]
        if how == "folders":
            for name, content in contents.items():
                (root / "images" / name).parent.mkdir(exist_ok=True)
                (root / "images" / name).write_bytes(content)
        else:
            with tarfile.open(
                root / "images" / f"split{split}.{how}", "w:gz" if how == "tar.gz" else "w"
            ) as tar:
                for name, content in contents.items():
                    add(tar, name, content)


@pytest.mark.parametrize("how", ["folders", "tar", "tar.gz"])
def test_uno_1m_is_read_packed_or_not(tmp_path: Path, how: str) -> None:
    uno_set(tmp_path, how)
    found = rows(kind="uno-1m", path=str(tmp_path), only={"import/consistency": {"least": 3.0, "most": 4.0}})
    assert len(found) == 6
    for row in found:
        check_whole(*row)
    record, outcome = found[1]
    assert record.caption == "Stew 1 in a field." and record.subjects[0].name == "beef stew 1"
    assert outcome.scores == {"import/consistency": 4.0, "import/0/masked": 0.0}
    assert outcome.facts["joins"] == "segment" and outcome.facts["import"]["licence"] == "apache-2.0"
    assert np.array_equal(picture_of(outcome.files["target.webp"]), noise(100))
    assert np.array_equal(picture_of(outcome.files["ref0.webp"]), noise(101))
    assert [row[0].origin.get("file", "")[:7] for row in found[:5:2]] == ["split1/", "split2/", "split10"]
    assert [row[1].status for row in found] == ["done"] * 5 + ["failed"]
    assert "thing_1_2" in found[5][1].error


def test_uno_1m_leaves_out_junk_scores_and_pairs_of_two_things(tmp_path: Path) -> None:
    uno_set(tmp_path, "folders")
    labels = [
        uno_label(1, 0, vlm_filter_cot={"score_part": {"Record Number": 9e5}, "score_final": 131184.67}),
        uno_label(1, 1, caption=uno_label(1, 1)["caption"] | {"judgment": "different"}),
        {"img_path1": "split1/thing_0_1_64x48.png"},
        "nonsense",
    ]
    (tmp_path / "labels" / "split1.json").write_text(json.dumps(labels))
    found = rows(kind="uno-1m", path=str(tmp_path), only={"import/consistency": {"most": 4.0}})[:4]
    for row in found:
        check_whole(*row)
    assert [outcome.status for _, outcome in found] == ["failed"] * 4
    assert "131184.67"[:6] in found[0][1].error.replace("1.312e+05", "131184")
    assert "different" in found[1][1].error and "lacks" in found[2][1].error


def test_a_packed_split_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    uno_set(tmp_path, "tar.gz")
    archive = tmp_path / "images" / "split2.tar.gz"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    found = rows(kind="uno-1m", path=str(tmp_path))
    assert [outcome.status for _, outcome in found[:2]] == ["done", "done"]
    assert "failed" in {outcome.status for _, outcome in found[2:4]}


# ---------------------------------------------------------------- IMIG-100K


def imig_set(root: Path) -> None:
    basic = root / "imig-basic"
    save(basic / "data" / "000007.jpg", noise(1), quality=95)
    box = [10, 5, 40, 35]
    for k in (0, 3):
        save(basic / "kontext_data" / f"000007_{k}.jpg", noise(10 + k, 50, 70), quality=95)
        save(basic / "masked_kontext_data" / f"000007_{k}_mask.png", np.ones((50, 70), bool))
        save(basic / "masked_instance_data" / f"000007_{k}_mask.png", np.ones((30, 30), bool))
    shown = [{"bbox": box, "index": k, "phrase": f"thing {k}", "valid_bbox": box} for k in (0, 3)]
    labels = [
        {"index": 7, "prompt": "Two  things", "nouns": ["a", "b"], "reference_images": shown},
        {"index": 7, "prompt": "x", "reference_images": [shown[0] | {"bbox": [10, 5, 90, 35]}]},
        {"index": 8, "prompt": "x", "reference_images": shown},
    ]
    (basic / "filtered_prompts.json").write_text(json.dumps(labels))
    composite = root / "imig-multicomposite"
    save(composite / "composite_images" / "000002.jpg", noise(2), quality=95)
    for k in (0, 2):
        save(composite / "reference_masks" / f"000002_{k}.jpg", noise(20 + k), quality=95)
        save(composite / "reference_masks" / f"000002_{k}_mask.png", np.ones((48, 64), bool))
    save(composite / "instance_masks" / "000002_0_mask.png", np.ones((30, 30), bool))
    label = {
        "index": 2,
        "prompt": "A chef and a cat",
        "instance": ["a chef", "a cat"],
        "instance_prompt": ["…", "…"],
        "bbox": [{"bbox": box, "score": 0.9}, None],
        "face_bbox": [None, None],
        "indices": [0, 2],
    }
    (composite / "filtered_prompts.json").write_text(json.dumps([label]))


def test_imig_100k_brings_references_and_masks(tmp_path: Path) -> None:
    imig_set(tmp_path)
    found = rows(kind="imig-100k", path=str(tmp_path))
    assert len(found) == 4
    for row in found:
        check_whole(*row)
    record, outcome = found[0]
    assert record.caption == "Two things" and outcome.facts["joins"] == "correspond"
    assert outcome.facts["references"] == [0, 1] and outcome.facts["import"]["licence"] == "mit"
    mask = mask_of(outcome.files["target.mask1.png"])
    assert mask.shape == (48, 64) and mask[5:35, 10:40].all() and mask.sum() == 900
    assert np.array_equal(
        picture_of(outcome.files["ref1.webp"]),
        np.array(Image.open(tmp_path / "imig-basic" / "kontext_data" / "000007_3.jpg")),
    )
    assert "box" in found[1][1].error and "000008" in found[2][1].error
    composite, outcome = found[3]
    assert [named.name for named in composite.subjects] == ["a chef", "a cat"]
    assert outcome.facts["joins"] == "segment"  # the cat's mask is not there, so none is
    assert "target.mask0.png" not in outcome.files and "ref1.mask.png" in outcome.files
