"""The folder as it will be published: files free of this machine's paths, and the card that tells of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mosaic.pictures import read_recipe
from mosaic.publishing.card import People, Shown, Telling, card, figures, people
from mosaic.publishing.data_card import dataset_card
from mosaic.publishing.figures import read_figures
from mosaic.publishing.licences import IDENTIFIER, UNKNOWN, Licence, licence_of
from mosaic.publishing.paths import text_without_paths, without_paths
from mosaic.publishing.source import LORA, Source

MOST_PICTURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What the publisher adds: figures of an evaluation's folder, pictures, and the two statements."""

    licence: str | None = None
    people: People | None = None
    evaluation: Path | None = None
    pictures: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for pictures that cannot be shown."""
        if len(self.pictures) > MOST_PICTURES:
            raise ValueError(f"A card shows at most {MOST_PICTURES} pictures, not {len(self.pictures)}.")
        for file in self.pictures:
            if file.suffix.lower() != ".png" or not file.is_file():
                raise ValueError(f"--picture {file} is no .png file that is there.")


def terms_of(source: Source, asked: str | None) -> Licence:
    """The licence it is published under: as asked for, its base's, its own card's, or the toybox's."""
    terms = licence_of("" if source.kind == "dataset" else source.base, asked)
    if terms is not UNKNOWN:
        return terms
    if source.card is not None:
        return Licence(identifier=_front_of(source.card.read_text(encoding="utf-8"), "license") or "unknown")
    return Licence(identifier="cc0-1.0") if "toybox.json" in source.files else UNKNOWN


def write(source: Source, target: str, extras: Extras, folder: Path, *, links: bool = False) -> None:
    """Everything that is published, in an empty folder; links: large files as links to where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    terms = terms_of(source, extras.licence)
    found = None if extras.evaluation is None else _measured(source, extras.evaluation)
    for name, path in source.files.items():
        _place(path, folder / name, links)
    if source.recipe and source.kind != "dataset":
        _write_json(source.recipe, folder / "recipe.json")
    if found is not None:
        _write_json(found, folder / "evaluation" / "summary.json")
    if terms.notice:
        (folder / "NOTICE").write_text(terms.notice, encoding="utf-8")
    shown = [_show(path, i, folder) for i, path in enumerate(extras.pictures, start=1)]
    telling = Telling(
        target=target,
        licence=terms,
        people=extras.people,
        figures=found,
        pictures=shown,
        files={} if source.kind == "dataset" else _listed(folder),
    )
    (folder / "README.md").write_text(_card(source, telling), encoding="utf-8")


def _measured(source: Source, evaluation: Path) -> dict[str, Any]:
    """The figures. ValueError if these are of other weights; of pictures that were brought none are told."""
    from mosaic.pipeline.loading import folder_hash, sampled_hash

    found = read_figures(evaluation)
    told = [method.get("settings", {}).get("hashes", {}).get(source.kind) for method in found["methods"]]
    if source.kind == "dataset" or not any(told):
        return found
    lora, index = source.files.get(LORA), source.files.get("model_index.json")
    own = folder_hash(index.parent) if index else sampled_hash(lora) if lora else ""
    if own not in told:
        raise ValueError(f"--evaluation {evaluation} measured another {source.kind}: evaluate this one.")
    return found


def _card(source: Source, telling: Telling) -> str:
    if source.card is not None:
        text = text_without_paths(source.card.read_text(encoding="utf-8"))
        return _extended(text, telling, source.toys)
    if source.kind == "dataset":
        return dataset_card(source, telling.target, telling.licence, telling.people)
    return card(source, telling)


def _extended(text: str, telling: Telling, toys: bool) -> str:
    """A card that was there, with what is said now."""
    parts = [text.strip()]
    if telling.pictures:
        parts += [f"![{one.caption}]({one.file})" for one in telling.pictures]
    if telling.figures is not None:
        parts.append(figures(telling.figures).replace("## Figures", "## Figures of an evaluation").strip())
    if telling.people is not None or "## People" not in text:
        parts.append(people(telling.people, toys))
    return "\n\n".join(parts) + "\n"


def _front_of(text: str, key: str) -> str:
    """A value of a card's front matter; "" where it is not there, or not a plain word."""
    lines = text.split("---", 2)[1].splitlines()
    found = [line.partition(":")[2].strip(" \"'") for line in lines if line.startswith(f"{key}:")]
    return found[0] if found and IDENTIFIER.fullmatch(found[0]) else ""


def _place(path: Path, place: Path, links: bool) -> None:
    """Copied or linked; a JSON file and a LoRA's header are rewritten where they hold a path."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix == ".json" and _rewritten(path, place):
        return
    if place.name.startswith("lora") and place.suffix == ".safetensors" and _cleaned(path, place):
        return
    if links:
        place.symlink_to(path.resolve())
    else:
        shutil.copyfile(path, place)


def _rewritten(path: Path, place: Path) -> bool:
    value = json.loads(path.read_text(encoding="utf-8"))
    clean = without_paths(value)
    if clean == value:
        return False
    _write_json(clean, place)
    return True


def _cleaned(path: Path, place: Path) -> bool:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        clean = without_paths(header)
        if clean == header:
            return False
        save_file({key: file.get_tensor(key) for key in file.keys()}, place, metadata=clean)  # noqa: SIM118
    return True


def _write_json(value: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(without_paths(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(path: Path, number: int, folder: Path) -> Shown:
    """A picture of the card; one of `mosaic generate` tells its prompt and seed."""
    name = f"pictures/{number}.png"
    (folder / "pictures").mkdir(exist_ok=True)
    shutil.copyfile(path, folder / name)
    try:
        recipe = read_recipe(path)
    except ValueError:
        return Shown(file=name, caption=path.stem.replace("-", " ").replace("_", " "))
    return Shown(file=name, caption=f"“{recipe['prompt']}”, seed {recipe['seed']}")


def _listed(folder: Path) -> Mapping[str, tuple[int, str]]:
    """Weights and configurations with their sizes and SHA-256."""
    found: Sequence[Path] = sorted(path for path in folder.rglob("*.safetensors"))
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, _hash(path)) for path in found}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
