"""DreamBench as UNO codes it: 30 subjects or 30 pairs × 25 prompts, from Google's DreamBooth photographs.

Blocks of 25 records share their references; every image is compared with all photographs of its subjects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mosaic.evaluation.protocols.files import home, limited, photographs, published, read_json, reference
from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings

TITLE = "DreamBench"
FOLDER, MARKER = "dreambooth", "dreambench_singleip.json"
PARTS = {"single": 1, "multi": 2}  # part → subjects a record
BLOCK = 25  # prompts of one subject or pair
NOUNS = {  # the subjects' classes in DreamBooth's prompts_and_classes.txt, the words of the prompts
    "stuffed animal": "bear_plushie grey_sloth_plushie wolf_plushie",
    "toy": "duck_toy monster_toy poop_emoji rc_car robot_toy",
    "dog": "dog dog2 dog3 dog5 dog6 dog7 dog8",
    "cat": "cat cat2",
    "backpack": "backpack backpack_dog",
    "sneaker": "colorful_sneaker shiny_sneaker",
    "boot": "fancy_boot",
    "bowl": "berry_bowl",
    "cartoon": "red_cartoon",
    "glasses": "pink_sunglasses",
}  # noun → subjects; the others are called as their folders are
NOUN_OF = {subject: noun for noun, subjects in NOUNS.items() for subject in subjects.split()}
DEVIATIONS = (
    "DreamBench's image count and seeds are those of UNO's code (one image a prompt, seed 3407): "
    "neither the MOSAIC paper nor the tables of others state theirs; UNO's paper speaks of six a pair.",
    "The reference is among the photographs an image is compared with, as in the published scripts.",
)
CORRECTED = (
    "Corrected: the reference itself is left out of the photographs an image is compared with, "
    "so that copying it is not rewarded."
)


def read(
    data: Path | None, *, corrected: bool = False, limit: int | None = None, work: Path | None = None
) -> Benchmark:
    """Both parts, 750 records each. data: the folder that holds dreambooth/. ValueError for what is amiss."""
    root = home(data, FOLDER, MARKER, TITLE)
    records = [
        record
        for part in PARTS
        for record in _part(part, read_json(root / f"dreambench_{part}ip.json"), root, corrected)
    ]
    return Benchmark(
        name="dreambench",
        records=limited(records, limit),
        settings={"single": _settings("long side 512"), "multi": _settings("long side 320")},
        columns=("CLIP-I", "CLIP-T", "DINO", "DINO-min (cropped)", "DINOv2", "HPSv3", "UnifiedReward"),
        mean="groups",
        published=published("dreambench"),
        deviations=(*DEVIATIONS[:1], CORRECTED) if corrected else DEVIATIONS,
    )


def _settings(canvas: str) -> Settings:
    return Settings(width=512, height=512, seeds=(3407,), steps=25, guidance=4.0, reference=canvas)


def _part(part: str, listed: Any, root: Path, corrected: bool) -> list[Record]:
    records = []
    known: dict[Path, BenchSubject] = {}
    for i, one in enumerate(listed):
        name = f"{part}-{i}"
        # paths begin ./dreambooth/dataset/ and count from the folder above, whatever this one is called
        files = [root / Path(path).relative_to("dreambooth") for path in one["image_paths"]]
        if len(files) != PARTS[part]:
            raise ValueError(
                f"Record {name} has {len(files)} references and not {PARTS[part]}: fetch it again."
            )
        known |= {file: _subject(file, name, corrected) for file in files if file not in known}
        records.append(
            Record(
                id=name,
                part=part,
                group="+".join(file.parent.name for file in files),
                prompt=one["prompt"],
                subjects=tuple(known[file] for file in files),
                names=(f"{i}_{{image}}",),
            )
        )
    return records


def _subject(file: Path, record: str, corrected: bool) -> BenchSubject:
    file, taken = reference(file, record), photographs(file.parent, record)
    noun = NOUN_OF.get(file.parent.name, file.parent.name)
    return BenchSubject(
        noun=noun,
        kind="animal" if noun in ("cat", "dog") else "object",
        reference=file,
        photographs=tuple(one for one in taken if one != file) if corrected else taken,
    )
