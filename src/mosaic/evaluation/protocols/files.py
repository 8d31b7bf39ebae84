"""What the readers of all benchmarks share: finding their folder, checking files, taking a few records."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mosaic.evaluation.records import Record

PUBLISHED = Path(__file__).with_name("published.toml")
PHOTOGRAPHS = (".jpg", ".jpeg", ".png", ".webp")


def home(data: Path | None, folder: str, marker: str, title: str) -> Path:
    """The folder of a benchmark: `data`/`folder`, or `data` itself where that holds the marker file.

    ValueError in one sentence if neither does.
    """
    if data is not None:
        for place in (data / folder, data):
            if (place / marker).is_file():
                return place.absolute()
    where = "no --data was given" if data is None else f"{data} holds no {folder}/{marker}"
    raise ValueError(f"{title} was not found, for {where}: docs/benchmarks.md says what the folder holds.")


def read_json(path: Path) -> Any:
    """ValueError if the file is missing or broken."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: fetch the benchmark's data again.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): fetch it again.") from error


def reference(path: Path, record: str) -> Path:
    """The path, absolute. ValueError that names the record and the file where there is none."""
    if not path.is_file():
        raise ValueError(f"The reference {path} of record {record} is missing: fetch the data again.")
    return path.absolute()


def photographs(folder: Path, record: str) -> tuple[Path, ...]:
    """All pictures of a subject's folder, by name. ValueError where there are none."""
    found = sorted(file for file in folder.glob("*") if file.suffix.lower() in PHOTOGRAPHS)
    if not found:
        raise ValueError(f"The folder {folder} of record {record} holds no photographs: fetch them again.")
    return tuple(file.absolute() for file in found)


def limited(records: Sequence[Record], limit: int | None) -> tuple[Record, ...]:
    """Up to `limit` records of each part, spread evenly over its groups and their prompts; None: all."""
    if limit is None:
        return tuple(records)
    if limit < 1:
        raise ValueError(f"--limit must be at least 1, not {limit}.")
    chosen: set[str] = set()
    for part in dict.fromkeys(record.part for record in records):
        chosen |= {record.id for record in _spread([r for r in records if r.part == part], limit)}
    return tuple(record for record in records if record.id in chosen)


def _spread(records: Sequence[Record], limit: int) -> list[Record]:
    """Round by round one of each group, in the last round of groups at even strides, of other prompts."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    left = [group[(i % len(group)) :] + group[: i % len(group)] for i, group in enumerate(groups.values())]
    taken: list[Record] = []
    while left and len(taken) < limit:
        want = min(limit - len(taken), len(left))
        taken += [left[i * len(left) // want].pop(0) for i in range(want)]
        left = [group for group in left if group]
    return taken


def published(benchmark: str) -> dict[str, dict[str, dict[str, float]]]:
    """Part → method → column → value, as printed, of `published.toml`."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for table in tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["table"]:
        if table["benchmark"] == benchmark:
            methods = result.setdefault(table["part"], {})
            for method, values in table["methods"].items():
                methods.setdefault(method, {}).update(zip(table["columns"], values, strict=True))
    return result


def parents(dependency: Mapping[str, Iterable[int]], question: str) -> tuple[int, ...]:
    """Ids of the questions one depends on; 0 stands for none."""
    return tuple(parent for parent in dependency.get(question, ()) if parent)


def without_article(words: str) -> str:
    """ "a polar bear" → "polar bear"."""
    first, _, rest = words.strip().partition(" ")
    return rest.strip() if first.lower() in ("a", "an", "the") and rest else words.strip()
