"""Checkpoints of a run: written whole or not at all, the last few kept, read without unpickling."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FACTS = "state.json"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        _remove(old)
    for left in Path(folder).glob("step-*.*"):  # by a process that was killed
        shutil.rmtree(left)
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
    try:
        write(temporary)
        _sync(temporary)
    except (OSError, SafetensorError):  # half a folder is of no use, and a full disk wants its room back
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        _remove(path)
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


@contextmanager
def full_disk_in_words(folder: Path) -> Iterator[None]:
    """A write that found no room ends in one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if _number(error) not in FULL:
            raise
        good = checkpoints(folder / "checkpoints")
        left = f"the last good checkpoint is {good[-1].name}" if good else "there is no checkpoint yet"
        raise ValueError(
            f"There is no room left for the files in {folder} ({os.strerror(_number(error))}); {left}: "
            "free some space and go on with --resume."
        ) from error


def _number(error: OSError | SafetensorError) -> int:
    """The operating system's number of an error."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else 0


def _remove(folder: Path) -> None:
    """First the name, then the files: a kill leaves no half of a folder under its name."""
    gone = folder.with_name(f"{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    folder.replace(gone)
    shutil.rmtree(gone)


def _sync(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
