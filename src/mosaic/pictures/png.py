"""PNG files that tell how they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

RECIPE_KEY = "mosaic"  # of the text chunk


def write_png(image: Image.Image, path: str | Path, recipe: Mapping[str, Any]) -> None:
    """Write a PNG whose text chunks say how it was made; whole or not at all, folders created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("Description", str(recipe.get("prompt", "")))
    chunks.add_text("Software", "mosaic")
    chunks.add_itxt(RECIPE_KEY, json.dumps(recipe, ensure_ascii=False))
    partial = path.with_name(path.name + ".partial")
    image.save(partial, format="PNG", pnginfo=chunks)
    partial.replace(path)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """How a PNG of `mosaic generate` was made: options, hashes of model, LoRA and references, versions.

    ValueError if the picture carries no recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no picture {path}: check its name.")
    try:
        with Image.open(path) as image:
            image.load()  # text chunks may follow the pixels
            text = getattr(image, "text", {}).get(RECIPE_KEY)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is no PNG.") from error
    if text is None:
        raise ValueError(f"{path} carries no recipe: mosaic generate did not write it, or not last.")
    recipe: dict[str, Any] = json.loads(text)
    return recipe


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
