"""Small benchmarks and pictures on disk for the tests of protocols, pictures and generating."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings

SHARED = Path(__file__).parents[3] / "shared" / "benchmarks"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the benchmarks' photographs are not here")


def write_picture(path: Path, size: tuple[int, int] = (32, 32), colour: object = (200, 40, 90)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def write_subject(path: Path, colour: tuple[int, int, int] = (200, 40, 90), side: int = 48) -> Path:
    """A coloured square on white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[side // 4 : -side // 4, side // 4 : -side // 4] = colour
    Image.fromarray(picture).save(path)
    return path


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def small(folder: Path, *, seeds: tuple[int, ...] = (7,), grid: bool = False, size: int = 32) -> Benchmark:
    """Two parts with two records each, one subject and two; names as DreamBench's, or as XVerseBench's."""
    colours = ((200, 40, 90), (40, 90, 200))
    files = [write_subject(folder / f"subject-{k}.png", colour) for k, colour in enumerate(colours)]
    records = []
    for part, count in (("single", 1), ("multi", 2)):
        for i in range(2):
            subjects = tuple(
                BenchSubject(noun=noun, kind="object", reference=file, photographs=(file,))
                for noun, file in zip(("bear", "robot")[:count], files, strict=False)
            )
            names = (
                (f"{i}_a bear on grass", f"{i}_a_bear_on_grass", f"{i}_{{image}}")
                if grid
                else (f"{i}_{{image}}",)
            )
            records.append(
                Record(
                    id=f"{part}-{i}",
                    part=part,
                    group=f"group {i}",
                    prompt=f"a bear and a robot on {('grass', 'sand')[i]}",
                    subjects=subjects,
                    names=names,
                )
            )
    settings = Settings(width=size, height=size, seeds=seeds, steps=2, guidance=4.0, grid=grid)
    return Benchmark(
        name="small",
        records=tuple(records),
        settings={"single": settings, "multi": settings},
        columns=(),
        mean="groups",
        published={},
        deviations=("It is small.",),
    )
