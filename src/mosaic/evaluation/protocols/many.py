"""`many`, ours: 50 prompts for each K from 1 to 8, every subject with a photograph and a noun of its own.

The prompts are fixed in many.json (`drawing` tells how they were drawn); the pictures are DreamBooth's and
XVerseBench's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mosaic.evaluation.protocols.files import limited, read_json, reference
from mosaic.evaluation.records import Benchmark, BenchSubject, Question, Record, Settings

TITLE = "many"
PROMPTS = Path(__file__).with_name("many.json")
SETTINGS = Settings(width=768, height=768, seeds=(42,), steps=28, guidance=3.5, reference="the model's own")
NOTES = (
    "many is this project's own benchmark and has no published numbers: 50 prompts a K, one image each.",
    "Its questions ask for every subject and for the place, each alone; none depends on another.",
)
COLUMNS = (
    "CLIP-T",
    "DINO",
    "DINO-min (cropped)",
    "ID-Sim (assigned)",
    "IP-Sim (assigned)",
    "ID-Conf",
    "confusion",
    "confusion by chance",
    "DPG",
    "AES (images)",
)


def read(
    data: Path | None, *, corrected: bool = False, limit: int | None = None, work: Path | None = None
) -> Benchmark:
    """All eight parts, "K=1" to "K=8". data: the folder that holds dreambooth/ and xversebench/."""
    root = _root(data)
    records = [_record(one, root) for one in read_json(PROMPTS)["prompts"]]
    return Benchmark(
        name="many",
        records=limited(records, limit),
        settings={record.part: SETTINGS for record in records},
        columns=COLUMNS,
        mean="entries",
        published={},
        deviations=NOTES,
    )


def _root(data: Path | None) -> Path:
    wanted = ("dreambooth/dataset", "xversebench/assets/XVerseBench")
    for folder in wanted:
        if data is None or not (data / folder).is_dir():
            where = "no --data was given" if data is None else f"{data} holds no {folder}"
            raise ValueError(f"{TITLE} needs DreamBooth's and XVerseBench's pictures, and {where}.")
    assert data is not None
    return data.absolute()


def _record(one: Any, root: Path) -> Record:
    name, place = one["id"], one["place"]
    phrases = [phrase for _, _, phrase, _ in one["subjects"]]
    asked = [f"Is there {phrase}?" for phrase in phrases] + [f"Is the scene {place}?"]
    subjects = []
    for kind, noun, _, file in one["subjects"]:
        path = reference(root / file, name)
        subjects.append(BenchSubject(noun=noun, kind=kind, reference=path, photographs=(path,)))
    part = f"K={len(subjects)}"
    return Record(
        id=name,
        part=part,
        group=part,
        prompt=one["prompt"],
        subjects=tuple(subjects),
        questions=tuple(Question(id=i, text=text) for i, text in enumerate(asked, start=1)),
        names=(name, f"{name}_{{seed}}"),
    )
