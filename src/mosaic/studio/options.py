"""What `mosaic studio` was asked for, and the folders it keeps to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

LOCAL = "127.0.0.1"
PORT = 7860


def default_folder() -> Path:
    """Where the Studio keeps what was made: in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "mosaic-studio"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioOptions:
    """Model, address and folder. Everything the Studio writes, and all it lets be read, is in `folder`."""

    model: str = "embedded"
    lora: str | None = None
    host: str = LOCAL
    port: int = PORT
    folder: Path = field(default_factory=default_folder)
    offload: str = "none"
    quantize: str = "none"
    data: tuple[Path, ...] = ()  # --data: all that the tabs of datasets and reports may open

    def __post_init__(self) -> None:
        """ValueError for a port that is none, or a folder that cannot be written."""
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port lies in 1…65535 (0: any free one), not at {self.port}.")
        for path in self.data:
            if not path.expanduser().exists():
                raise ValueError(f"--data {path} is not there: name a folder that is.")
        folder = Path(os.path.abspath(self.folder.expanduser()))  # noqa: PTH100 (links stay links)
        above = next(place for place in (folder, *folder.parents) if place.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise ValueError(f"--folder {folder} cannot be written: name a folder of yours.")
        object.__setattr__(self, "folder", folder.resolve())

    @property
    def history(self) -> Path:
        """Pictures made, each a PNG with its recipe."""
        return self.folder / "history"

    @property
    def pictures(self) -> Path:
        """References, each under the hash of its file."""
        return self.folder / "references"

    @property
    def library(self) -> Path:
        """Subjects kept by name."""
        return self.folder / "library"

    @property
    def uploads(self) -> Path:
        """Where the browser's files arrive; emptied after a day."""
        return self.folder / "uploads"

    @property
    def is_open(self) -> bool:
        """Whether others than this machine can reach it."""
        return self.host not in (LOCAL, "localhost", "::1")
