"""The card of a dataset that lacks one, as `mosaic toybox` leaves it; `mosaic curate` writes its own."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from mosaic.publishing.card import People, front_matter, people
from mosaic.publishing.figures import table
from mosaic.publishing.licences import Licence
from mosaic.publishing.source import Source

NOUNS = 25  # most frequent ones told
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
TOYS = (
    "Toys of analytic solids, painted by a program: every point that a reference and the target share is"
    " exact. No photograph and no picture of a person is in it."
)


def dataset_card(source: Source, target: str, terms: Licence, said: People | None) -> str:
    """README.md of shards. ValueError for one that cannot be read."""
    shards = [path for name, path in source.files.items() if name.endswith(".tar")]
    subjects, nouns = counted(shards)
    samples, size = subjects.total(), sum(path.stat().st_size for path in shards)
    name = target.rpartition("/")[2]
    front = {
        "pretty_name": name,
        **terms.front(),
        "task_categories": ["text-to-image"],
        "tags": ["mosaic", "personalisation", "multi-subject", "semantic-correspondence", "webdataset"],
        "size_categories": [next((word for most, word in SIZES if samples < most), "1M<n<10M")],
    }
    about = (
        f"Shards: {len(shards)}, {size / 1e6:.1f} MB; samples: {samples}. A sample is a target picture, "
        "references of the subjects in it, their masks, and points that references and target share."
    )
    parts = [front_matter(front), f"# {name}\n\n{about}"]
    if "toybox.json" in source.files:
        made = json.loads(source.files["toybox.json"].read_text(encoding="utf-8"))
        parts.append(f"{TOYS}\n\n{table(('option of `mosaic toybox`', 'value'), list(made.items()))}")
    parts += [
        "## Use\n\n`mosaic train RECIPE.toml --set data.source=shards --set data.path=THIS_FOLDER` reads it,"
        " `mosaic inspect THIS_FOLDER` shows it.",
        "## Subjects a sample\n\n" + table(("subjects", "samples"), sorted(subjects.items())),
        "## Nouns\n\n" + table(("noun", "references"), nouns.most_common(NOUNS)),
        people(said, source.toys),
        f"## Licence\n\n{terms.name or terms.identifier}. {terms.says}".strip(),
    ]
    return "\n\n".join(parts) + "\n"


def counted(shards: list[Path]) -> tuple[Counter[int], Counter[str]]:
    """Subjects a sample → samples, noun → references; of the captions alone, no picture is unpacked."""
    subjects, nouns = Counter[int](), Counter[str]()
    for path in shards:
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.name.endswith(".json") and (file := tar.extractfile(member)):
                        _count(json.load(file), subjects, nouns)
        except (tarfile.TarError, ValueError, KeyError) as error:
            raise ValueError(f"{path} is no whole shard ({error}): make it again.") from error
    return subjects, nouns


def _count(texts: dict[str, Any], subjects: Counter[int], nouns: Counter[str]) -> None:
    shown = texts["references"]
    subjects[len({one["subject"] for one in shown})] += 1
    nouns.update(one["name"] for one in shown)
