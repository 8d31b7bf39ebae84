"""The toybox as a benchmark: held-out scenes of 1 to 8 toys, the ones `toybox.instruments.measure` asks for.

A record is a scene's caption and the pictures of its toys, rendered here as PNG for any method to use; what
is measured of the result is exact, for the toys' identities are known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mosaic.evaluation.records import Benchmark, BenchSubject, Record, Settings

if TYPE_CHECKING:
    from mosaic.toybox.scene import Scene

SUBJECTS = range(1, 9)
SCENES, SEED = 256, 2026  # of each K, as `measure.benchmark`
SIDE, REFERENCE_SIDE = 128, 128  # pixels of a picture, and of a reference
BATCH = 16  # references rendered at once
COLUMNS = ("presence", "identity", "leakage", "leakage by chance", "pose", "surplus")
NOTES = (
    "The toybox is this project's own benchmark and has no published numbers: docs/toybox-measures.md "
    "defines what is measured and gives the figures of true renders and of known mistakes.",
    "Pictures of any size are brought to 128 × 128, the size the instruments were made for.",
)


def read(
    data: Path | None = None, *, corrected: bool = False, limit: int | None = None, work: Path
) -> Benchmark:
    """Parts "K=1" to "K=8". limit: scenes a part, the first ones. work: where references are rendered."""
    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be at least 1, not {limit}.")
    scenes = min(limit or SCENES, SCENES)
    records = [record for subjects in SUBJECTS for record in _part(subjects, scenes, work)]
    return Benchmark(
        name="toybox",
        records=tuple(records),
        settings={record.part: Settings(width=SIDE, height=SIDE, seeds=(1,)) for record in records},
        columns=COLUMNS,
        mean="entries",
        published={},
        deviations=NOTES,
    )


def _part(subjects: int, scenes: int, work: Path) -> list[Record]:
    from mosaic.evaluation.metrics.toys import composition

    half = scenes // 2  # as `measure.score`: another scene's toys tell how much leakage is chance
    asked = [
        {"seed": SEED, "subjects": subjects, "scene": n, "stranger": (n + half) % scenes}
        for n in range(scenes)
    ]
    composed = [composition(SEED, subjects, n) for n in range(scenes)]
    folder = work.absolute() / f"toys-{SEED}-{REFERENCE_SIDE}px" / f"K={subjects}"
    files = [
        tuple(folder / f"{n:03}-{k + 1}-{toy.species}.png" for k, toy in enumerate(one.scene.toys))
        for n, one in enumerate(composed)
    ]
    _render_missing(
        [
            (file, scene)
            for n, one in enumerate(composed)
            for file, scene in zip(files[n], one.references, strict=True)
        ]
    )
    return [
        Record(
            id=f"K{subjects}-{n:03}",
            part=f"K={subjects}",
            group=f"K={subjects}",
            prompt=one.caption,
            subjects=tuple(
                BenchSubject(noun=toy.species, kind="object", reference=file, photographs=(file,))
                for toy, file in zip(one.scene.toys, files[n], strict=True)
            ),
            names=(f"K{subjects}-{n:03}", f"K{subjects}-{n:03}_{{seed}}"),
            scene=json.dumps(asked[n]),
        )
        for n, one in enumerate(composed)
    ]


def _render_missing(wanted: Sequence[tuple[Path, Scene]]) -> None:
    """Write the references that are not there yet; whole or not at all."""
    from PIL import Image

    from mosaic.toybox.render import render

    missing = [(file, scene) for file, scene in wanted if not file.is_file()]
    for start in range(0, len(missing), BATCH):
        some = missing[start : start + BATCH]
        shot = render([scene for _, scene in some], REFERENCE_SIDE, REFERENCE_SIDE)
        for (file, _), picture in zip(some, shot.picture.numpy(), strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            Image.fromarray(picture).save(partial, format="PNG")
            partial.replace(file)
