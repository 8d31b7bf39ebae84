"""Which model plays which role: by hub id or path, chosen on the command line, loaded when first needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mosaic import __version__
from mosaic.evaluation.features import Extractor

NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a role needs: its parts with their published models, the first one the main part."""

    parts: Mapping[str, str]  # part → hub id or file; "" where nothing is published that can be had by id
    make: Callable[[Mapping[str, str], str | None], Extractor]  # parts, device (None: a GPU if there is one)


ROLES: dict[str, Role] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """The models chosen for the roles of one evaluation."""

    chosen: Mapping[str, Mapping[str, str]]  # role → part → where; a role left out is not there
    device: str | None = None

    def load(self, role: str) -> Extractor:
        """ValueError in one sentence if it cannot be."""
        return ROLES[role].make(self.chosen[role], self.device)

    def __contains__(self, role: str) -> bool:
        return role in self.chosen

    def name(self, role: str) -> str:
        """Of the role's models, the published ones left unsaid unless all are."""
        parts, given = ROLES[role].parts, self.chosen[role]
        other = [short(given[part]) for part in parts if given[part] != parts[part]]
        return " + ".join(other) if other else " + ".join(parts.values())

    def official(self, role: str) -> bool:
        """Whether every part is the published model."""
        return all(self.chosen[role][part] == where and where for part, where in ROLES[role].parts.items())

    def fingerprint(self, role: str) -> str:
        """Under which features are kept: its models, by content where they lie on disk."""
        parts = [f"{part} {content(where)}" for part, where in self.chosen[role].items()]
        return ", ".join([f"mosaic {__version__}", *parts])


def short(where: str) -> str:
    """A folder's or file's last part; a hub id as it is."""
    path = Path(where).expanduser()
    return path.name if path.exists() else where


@cache
def content(where: str) -> str:
    """A hash of the file, or of the files of a folder; a hub id as it is."""
    from mosaic.pipeline.loading import sampled_hash

    path = Path(where).expanduser()
    if not path.exists():
        return where
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    lines = "".join(f"{file.relative_to(path)} {sampled_hash(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def scorers_of(given: Iterable[str], device: str | None = None) -> Scorers:
    """From ROLE=AT or ROLE.PART=AT; AT `none` leaves the role out. ValueError names the known ones."""
    chosen: dict[str, dict[str, str]] = {role: dict(ROLES[role].parts) for role in ROLES}
    for text in given:
        name, _, at = text.partition("=")
        role, _, part = name.partition(".")
        if role not in ROLES or not at:
            raise ValueError(f"--scorer {text} is not ROLE=MODEL: a role is one of {', '.join(ROLES)}.")
        parts = ROLES[role].parts
        part = part or next(iter(parts), "")
        if at == NONE:
            chosen.pop(role, None)
        elif part not in parts:
            raise ValueError(f"--scorer {text}: {role} has the parts {', '.join(parts)}.")
        elif role in chosen:
            chosen[role][part] = at
    return Scorers(chosen=chosen, device=device)
