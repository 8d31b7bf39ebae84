"""A folder of pictures and its samples.json, as a dataset looks at it: each sample as a shard would hold it.

Files that samples.json names may lie anywhere; those that may not be opened are told as missing, unopened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.data.folder import NAME, Entry, entries_of, points_of, sample_of
from mosaic.data.shards import encode_sample, points_npy
from mosaic.pictures import load_picture, on_white
from mosaic.sample import Picture, Sample

Allowed = Callable[[Path], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What samples.json lists; problems: a sentence for each entry that is wrong."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def listing(folder: Path) -> Pictures:
    """All entries by key; no picture is opened."""
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    try:
        for key, entry in entries_of(folder):
            if isinstance(entry, str):
                problems.append(f"{NAME}, sample {key}: {entry}")
            elif key in entries:
                problems.append(f"{NAME} has two samples {key}: the second is left out.")
            else:
                entries[key] = entry
    except ValueError as error:
        problems.append(str(error).removeprefix("data.path: "))
    return Pictures(entries=entries, problems=tuple(problems))


def nouns(entry: Entry) -> tuple[str, ...]:
    """Of its subjects, in order."""
    return tuple({shown.subject or shown.name: shown.name for shown in entry.references}.values())


def lacking(folder: Path, entry: Entry, allowed: Allowed) -> str:
    """The first of its files that is not there, or may not be opened; "" where all are."""
    named = [entry.target]
    for shown in entry.references:
        named += [name for name in (shown.picture, shown.mask, shown.target_mask) if name]
    return next((name for name in named if not _is_there(folder / name, allowed)), "")


def _is_there(path: Path, allowed: Allowed) -> bool:
    try:
        return allowed(path) and path.is_file()
    except (OSError, ValueError):
        return False


def sample(folder: Path, key: str, entry: Entry, allowed: Allowed) -> Sample:
    """An entry with its pictures. ValueError if a file is missing, forbidden or damaged."""
    _check(folder, key, entry, allowed)
    return sample_of(folder, key, entry)


def files(folder: Path, key: str, entry: Entry, allowed: Allowed) -> dict[str, Any]:
    """The files that a shard would hold of it. ValueError as `sample`, or for a key that names no file."""
    return {
        name: content
        for name, content in encode_sample(sample(folder, key, entry, allowed)).items()
        if name != "__key__"
    }


def points(entry: Entry) -> bytes:
    """points.npy of those files."""
    return points_npy(points_of(entry))


def picture(folder: Path, key: str, entry: Entry, name: str, allowed: Allowed) -> Picture:
    """The target, or reference 0 by the name ref0 …. ValueError if it is not there or damaged."""
    _check(folder, key, entry, allowed)
    pictures = {f"ref{k}": shown.picture for k, shown in enumerate(entry.references)}
    if name not in {"target", *pictures}:
        raise ValueError(f"{key} lacks {name}.")
    return np.asarray(on_white(load_picture(folder / pictures.get(name, entry.target))))


def _check(folder: Path, key: str, entry: Entry, allowed: Allowed) -> None:
    if name := lacking(folder, entry, allowed):
        raise ValueError(f"The sample {key} lacks {name}.")
