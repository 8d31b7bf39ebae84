"""A folder of pictures and one samples.json: training data for people with little of it.

    [{"target": "beach.jpg", "caption": "a dog and a mug on a beach",
      "references": [{"name": "dog", "picture": "dog.png"}, {"name": "mug", "picture": "mug.jpg"}]}]

`Entry` and `Shown` say what else an entry may hold. Files are sought beside samples.json.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mosaic.data.index import Index, Row
from mosaic.geometry import Size
from mosaic.pictures import foreground, load_picture, on_white
from mosaic.sample import Correspondence, Mask, Reference, Sample, Subject

NAME = "samples.json"
Row5 = Annotated[list[float], Field(min_length=4, max_length=5)]


class Shown(BaseModel):
    """One reference of an entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)  # the noun the caption uses
    picture: str  # a file
    subject: str = ""  # an id; references of one id are views of one subject. "": the name
    mask: str = ""  # a file, white where the subject is; "": what is opaque, else what is not white
    target_mask: str = ""  # likewise in the target, once a subject; "": it may be anywhere
    points: tuple[Row5, ...] = ()  # x, y here, x, y in the target, all in [0, 1]; confidence (1)


class Entry(BaseModel):
    """One sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str  # a file
    caption: str  # nouns and places
    detailed_caption: str = ""  # looks too; "": the caption
    key: str = ""  # what messages call it; "": its place in the list, 000000 the first
    references: tuple[Shown, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """The samples of a folder; what is wrong with an entry makes it a corrupt sample, not an error.

    All files it names must be there at once. Of pictures, the heads of targets alone are looked at before.
    """

    path: Path

    @property
    def name(self) -> str:
        """As messages call it."""
        return str(self.path / NAME)

    def index(self) -> Index:
        """Its usable entries. ValueError if there is no list of entries."""
        return _read(self.path)[0]

    def read(self, row: int) -> Sample:
        """Its sample number `row` of the index. ValueError if a picture or a point is damaged."""
        index, entries = _read(self.path)
        key = index.rows[row].key
        try:
            return sample_of(self.path, key, entries[row])
        except ValueError as error:
            raise ValueError(f"The sample {key} is damaged: {error}") from error


@functools.lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Index, tuple[Entry, ...]]:
    """The index and the entries of its rows."""
    rows, problems, entries = [], [], []
    for key, entry in entries_of(path):
        try:
            if isinstance(entry, str):
                raise ValueError(entry)
            if missing := [name for name in _files(entry) if not (path / name).is_file()]:
                raise ValueError(f'there is no file "{missing[0]}".')
            rows.append(Row(key, len(entry.references), *_size(path / entry.target)))
            entries.append(entry)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            problems.append((key, f"The sample {key} is damaged: {error}"))
    targets = tuple(entry.target for entry in entries)
    return Index(rows=tuple(rows), problems=tuple(problems), targets=targets), tuple(entries)


def entries_of(path: Path) -> Iterator[tuple[str, Entry | str]]:
    """(key, entry) of all in a folder's list, or (key, what is wrong with it); no picture is opened.

    ValueError if there is no list of entries.
    """
    for number, content in enumerate(_listed(path / NAME)):
        key = f"{number:06d}"
        try:
            entry = Entry.model_validate(content)
            key = entry.key or key
            points_of(entry)
            yield key, entry
        except ValidationError as error:
            first = error.errors()[0]
            yield key, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}."
        except ValueError as error:
            yield key, str(error)


def _listed(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"data.path: cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a list of samples.")
    return content


def _files(entry: Entry) -> list[str]:
    """All that an entry names."""
    masks = [mask for shown in entry.references for mask in (shown.mask, shown.target_mask) if mask]
    return [entry.target, *(shown.picture for shown in entry.references), *masks]


def _size(path: Path) -> Size:
    """(height, width) as the picture will be read: upright."""
    with Image.open(path) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientation: on its side
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def sample_of(folder: Path, key: str, entry: Entry) -> Sample:
    """An entry with its pictures. OSError or ValueError if one cannot be read, or a point is outside."""
    target = np.asarray(on_white(load_picture(folder / entry.target)))
    references = tuple(_reference(folder, shown) for shown in entry.references)
    masks: dict[str, Mask] = {}
    for shown in entry.references:
        mask = np.ones(target.shape[:2], bool)
        if shown.target_mask:
            mask = _mask(folder / shown.target_mask)
        if shown.target_mask or (shown.subject or shown.name) not in masks:
            masks[shown.subject or shown.name] = mask
    return Sample(
        key=key,
        target=target,
        target_masks=tuple(masks.values()),
        references=references,
        correspondences=points_of(entry),
        caption=entry.caption,
        detailed_caption=entry.detailed_caption or entry.caption,
    )


def _reference(folder: Path, shown: Shown) -> Reference:
    picture = load_picture(folder / shown.picture)
    mask = _mask(folder / shown.mask) if shown.mask else foreground(picture)
    subject = Subject(id=shown.subject or shown.name, name=shown.name)
    return Reference(subject=subject, image=np.asarray(on_white(picture)), mask=mask)


def _mask(path: Path) -> Mask:
    return np.asarray(load_picture(path).convert("L")) > 127


def points_of(entry: Entry) -> tuple[Correspondence, ...]:
    """The points of each of its references. ValueError for one outside [0, 1]."""
    return tuple(_points(shown) for shown in entry.references)


def _points(shown: Shown) -> Correspondence:
    rows = np.array([[*row, 1.0][:5] for row in shown.points], np.float64).reshape(-1, 5)
    return Correspondence(reference=rows[:, :2], target=rows[:, 2:4], confidence=rows[:, 4])
