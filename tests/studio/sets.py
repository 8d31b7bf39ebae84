"""Small datasets as `mosaic curate` and others leave them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mosaic.curation.folder import Row, StageFolder, write_table
from mosaic.curation.rows import Named, Outcome, Record
from mosaic.curation.tables import TableRow, table_of
from mosaic.data.shards import ShardWriter, encode_sample
from mosaic.sample import Correspondence, Reference, Sample, Subject
from mosaic.studio.data.dataset import Dataset
from mosaic.studio.roots import Roots


def sample(key: str, nouns: Sequence[str] = ("bear", "mug"), points: int = 3, side: int = 32) -> Sample:
    """Of random pixels, that its key decides."""
    random = np.random.default_rng(list(key.encode()))
    picture = lambda: random.integers(0, 256, (side, side, 3), np.uint8)  # noqa: E731
    mask = np.zeros((side, side), bool)
    mask[4:20, 4:20] = True
    places = lambda: random.integers(0, 8193, (points, 2)) / 8192  # noqa: E731
    return Sample(
        key=key,
        target=picture(),
        references=tuple(
            Reference(subject=Subject(id=f"{key}-{n}", name=noun), image=picture(), mask=mask)
            for n, noun in enumerate(nouns)
        ),
        target_masks=(mask,) * len(nouns),
        correspondences=tuple(
            Correspondence(reference=places(), target=places(), confidence=np.full(points, 0.5))
            for _ in nouns
        ),
        caption=f"a {' and a '.join(nouns)} on sand",
        detailed_caption=f"a red {' and a blue '.join(nouns)} on sand",
    )


def write_shard(path: Path, samples: Sequence[Sample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ShardWriter(path) as writer:
        for one in samples:
            writer.write(one)
    return path


def record(number: int, nouns: Sequence[str] = ("bear", "mug")) -> Record:
    made = sample(f"n{number}", nouns)
    return Record(
        caption=made.caption,
        detailed_caption=made.detailed_caption,
        subjects=tuple(Named(name=noun, looks=f"red {noun}") for noun in nouns),
        seed=number,
        origin={"licence": "cc0-1.0"},
    )


def curated(folder: Path, accepted: int = 3, rejected: int = 2, parts: int = 2) -> Path:
    """Shards, tables, and stages with the files of every sample, as `mosaic curate` leaves them."""
    number = 0
    for part in range(parts):
        rows, packed = [], []
        with StageFolder(folder, "correspond").new_part(part) as stage:
            for n in range(accepted + rejected):
                one, number = record(number, ("bear", "mug", "duck")[: 2 + n % 2]), number + 1
                made = sample(one.id, [named.name for named in one.subjects])
                facts = {"references": list(range(len(one.subjects)))}
                files = {k: v for k, v in encode_sample(made).items() if k not in ("__key__", "json")}
                stage.write(Row(outcome=Outcome(id=one.id, facts=facts, files=files)))
                good = n < accepted
                rows.append(table_row(one, part, good, facts))
                if good:
                    packed.append(made)
            stage.commit()
        write_shard(folder / f"set-{part:05d}.tar", packed)
        write_table(folder / f"set-{part:05d}.parquet", table_of(rows))
    return folder


def table_row(one: Record, part: int, good: bool, facts: dict[str, list[int]]) -> TableRow:
    area = 0.5 if good else 0.01
    return TableRow(
        id=one.id,
        shard=part,
        verdict="accepted" if good else "rejected",
        stage="" if good else "segment",
        reason="" if good else "segment/0/area is 0.01, below 0.05",
        caption=one.caption,
        detailed_caption=one.detailed_caption,
        subjects=tuple(named.name for named in one.subjects),
        looks=tuple(named.looks for named in one.subjects),
        seed=one.seed,
        origin=json.dumps(one.origin),
        made_by=(),
        scores={"segment/0/area": area, "segment/1/area": 0.4, "judge/sharpness": float(one.seed)},
        facts=json.dumps(facts),
    )


def roots(tmp_path: Path, *data: Path) -> Roots:
    home = tmp_path / "studio"
    home.mkdir(exist_ok=True)
    return Roots(home=home, data=data)


def opened(tmp_path: Path, data: Path) -> Dataset:
    return Dataset(data, roots(tmp_path, data))


def crowd(folder: Path, parts: int, each: int) -> Path:
    """Many samples, alike but for their keys and captions."""
    folder.mkdir(parents=True, exist_ok=True)
    files = encode_sample(sample("x", ("bear",), side=16))
    for part in range(parts):
        with tarfile.open(folder / f"many-{part:03d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for n in range(each):
                texts = json.loads(files["json"]) | {"caption": f"a bear, number {part * each + n}"}
                content = {"target.webp": files["target.webp"], "json": json.dumps(texts).encode()}
                for name, data in content.items():
                    member = tarfile.TarInfo(f"{part:03d}-{n:05d}.{name}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder
