"""Which folders the browser may open: those named at the start with --data, and the Studio's own exports.

A path typed in the browser is no permission, not even on 127.0.0.1: other people of the machine reach that
address too, and so may a page in another tab. Links are followed first, so one that leads out leads nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

DEPTH = 3  # folders below a root that are looked into for datasets and reports
MOST, VISITED = 200, 5000  # places offered; folders of a root that are looked into


class Folders(Protocol):
    """What of the Studio's options says where it may look."""

    @property
    def folder(self) -> Path: ...

    @property
    def data(self) -> tuple[Path, ...]: ...


def roots_of(options: Folders) -> Roots:
    """The roots of a Studio."""
    return Roots(home=options.folder, data=options.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """home: the Studio's own folder; data: the folders (or single files) given with --data."""

    home: Path
    data: tuple[Path, ...] = ()

    @property
    def exports(self) -> Path:
        """Where datasets with edits applied are written."""
        return self.home / "exports"

    @property
    def open(self) -> tuple[Path, ...]:
        """All that may be opened, links followed."""
        return tuple(root.expanduser().resolve() for root in (*self.data, self.exports))

    def holds(self, path: Path) -> bool:
        """Whether a path, links followed, lies in one of the roots."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a circle of links, a name too long, a null byte
            return False
        return any(real.is_relative_to(root) for root in self.open)

    def find(self, typed: str) -> Path:
        """What a person typed, absolute or in a root. ValueError unless it is there and may be opened.

        The sentence is the same for what is not there and for what may not be seen.
        """
        text = typed.strip()
        places = [Path(text).expanduser(), *(root / text for root in self.open)] if text else []
        for place in places:
            if place.is_absolute() and self.holds(place) and _exists(place):
                return place.resolve()
        if not self.data:
            raise ValueError("The Studio was started without data: start it with mosaic studio --data DIR.")
        named = ", ".join(str(root.expanduser().resolve()) for root in self.data)
        raise ValueError(f'There is no "{text}" in what may be opened ({named}): give it with --data DIR.')

    def places(self, *patterns: str) -> list[Path]:
        """Folders in the roots that hold a file of such a name, nearest first: what is offered to open."""
        found: dict[Path, None] = {}
        for root in self.open:
            for folder in islice(_folders(root, DEPTH), VISITED):
                if any(self.holds(file) for pattern in patterns for file in folder.glob(pattern)):
                    found[folder] = None
                if len(found) == MOST:
                    break
        return list(found)

    def named(self, places: Sequence[str]) -> list[tuple[str, str]]:
        """(short name, place) of each, to choose from; the whole place where two would have one name."""
        short = [self._short(Path(place)) for place in places]
        return [
            (name if short.count(name) == 1 else place, place)
            for name, place in zip(short, places, strict=True)
        ]

    def _short(self, place: Path) -> str:
        root = next((root for root in self.open if place.is_relative_to(root)), None)
        return str(place) if root is None else str(Path(root.name) / place.relative_to(root))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _folders(root: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it, level by level; links and hidden ones are not entered."""
    level = [root] if root.is_dir() else []
    for _ in range(depth + 1):
        yield from level
        level = [below for folder in level for below in _below(folder)]


def _below(folder: Path) -> list[Path]:
    try:
        return [
            one
            for one in sorted(folder.iterdir())
            if one.is_dir() and not one.is_symlink() and not one.name.startswith(".") and one.name != "stages"
        ]
    except OSError:  # a folder of somebody else's
        return []
