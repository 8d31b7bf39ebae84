"""Small pictures and archives made by hand, and what every imported row promises."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mosaic.curation.rows import Outcome, Record
from mosaic.curation.stages.importing import Section, make


def noise(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def save(path: Path, array: np.ndarray, **how: Any) -> np.ndarray:
    """Write a picture or mask; answers with what a reader of the file sees."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return np.array(Image.open(path))


def rows(**section: Any) -> list[tuple[Record, Outcome]]:
    source = make(Section(**section))
    return list(source(range(len(source))))


def only_row(**section: Any) -> tuple[Record, Outcome]:
    (row,) = rows(**section)
    return row


def check_whole(record: Record, outcome: Outcome) -> None:
    """What every imported row promises."""
    assert outcome.id == record.id
    assert 0 <= record.seed < 2**32
    if outcome.status == "failed":
        assert outcome.error and "\n" not in outcome.error and not outcome.files
        return
    assert record.caption and record.detailed_caption and record.subjects
    assert outcome.facts["joins"] in ("segment", "refer", "correspond", "pack")
    assert "target.webp" in outcome.files
    references = outcome.facts.get("references", [])
    assert [f"ref{k}.webp" in outcome.files for k in range(len(references))] == [True] * len(references)
    assert sorted(set(references[: len(record.subjects)])) == references[: len(record.subjects)]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
