"""An invented benchmark of two parts, scores for it, and pictures."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mosaic.evaluation.features import Case, Column, PictureFile, Score
from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings
from mosaic.evaluation.rows import Row, Shown
from mosaic.evaluation.summary import Method

SEEDS = (7, 8)


def benchmark(
    folder: Path = Path("nowhere"), records: int = 12, groups: int = 3, **changed: Any
) -> Benchmark:
    """Parts "single" and "multi", `records` each."""
    settings = Settings(width=64, height=48, seeds=SEEDS, steps=4, guidance=3.5, reference="square")
    fields = {
        "name": "invented",
        "records": tuple(
            record(folder, part, subjects, n, groups)
            for part, subjects in (("single", 1), ("multi", 2))
            for n in range(records)
        ),
        "settings": {"single": settings, "multi": settings},
        "columns": ("DINO", "ID-Sim"),
        "mean": "groups",
        "published": {"single": {"UNO": {"DINO": 75.97}, "XVerse & Co_1": {"DINO": 75.44, "AES": 56.84}}},
        "deviations": ("Photographs are 640 pixels.",),
    }
    return Benchmark(**(fields | changed))


def record(folder: Path, part: str, subjects: int, n: int, groups: int) -> Record:
    nouns = ("cat", "mug")[:subjects]
    return Record(
        id=f"{part}-{n}",
        part=part,
        group=f"{'+'.join(nouns)} {n % groups}",
        prompt=f"a {' and a '.join(nouns)} <in> the “jungle” & {n}",
        subjects=tuple(
            BenchSubject(noun=noun, kind="object", reference=folder / f"{noun}.png", photographs=())
            for noun in nouns
        ),
        names=(f"{n}_{{image}}",),
    )


def shown(name: str, *, model: str = "", lower_is_better: bool = False) -> Shown:
    """Official if there is no model's name."""
    column = Column(name=name, model=model, official=not model, lower_is_better=lower_is_better)
    return Shown(column=column, mean="groups")


def rows_of(bench: Benchmark, columns: Sequence[Shown], quality: Mapping[str, float]) -> list[Row]:
    """Scores 0.5 + quality with an effect a record that all methods share."""
    rows = []
    for method in quality:
        for one in bench.records:
            case = Case(method=method, record=one, pictures=())
            for column in columns:
                chance = np.random.default_rng(zlib.crc32(f"{one.id} {column.column.name}".encode()))
                effect = chance.normal(0, 0.1)
                chance = np.random.default_rng(zlib.crc32(f"{one.id} {column.column.name} {method}".encode()))
                rows += [
                    Row.of(
                        case,
                        column.column,
                        Score(image=image, subject=k, value=float(0.5 + quality[method] + effect + noise)),
                    )
                    for image in range(len(SEEDS))
                    for k in range(len(one.subjects))
                    for noise in [chance.normal(0, 0.04)]
                ]
    return rows


def methods_of(
    bench: Benchmark, folder: Path, names: Sequence[str], controls: Sequence[str] = ()
) -> list[Method]:
    """Pictures of one colour a method, and the references, on disk."""
    for noun, color in (("cat", "orange"), ("mug", "navy")):
        draw(folder / f"{noun}.png", color)
    return [
        Method(
            name=name,
            cases=tuple(case(one, name, folder, n) for one in bench.records),
            control=name in controls,
            settings={"steps": 4, "model": "tiny <1>"},
            deviations=("4 steps instead of 28.",) if not n else (),
        )
        for n, name in enumerate(names)
    ]


def case(one: Record, name: str, folder: Path, n: int) -> Case:
    file = draw(folder / f"method{n}.png", f"hsl({70 * n}, 60%, 60%)")
    return Case(method=name, record=one, pictures=tuple(PictureFile(file) for _ in SEEDS))


def draw(file: Path, color: str) -> Path:
    if not file.exists():
        Image.new("RGB", (64, 48), color).save(file)
    return file
