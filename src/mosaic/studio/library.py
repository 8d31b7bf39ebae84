"""Subjects kept by name, to be picked again: picture, cut-out, and for isolated weights their cache.

library/bear-3f2a91c0/subject.json        name, files on the shelf, whether it is cut out
library/bear-3f2a91c0/<key>.safetensors   keys and values under one model, LoRA and canvas
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mosaic.studio.history import Given
from mosaic.studio.limits import check_words
from mosaic.studio.shelf import Shelf

if TYPE_CHECKING:
    from mosaic.pipeline import EncodedReference, MosaicPipeline

ID = re.compile(r"[\w-]{1,80}-[0-9a-f]{8}")
MOST_SUBJECTS = 500


@dataclass(frozen=True, slots=True)
class Library:
    """A folder of subjects; their pictures lie on a shelf."""

    folder: Path
    shelf: Shelf

    def keep(self, given: Given) -> Given:
        """Store a named reference; the same name and picture again replaces it. ValueError without a name."""
        check_words("-", [given.name])
        if len(self.subjects()) >= MOST_SUBJECTS:
            raise ValueError(f"The library holds {MOST_SUBJECTS} subjects already: remove some.")
        slug = re.sub(r"\W+", "-", given.name.strip().lower()).strip("-")[:60] or "subject"
        mark = hashlib.sha256(f"{given.name.strip()}/{given.original.name}".encode()).hexdigest()[:8]
        kept = replace(given, name=given.name.strip(), subject=f"{slug}-{mark}")
        folder = self.folder / f"{slug}-{mark}"
        folder.mkdir(parents=True, exist_ok=True)
        told = {
            "name": kept.name,
            "original": kept.original.name,
            "file": kept.file.name,
            "cutout": kept.cutout,
        }
        partial = folder / "subject.json.partial"
        partial.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / "subject.json")
        return kept

    def subjects(self) -> list[Given]:
        """All of them by name; one whose pictures are gone is passed over."""
        found = []
        for file in sorted(self.folder.glob("*/subject.json")):
            try:
                found.append(self.get(file.parent.name))
            except (ValueError, KeyError):
                continue
        return sorted(found, key=lambda one: (one.name.lower(), one.subject or ""))

    def used(self) -> set[str]:
        """Names on the shelf of all subjects' pictures."""
        return {file.name for one in self.subjects() for file in (one.original, one.file)}

    def get(self, subject: str) -> Given:
        """One by its id. ValueError if there is none."""
        file = self.folder / subject / "subject.json"
        if not ID.fullmatch(subject) or not file.is_file():
            raise ValueError("This subject is no longer in the library: choose another.")
        told = json.loads(file.read_text(encoding="utf-8"))
        return Given(
            name=str(told["name"]),
            original=self.shelf.get(str(told["original"])),
            file=self.shelf.get(str(told["file"])),
            cutout=bool(told["cutout"]),
            subject=subject,
        )

    def remove(self, subject: str) -> None:
        """Forget a subject and its caches; its pictures stay on the shelf for the history."""
        self.get(subject)
        shutil.rmtree(self.folder / subject)

    # ------------------------------------------------------------ caches

    def cached(self, pipeline: MosaicPipeline, given: Given, reference: EncodedReference) -> EncodedReference:
        """The reference with its cache, read or made now, if it is the library's and the weights allow it."""
        if given.subject is None or not caches(pipeline):
            return reference
        from mosaic.model.reference_cache import load_cache, save_cache

        file = self.cache_file(given, pipeline.weights, reference)
        if file is None:
            return reference
        if not file.is_file():
            save_cache(pipeline.cache(reference), file)
        return replace(reference, cache=load_cache(file))

    def cache_file(
        self, given: Given, weights: Mapping[str, str], reference: EncodedReference
    ) -> Path | None:
        """Where a subject's cache under these weights and on this canvas lies; None if it is not kept."""
        folder = self.folder / (given.subject or "")
        if given.subject is None or not ID.fullmatch(given.subject) or not folder.is_dir():
            return None
        grid = reference.grid
        decides = [given.file.name, sorted(weights.items()), grid.height, grid.width]
        key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        return folder / f"{key}.safetensors"


def caches(pipeline: MosaicPipeline) -> bool:
    """Whether a reference of these weights can be cached for any prompt."""
    lora = pipeline.run_as
    isolated = lora.visibility == "isolated" and lora.reference_pooled == "null"
    return isolated and lora.positions != "frequency" and pipeline.caches_references
