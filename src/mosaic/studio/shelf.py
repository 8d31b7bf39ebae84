"""Reference pictures on disk, each under the hash of its file: the same picture is kept once."""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

NAME = re.compile(r"[0-9a-f]{64}\.png")
WEEK = 7 * 86400  # seconds


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of pictures named by their SHA-256."""

    folder: Path

    def put(self, picture: Image.Image) -> Path:
        """Keep a picture; returns its file, written whole or not at all."""
        data = io.BytesIO()
        picture.save(data, format="PNG")
        file = self.folder / f"{hashlib.sha256(data.getvalue()).hexdigest()}.png"
        if file.is_file():
            file.touch()  # wanted again: `prune` counts from now
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_bytes(data.getvalue())
            partial.replace(file)
        return file

    def prune(self, used: Collection[str], age: float = WEEK) -> None:
        """Remove the files that are not `used` by name and were last put `age` seconds ago or earlier."""
        for file in self.folder.glob("*.png"):
            if file.name not in used and time.time() - file.stat().st_mtime >= age:
                file.unlink(missing_ok=True)

    def get(self, name: str) -> Path:
        """A kept file by its name. ValueError if it was never kept or is gone."""
        file = self.folder / name
        if not NAME.fullmatch(name) or not file.is_file():
            raise ValueError("A reference of this picture is no longer there: drop its picture again.")
        return file
