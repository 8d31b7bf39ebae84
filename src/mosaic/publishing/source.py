"""What is to be published: a LoRA, a model folder or a folder of shards, told apart by what lies there."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["lora", "model", "dataset"]

LORA = "lora.safetensors"
OF_A_RUN = (LORA, "best.safetensors")  # as training names them, beside the run's recipe.json
SHARDS = ("*.tar", "*.parquet")
BESIDE_SHARDS = ("SHA256SUMS", "samples.html", "toybox.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files of it, by the names they will have, and what is known of how they came to be."""

    kind: Kind
    files: dict[str, Path]
    card: Path | None = None  # one that lies there already
    recipe: dict[str, Any] = field(default_factory=dict)  # of the run that made it
    facts: dict[str, str] = field(default_factory=dict)  # a LoRA's metadata; what a base says of references

    @property
    def base(self) -> str:
        """The model it was made from; "" where nothing says so."""
        return str(self.facts.get("base") or self.recipe.get("model", {}).get("base") or "")

    @property
    def toys(self) -> bool:
        """Whether nothing but the toybox went into it: no photograph, and nobody's picture."""
        told = {section: dict(table) for section, table in self.recipe.items() if isinstance(table, dict)}
        trained = told.get("data", {}).get("source") == "toybox"
        painted = told.get("paint", {}).get("kind") == "toybox" and "import" not in told
        return "toybox.json" in self.files or trained or painted


def find(path: Path) -> Source:
    """What lies at `path`: a .safetensors file, a run's folder, a model folder, a folder of shards.

    ValueError if it is none of these, or not whole.
    """
    if not path.exists():
        raise ValueError(f"There is no {path}: give a LoRA, a run's or a model's folder, or one of shards.")
    if path.is_file():
        return _lora(path, path.parent)
    if (path / "model_index.json").is_file():
        return _model(path, path)
    if (path / "model" / "model_index.json").is_file():
        return _model(path / "model", path)
    if (path / LORA).is_file():
        return _lora(path / LORA, path)
    if any(path.glob("*.tar")):
        return _dataset(path)
    raise ValueError(
        f"{path} holds no {LORA}, no model_index.json and no .tar: a run still under way, or another folder."
    )


def _lora(file: Path, run: Path) -> Source:
    if file.suffix != ".safetensors":
        raise ValueError(f"{file} is no .safetensors file, and nothing else is published.")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            header: dict[str, str] = opened.metadata() or {}
            keys = list(opened.keys())
    except SafetensorError as error:
        raise ValueError(f"{file} is broken ({error}): publish a whole file.") from error
    if not any(".lora_A." in key for key in keys):
        raise ValueError(f"{file} holds no LoRA: its tensors have other names.")
    recipe = _json(run / "recipe.json") if file.name in OF_A_RUN else {}
    return Source(kind="lora", files={LORA: file}, card=_card(run), recipe=recipe, facts=header)


def _model(folder: Path, run: Path) -> Source:
    from mosaic.hub import COMPONENTS, check_folder

    check_folder(folder)
    found = [folder / "model_index.json", *folder.glob("lora*.safetensors")]  # its own, and those to choose
    found += [file for name in COMPONENTS for file in (folder / name).rglob("*")]
    wanted = {".json", ".safetensors", ".txt", ".model"}  # never a pickle
    files = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(found)
        if file.is_file() and file.suffix in wanted
    }
    facts = dict(_json(folder / "model_index.json").get("references") or {})
    return Source(
        kind="model", files=files, card=_card(folder), recipe=_json(run / "recipe.json"), facts=facts
    )


def _dataset(folder: Path) -> Source:
    found = [file for pattern in (*SHARDS, *BESIDE_SHARDS) for file in sorted(folder.glob(pattern))]
    files = {file.name: file for file in found}
    sums = files.get("SHA256SUMS")
    listed = [line.split(maxsplit=1)[1] for line in sums.read_text().splitlines()] if sums else []
    missing = [name for name in listed if name not in files]
    if missing:
        raise ValueError(f"{folder} lacks {missing[0]}, which its SHA256SUMS names: pack it again.")
    return Source(kind="dataset", files=files, card=_card(folder), recipe=_curated(folder / "recipe.toml"))


def _curated(recipe: Path) -> dict[str, Any]:
    """As `mosaic curate` leaves it beside the shards; its card has it too."""
    if not recipe.is_file():
        return {}
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{recipe} is broken ({error}).") from error


def _card(folder: Path) -> Path | None:
    """A README.md that is a card: one with a front matter."""
    file = folder / "README.md"
    return file if file.is_file() and file.read_text(encoding="utf-8").startswith("---\n") else None


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}).") from error
    return value if isinstance(value, dict) else {}
