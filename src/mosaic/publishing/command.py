"""`mosaic publish`: a LoRA, a model or a dataset with its card, into a folder or onto a hub."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from mosaic.publishing.bundle import Extras, terms_of, write
from mosaic.publishing.source import Source, find

TARGET = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What `mosaic publish` was asked for; folder: write there and send nothing."""

    source: Path
    target: str  # OWNER/NAME
    folder: Path | None = None
    public: bool = False
    extras: Extras = field(default_factory=Extras)

    def __post_init__(self) -> None:
        """ValueError for what can be refused before anything is read."""
        if not TARGET.fullmatch(self.target):
            raise ValueError(f"{self.target} is no name of a repository: write it OWNER/NAME.")
        at = self.folder
        if at is not None and at.exists() and (not at.is_dir() or any(at.iterdir())):
            raise ValueError(f"--folder {at} is not empty: name a new folder.")


def publish(options: PublishOptions) -> str:
    """Publish; returns where it is now. ValueError for what cannot be, or not be opened, as it is."""
    source = find(options.source)
    if options.public:
        _check_open(source, options)
    if options.folder is not None:
        return _into_folder(source, options, options.folder)
    from mosaic.publishing.hub import upload

    with tempfile.TemporaryDirectory(prefix="mosaic-publish-") as staged:
        write(source, options.target, options.extras, Path(staged), links=True)
        return upload(Path(staged), options.target, dataset=source.kind == "dataset", public=options.public)


def _check_open(source: Source, options: PublishOptions) -> None:
    """ValueError unless it says whose pictures are in it and what may be done with it."""
    if terms_of(source, options.extras.licence).identifier == "unknown":
        raise ValueError(f"--public needs --licence: nothing says under which {options.source} may be used.")
    if options.extras.people is None and not source.toys:
        raise ValueError("--public needs --people none, synthetic or consented: say who is in its pictures.")


def _into_folder(source: Source, options: PublishOptions, folder: Path) -> str:
    """Whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as partial:
        write(source, options.target, options.extras, Path(partial) / "made")
        if folder.is_dir():
            folder.rmdir()  # an empty one
        (Path(partial) / "made").replace(folder)
    return str(folder)
