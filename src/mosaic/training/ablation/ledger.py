"""The ledger: one JSON a run, small enough to commit, with all that its figures depend on."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mosaic.training.recipe import Recipe

# what a run's figures do not depend on
MACHINERY = {
    "model": {"base", "lora", "attention", "compile", "checkpointing", "device", "text_cache", "create"},
    "train": True,
    "data": {"cache", "workers"},
    "output": True,
    "seed": True,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What one run gave."""

    group: str
    cell: str
    place: int  # of the cell in its group; the first is what the others differ from
    seed: int
    changes: dict[str, Any]
    recipe: str  # digest of all choices but the seed and the machine's
    start: str  # digest of the weights it started from
    commit: str
    machine: str
    steps: int
    samples: int
    losses: dict[str, float]  # means over the last steps
    probe: dict[str, float]
    measure: dict[str, Any]  # how it was measured
    measures: dict[str, dict[str, dict[str, float | None]]]  # K → measure → mean, low, high, count

    @property
    def name(self) -> str:
        return f"{self.group}-{self.cell}-s{self.seed}"


def entry_path(ledger: Path, name: str) -> Path:
    """Where the line of a run lies."""
    return Path(ledger) / f"{name}.json"


def write_entry(ledger: Path, entry: Entry) -> None:
    """Whole or not at all."""
    path = entry_path(ledger, entry.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    text = json.dumps(asdict(entry), indent=1, sort_keys=True, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def read_entry(path: Path) -> Entry:
    """ValueError for a file that is no line of a ledger."""
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): remove it, and its run is measured again."
        ) from error
    wanted = {field.name for field in fields(Entry)}
    if not isinstance(table, dict) or set(table) != wanted:
        raise ValueError(f"{path} is not a line of an ablation's ledger: it must hold {sorted(wanted)}.")
    entry = Entry(**table)
    if entry.name != Path(path).stem:
        raise ValueError(f"{path} holds the run {entry.name}: a file is named after its run.")
    return entry


def read_ledger(folder: Path) -> list[Entry]:
    """Every run of a ledger, by name. ValueError if there is none."""
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise ValueError(f"there is no run in the ledger {folder}.")
    return [read_entry(path) for path in paths]


def recipe_digest(recipe: Recipe) -> str:
    """Sixteen characters that tell a run's choices, but for its seed, its start and the machine.

    Keys at their defaults do not count, so that a new key leaves old runs valid.
    """
    chosen = recipe.model_dump(mode="json", exclude_defaults=True, exclude=MACHINERY)  # type: ignore[arg-type]
    chosen = {section: keys for section, keys in chosen.items() if keys}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def weights_digest(*paths: str | Path) -> str:
    """Sixteen characters that tell the safetensors in folders, and files, from others."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        for file in sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]:
            digest.update(file.name.encode())
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def machine() -> str:
    """The processor that trains, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} CPU cores"


def means_of_last(log: Path, steps: int, last: int) -> tuple[dict[str, float], dict[str, float]]:
    """Losses and probe, each the mean over a log's records of the last steps that have it."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    late = [record for record in records if record["step"] > steps - last]

    def mean(prefix: str) -> dict[str, float]:
        names = dict.fromkeys(
            name for record in late for name in record if re.fullmatch(prefix + r"/\w+", name)
        )
        found: Mapping[str, list[float]] = {n: [r[n] for r in late if n in r] for n in names}
        return {n.removeprefix(prefix + "/"): sum(xs) / len(xs) for n, xs in found.items()}

    return mean("loss"), mean("probe")
