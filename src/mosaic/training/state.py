"""Checkpoints of a run: written whole or not at all, the last few kept, read without unpickling."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

FACTS = "state.json"


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], facts: Any, keep: int
) -> Path:
    """Write `folder`/step-N (one safetensors file a kind, state.json) under another name, rename; prune."""

    def write(place: Path) -> None:
        for kind, named in tensors.items():
            save_file(
                {name: tensor.contiguous() for name, tensor in named.items()}, place / f"{kind}.safetensors"
            )
        (place / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    path = write_folder(Path(folder) / f"step-{step:08d}", write)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors by kind and the facts of a checkpoint."""
    tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
    return tensors, json.loads((path / FACTS).read_text(encoding="utf-8"))


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in Path(folder).glob("step-*") if path.name[5:].isdigit())


def write_folder(path: Path, write: Callable[[Path], None]) -> Path:
    """Fill a folder under a temporary name and rename it to `path`, which it replaces."""
    temporary = path.with_name(f"{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    _sync(temporary)
    if path.exists():
        shutil.rmtree(path)
    temporary.replace(path)
    return path


def publish_folder(link: Path, name: str, write: Callable[[Path], None]) -> None:
    """Fill `link`'s neighbour .`link`-`name`, point `link` at it in one rename: a reader sees old or new."""
    fresh = write_folder(link.with_name(f".{link.name}-{name}"), write)
    pointer = link.with_name(f".{link.name}.pointer")
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(fresh.name, target_is_directory=True)
    if link.is_dir() and not link.is_symlink():  # settled by a run that now goes on
        link.replace(link.with_name(f".{link.name}-settled"))
    pointer.replace(link)
    for old in link.parent.glob(f".{link.name}-*"):
        if old != fresh:
            shutil.rmtree(old)


def settle_folder(link: Path) -> None:
    """Put the folder itself where its link is: the run is over, the folder may be moved and copied."""
    if link.is_symlink():
        folder = link.resolve()
        link.unlink()
        folder.replace(link)


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
