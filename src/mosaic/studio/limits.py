"""What the Studio takes in, at most. Each refusal is one sentence that says what to change.

A file's size and the size of the picture in it are looked at before the picture is unpacked.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image

from mosaic.generate import MOST_REFERENCES
from mosaic.pictures import read_picture

MEBIBYTE = 1 << 20
LARGEST_FILE = 32 * MEBIBYTE
LARGEST_PICTURE = 50_000_000  # pixels: a 50-megapixel camera's
LONGER_SIDE = 2048  # pixels a reference is kept at: more than any canvas
LONGEST_PROMPT, LONGEST_NAME = 2000, 60  # letters
LARGEST_SIDE = 2048  # pixels of a picture that is made
MOST_STEPS = 100
MOST_WAITING = 16  # pictures in line


def read_upload(file: str | Path, name: str = "") -> Image.Image:
    """A picture somebody dropped, upright, RGB or RGBA, at most LONGER_SIDE a side.

    name: what a refusal calls it. ValueError if it is too large, no picture, or broken.
    """
    path = Path(file)
    name = name or path.name
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise ValueError(
            f"{name} has {size / MEBIBYTE:.0f} MiB, and {LARGEST_FILE // MEBIBYTE} MiB are taken: "
            "save it smaller."
        )
    data = path.read_bytes()
    check_pixels(data, name)
    return within(read_picture(data, name), LONGER_SIDE)


def check_pixels(data: bytes, name: str) -> None:
    """ValueError for a picture of too many pixels, from its header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
    except Exception:
        return  # reading it says what is wrong
    if width * height > LARGEST_PICTURE:
        raise ValueError(
            f"{name} has {width * height / 1e6:.0f} megapixels, and {LARGEST_PICTURE / 1e6:.0f} are taken: "
            "make it smaller."
        )


def within(image: Image.Image, longer: int) -> Image.Image:
    """Reduced to `longer` pixels on its longer side, if it is larger."""
    if max(image.size) <= longer:
        return image
    scale = longer / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def check_count(have: int, more: int) -> None:
    """ValueError for more references than a picture takes."""
    if have + more > MOST_REFERENCES:
        raise ValueError(
            f"A picture takes at most {MOST_REFERENCES} references and would have {have + more}: "
            "remove some first."
        )


def check_words(prompt: str, names: list[str] | tuple[str, ...]) -> None:
    """ValueError for an empty or endless prompt, or such names."""
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the picture shows.")
    if len(prompt) > LONGEST_PROMPT:
        raise ValueError(f"The prompt has {len(prompt)} letters, and {LONGEST_PROMPT} are taken: shorten it.")
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise ValueError(f"Reference {number} has no name: call it by its noun, as the prompt does.")
        if len(name) > LONGEST_NAME:
            raise ValueError(f"A name has {len(name)} letters, and {LONGEST_NAME} are taken: shorten it.")


def check_settings(size: tuple[int, int] | None, steps: int | None, seed: int) -> None:
    """ValueError for a picture too large or too long to make for everyone who asks."""
    if size is not None and max(size) > LARGEST_SIDE:
        width, height = size
        raise ValueError(
            f"The Studio makes pictures of up to {LARGEST_SIDE} pixels a side, not {width}×{height}."
        )
    if steps is not None and not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"The steps lie in 1…{MOST_STEPS}, not at {steps}.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"The seed lies in 0…2⁶³−1, not at {seed}.")
