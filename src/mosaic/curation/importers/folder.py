"""A folder: of samples with a samples.json as `mosaic.data.folder` describes it, or of pictures alone.

Beside a picture NAME.jpg may stand NAME.txt, its caption, or NAME.json with `Note`'s keys.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from mosaic.curation.importers.entry import Entry, Limits, View, attempt, load, load_mask
from mosaic.curation.importers.json_list import JsonList
from mosaic.curation.prompting.taxonomy import load_taxonomy
from mosaic.curation.prompting.templates import with_article
from mosaic.curation.rows import Named
from mosaic.data.folder import NAME, Shown
from mosaic.data.folder import Entry as Listed
from mosaic.pictures import foreground
from mosaic.sample import Correspondence
from mosaic.toybox.scene import enumeration

KINDS = {".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Note(BaseModel):
    """What a JSON file beside a picture says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption: str = ""  # "": made of the subjects' nouns
    detailed_caption: str = ""  # "": the caption
    subjects: dict[str, str] = Field(default={})  # noun → its looks, or ""; {}: nouns of the caption


class Samples:
    """The entries of a samples.json."""

    name, licence = "folder", ""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits, self._list = path, limits, JsonList(path / NAME)

    def __len__(self) -> int:
        return len(self._list)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, index)) for index in indices)

    def _entry(self, index: int) -> Entry:
        listed = Listed.model_validate(self._list[index])
        return Entry(
            target=self._picture(listed.target),
            caption=listed.caption,
            detailed_caption=listed.detailed_caption,
            views=tuple(self._view(shown) for shown in listed.references),
            origin={"file": listed.target, "key": listed.key or f"{index:06d}"},
        )

    def _view(self, shown: Shown) -> View:
        picture = self._picture(shown.picture)
        rows = np.array([[*row, 1.0][:5] for row in shown.points], np.float64).reshape(-1, 5)
        return View(
            named=Named(name=shown.name),
            subject=shown.subject,
            picture=picture,
            mask=self._mask(shown.mask) if shown.mask else foreground(picture),
            target_mask=self._mask(shown.target_mask) if shown.target_mask else None,
            points=Correspondence(reference=rows[:, :2], target=rows[:, 2:4], confidence=rows[:, 4])
            if len(rows)
            else None,
        )

    def _picture(self, file: str) -> Image.Image:
        return load(read_bytes(self._path / file, self._limits), file, self._limits)

    def _mask(self, file: str) -> np.ndarray:
        return load_mask(read_bytes(self._path / file, self._limits), file, self._limits)


class Pictures:
    """The pictures of a folder and of those in it, in order of their paths."""

    name, licence = "folder", ""

    def __init__(self, path: Path, subjects: Sequence[str], limits: Limits) -> None:
        self._path, self._subjects, self._limits = path, subjects, limits
        found = (file for file in path.rglob("*") if file.suffix.lower() in KINDS)
        self._files = sorted(str(file.relative_to(path)) for file in found)
        if not self._files:
            raise ValueError(f"import.path: {path} holds no pictures and no {NAME}.")

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`."""
        return (attempt(functools.partial(self._entry, self._files[index])) for index in indices)

    def _entry(self, file: str) -> Entry:
        path = self._path / file
        note = _note(path)
        nouns = note.subjects or dict.fromkeys(self._subjects or nouns_in(note.caption), "")
        if not nouns:
            raise ValueError(
                f"nothing says what {file} shows: name it in {path.stem}.txt or {path.stem}.json, "
                "or in import.subjects"
            )
        return Entry(
            target=load(read_bytes(path, self._limits), file, self._limits),
            caption=note.caption or enumeration([with_article(noun) for noun in nouns]),
            detailed_caption=note.detailed_caption,
            subjects=tuple(Named(name=noun, looks=looks) for noun, looks in nouns.items()),
            origin={"file": file},
        )


def read_bytes(path: Path, limits: Limits) -> bytes:
    """A file's bytes. ValueError for one larger than a picture may be; OSError if it cannot be read."""
    if (size := path.stat().st_size) > limits.most_bytes:
        raise ValueError(f"{path.name} has {size} bytes, more than most_bytes = {limits.most_bytes}")
    return path.read_bytes()


def nouns_in(caption: str) -> list[str]:
    """The taxonomy's nouns that a caption has, in its order; of nouns that overlap the longest."""
    words = sorted((noun.word for noun in load_taxonomy().nouns), key=len, reverse=True)
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
    return list(dict.fromkeys(found.lower() for found in pattern.findall(caption)))


def _note(picture: Path) -> Note:
    told = picture.with_suffix(".json")
    if told.is_file():
        return Note.model_validate_json(told.read_bytes())
    caption = picture.with_suffix(".txt")
    return (
        Note(caption=" ".join(caption.read_text(encoding="utf-8").split())) if caption.is_file() else Note()
    )
