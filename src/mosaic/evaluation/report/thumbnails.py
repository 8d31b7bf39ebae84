"""Small WebP pictures beside the page, each once, of a bounded number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mosaic.evaluation.features import PictureFile

RESULT, REFERENCE = 384, 144  # pixels, long side
QUALITY = 80
MOST = 900  # pictures of one page
WRITERS = 4  # threads; Pillow works outside the interpreter's lock


class Thumbnails:
    """Those of one page: named when they are asked for, written all together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[tuple[PictureFile, int], str] = {}

    def add(self, picture: PictureFile, size: int) -> str | None:
        """Its address relative to the page; None once the page is full."""
        key = (picture, size)
        if key not in self._names:
            if len(self._names) == MOST:
                return None
            self._names[key] = f"{self.folder.name}/{len(self._names):04d}.webp"
        return self._names[key]

    def write(self) -> None:
        """All of them, in place of those of an earlier report. ValueError for what is no picture."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.webp"):
            old.unlink()
        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(self._write, self._names.items()))

    def _write(self, one: tuple[tuple[PictureFile, int], str]) -> None:
        (picture, size), name = one
        image = Image.fromarray(picture.read())
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        image.save(self.folder.parent / name, "WEBP", quality=QUALITY, method=2)
