"""LAMICBench: 60 prompts of two references, 40 of three, 20 of four, among them scenes and clothes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mosaic.evaluation.protocols.files import home, limited, published, read_json, reference, without_article
from mosaic.evaluation.protocols.xversebench import ALWAYS, AS_PUBLISHED, questions_of
from mosaic.evaluation.records import Benchmark, BenchSubject, Kind, Record, Settings

TITLE = "LAMICBench"
FOLDER, MARKER = "lamicbench", "Two-Reference.json"
PARTS = {"two": 2, "three": 3, "four": 4}  # part → references a record
KINDS: dict[str, Kind] = {
    "human": "person",
    "animal": "animal",
    "object": "object",
    "scene": "scene",
    "clothes": "clothes",
}  # by folder below dataset/images
SETTINGS = Settings(
    width=1024,
    height=1024,
    seeds=(42, 44, 46, 48),
    steps=20,
    guidance=2.5,
    grid=True,
    reference="as the picture is",
)
DEVIATIONS = (
    "LAMICBench comes with no scorer. People are scored by ID-Sim, animals, objects and clothes by IP-Sim; "
    "scenes by the questions (DPG) alone, for nothing of theirs can be cut out.",
    "Boxes, areas and overlaps that its records give to some methods are not handed on: prompt and "
    "references alone.",
    "None of its samples holds four identities: 19 of the 20 with four references have a scene, 3 have "
    "clothes; mosaic evaluate many asks for up to eight subjects.",
)
CORRECTED = (
    "Corrected: one face or object cannot serve two references (assigned), and AES is of single images "
    "instead of the 2 × 2 grid."
)
BESIDE = ("ID-Sim (assigned)", "IP-Sim (assigned)", "AES (images)", "ID-Conf")


def read(
    data: Path | None, *, corrected: bool = False, limit: int | None = None, work: Path | None = None
) -> Benchmark:
    """All three sets. data: the folder that holds lamicbench/. ValueError for what is missing."""
    root = home(data, FOLDER, MARKER, TITLE)
    records = [record for part in PARTS for record in _part(part, root)]
    columns = ("DPG", *BESIDE) if corrected else (*AS_PUBLISHED, *BESIDE)
    return Benchmark(
        name="lamicbench",
        records=limited(records, limit),
        settings=dict.fromkeys(PARTS, SETTINGS),
        columns=(*columns, *ALWAYS),
        mean="entries",
        published=published("lamicbench"),
        deviations=(*DEVIATIONS, *[CORRECTED] * corrected),
    )


def _part(part: str, root: Path) -> list[Record]:
    listed = read_json(root / f"{part.title()}-Reference.json")
    joints = ("-", "_")  # the repository writes both
    files = [root / f"{part.title()}{joint}Reference_DSG.json" for joint in joints]
    graphs = read_json(next((file for file in files if file.is_file()), files[0]))
    records = []
    for sample, one in listed.items():
        if one["prompt"] != graphs.get(sample, {}).get("prompt"):
            raise ValueError(
                f"{sample} of {part} references has other questions than prompt: fetch both again."
            )
        records.append(_record(part, sample, one, graphs[sample], root))
    return records


def _record(part: str, sample: str, one: Any, graph: Any, root: Path) -> Record:
    name = f"{part}-{sample}"
    given = [one[f"ref_img_{k}"] for k in range(1, PARTS[part] + 1) if f"ref_img_{k}" in one]
    if len(given) != PARTS[part]:
        raise ValueError(f"Record {name} has {len(given)} references and not {PARTS[part]}: fetch it again.")
    subjects = tuple(_subject(reference_of, root, name) for reference_of in given)
    return Record(
        id=name,
        part=part,
        group="+".join(sorted(subject.kind for subject in subjects)),
        prompt=one["prompt"],
        subjects=subjects,
        questions=questions_of(graph),
        names=(sample, f"{sample}_image_{{number}}"),
    )


def _subject(given: Any, root: Path, record: str) -> BenchSubject:
    """From path and words; boxes, areas and descriptions are for the methods that read them."""
    path = reference(root / given["image_path"], record)
    kind = next(KINDS[part] for part in reversed(path.relative_to(root).parts) if part in KINDS)
    noun = without_article(given["SAD"]["id"])
    return BenchSubject(noun=noun, kind=kind, reference=path, photographs=(path,))
