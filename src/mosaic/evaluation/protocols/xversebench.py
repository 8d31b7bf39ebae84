"""XVerseBench: 90 prompts of one subject, 210 of two or three: people, animals, objects; DSG questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mosaic.evaluation.protocols.files import home, limited, parents, published, read_json, reference
from mosaic.evaluation.records import Benchmark, BenchSubject, Kind, Question, Record, Settings

TITLE = "XVerseBench"
FOLDER, MARKER = "xversebench", "XVerseBench_single.json"
PARTS = ("single", "multi")
KINDS: dict[str, Kind] = {"human": "person", "animal": "animal", "object": "object"}  # by folder
INSTEAD = {"02_kitten.jpg": "02_cat.jpg"}  # where the first is missing: one picture under two names
FIRST = 40  # characters of the prompt in a file's name
SETTINGS = Settings(
    width=768,
    height=768,
    seeds=(42, 43, 44, 45),
    steps=28,
    guidance=3.5,
    grid=True,
    reference="256×256, padded to a white square",
)
DEVIATIONS = (
    "XVerseBench's animals and objects are the white-background versions of the LAMIC repository where "
    "XVerse's own cut-outs of DreamBench++ are not in the data folder.",
)
KITTEN = (
    "The reference animal/02_kitten.jpg is missing from the data and animal/02_cat.jpg, the same picture, "
    "stands in for it (single 9, multi 201); the word stays “kitten”."
)
CORRECTED = (
    "Corrected: one face or object cannot serve two references (assigned), the reference is padded as the "
    "crops are, and AES is of single images instead of the 2 × 2 grid."
)
AS_PUBLISHED = ("DPG", "ID-Sim", "IP-Sim", "AES")
BESIDE = ("ID-Sim (assigned)", "IP-Sim (assigned)", "IP-Sim (padded)", "AES (images)", "ID-Conf")
ALWAYS = ("DINO-min (cropped)", "confusion", "confusion by chance", "CLIP-T")


def read(
    data: Path | None, *, corrected: bool = False, limit: int | None = None, work: Path | None = None
) -> Benchmark:
    """Both parts. data: the folder that holds xversebench/. ValueError for what is missing or unlike."""
    root = home(data, FOLDER, MARKER, TITLE)
    records = [record for part in PARTS for record in _part(part, root)]
    swapped = not (root / "assets/XVerseBench/animal/02_kitten.jpg").is_file()
    columns = ("DPG", *BESIDE) if corrected else (*AS_PUBLISHED, *BESIDE)
    return Benchmark(
        name="xversebench",
        records=limited(records, limit),
        settings=dict.fromkeys(PARTS, SETTINGS),
        columns=(*columns, *ALWAYS),
        mean="entries",
        published=published("xversebench"),
        deviations=(*DEVIATIONS, *[KITTEN] * swapped, *[CORRECTED] * corrected),
        averaged=() if corrected else AS_PUBLISHED,
    )


def _part(part: str, root: Path) -> list[Record]:
    listed = read_json(root / f"XVerseBench_{part}.json")
    asked = read_json(root / f"XVerseBench_{part}_DSG.json")
    if [one["prompt"] for one in listed] != [one["prompt"] for one in asked]:
        raise ValueError(f"{root} has other prompts in XVerseBench_{part}_DSG.json: fetch both files again.")
    return [_record(part, one, graph, root) for one, graph in zip(listed, asked, strict=True)]


def _record(part: str, one: Any, graph: Any, root: Path) -> Record:
    index, prompt, name = one["index"], one["prompt"], f"{part}-{one['index']}"
    inputs = one["modulation"][0]["src_inputs"]
    words = {source: word for source, word, *_ in reversed(one["modulation"][0]["use_words"])}
    subjects = tuple(_subject(given, words[k], root, name) for k, given in enumerate(inputs))
    stem = f"{index}_{prompt[:FIRST]}".replace("/", "_")
    return Record(
        id=name,
        part=part,
        group="+".join(sorted(subject.kind for subject in subjects)),
        prompt=prompt,
        subjects=subjects,
        questions=questions_of(graph),
        names=(stem, stem.replace(" ", "_"), f"{index}_{{image}}"),
    )


def _subject(given: Any, noun: str, root: Path, record: str) -> BenchSubject:
    path = root / given["image_path"]
    if path.name in INSTEAD and not path.is_file():
        path = path.with_name(INSTEAD[path.name])
    path = reference(path, record)
    return BenchSubject(noun=noun, kind=KINDS[path.parent.name], reference=path, photographs=(path,))


def questions_of(graph: Any) -> tuple[Question, ...]:
    """The questions of one DSG record, with the ids of those they depend on."""
    return tuple(
        Question(id=int(number), text=text, parents=parents(graph["qid2dependency"], number))
        for number, text in graph["qid2question"].items()
    )
