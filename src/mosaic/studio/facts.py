"""What the page says of the model before it is loaded: from its folder's model_index.json alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mosaic.about import EMBEDDED
from mosaic.generate import name_of
from mosaic.studio.limits import LARGEST_SIDE
from mosaic.studio.options import StudioOptions

RELEASED = {"default_size": 512, "default_steps": 28, "default_guidance": 3.5}
SHAPES = ((1, 1), (1.5, 1), (1, 1.5), (1.5, 1.5), (2, 2))  # of the model's own size
TOYS = (
    "This is the model that comes with MOSAIC. It knows toys, not photographs: it shows how everything "
    "works, at 128 pixels, on any computer. For photographs start the Studio with "
    "--model black-forest-labs/FLUX.1-dev and a --lora."
)
SHARED = (
    "Others can reach this page, and there is no password: whoever does sees every picture made here, its "
    "references and the library, and may delete them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Name, what to begin with, and a word of warning where one is due."""

    name: str
    size: int
    steps: int
    guidance: float
    warning: str = ""
    shared: bool = False  # others than this computer's user can reach the page

    @classmethod
    def of(cls, options: StudioOptions) -> Facts:
        """Of the model asked for; a hub's, whose folder is not looked for, is taken to be FLUX's size."""
        embedded = options.model == "embedded"
        folder = EMBEDDED if embedded else Path(options.model).expanduser()
        index = folder / "model_index.json"
        told = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
        own = {key: told.get(key) or value for key, value in RELEASED.items()}
        return cls(
            name="mosaic-tiny" if embedded else name_of(options.model),
            size=int(own["default_size"]),
            steps=int(own["default_steps"]),
            guidance=float(own["default_guidance"]),
            warning=TOYS if embedded else "",
            shared=options.is_open,
        )

    @property
    def sizes(self) -> list[str]:
        """What the menu offers, the model's own first."""
        sides = [(round(w * self.size / 16) * 16, round(h * self.size / 16) * 16) for w, h in SHAPES]
        return [f"{w} × {h}" for w, h in sides if max(w, h) <= LARGEST_SIDE]


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of "512 × 768" or "512x768". ValueError for what is none."""
    sides = text.lower().replace("×", "x").replace(" ", "").split("x")
    if len(sides) != 2 or not all(side.isdecimal() and side.isascii() and int(side) for side in sides):
        raise ValueError(f"The size is width × height in pixels, for example 512 × 512, not “{text}”.")
    return int(sides[0]), int(sides[1])
