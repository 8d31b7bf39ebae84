"""What lies where in a tar of samples: one pass over its heads and captions, kept until the tar changes."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mosaic.curation.folder import Place, write_whole
from mosaic.data.index import BLOCK
from mosaic.data.shards import split_name

VERSION = 2  # of a kept list


@dataclass(frozen=True, slots=True, kw_only=True)
class Tar:
    """One sample in a tar: where its files are, and what its json says."""

    files: Mapping[str, Place]
    caption: str = ""
    detailed_caption: str = ""
    shown: tuple[tuple[str, str], ...] = ()  # (subject id, noun) of each reference

    @property
    def lacks(self) -> str:
        """The first file that a whole sample has and this one has not; "" where none is missing."""
        wanted = ["target.webp", "json", "points.npy"]
        wanted += [f"target.mask{n}.png" for n in range(len({subject for subject, _ in self.shown}))]
        wanted += [f"ref{k}.{end}" for k in range(len(self.shown)) for end in ("webp", "mask.png")]
        return next((name for name in wanted if name not in self.files), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The samples of a tar in its order; problem: what it is, that there may be more."""

    samples: Mapping[str, Tar] = field(default_factory=dict)
    problem: str = ""


def packed_of(path: Path, cache: Path) -> Packed:
    """The list of a tar as it is now. Nothing but heads and captions is read, and that once."""
    facts = path.stat()
    return _kept(path, cache, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _kept(path: Path, cache: Path, size: int, changed: int) -> Packed:
    name = hashlib.sha256(f"{VERSION} {path.resolve()} {size} {changed}".encode()).hexdigest()[:24]
    kept = cache / f"{name}.json"
    if kept.exists():
        try:
            return _from_json(path, json.loads(kept.read_bytes()))
        except (ValueError, KeyError, TypeError):  # damaged, so made again
            pass
    found = scan(path)
    with suppress(OSError):  # a full disk: the list is made again next time
        write_whole(kept, json.dumps(_as_json(found), ensure_ascii=False).encode())
    return found


def scan(path: Path) -> Packed:
    """Read the heads of a tar. One that is cut off, or none at all, is told as a problem."""
    places: dict[str, dict[str, Place]] = {}
    problem = ""
    whole = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, name = split_name(member.name)
                if key and member.isfile() and member.offset_data + member.size <= whole:
                    places.setdefault(key, {})[name] = Place(path, member.offset_data, member.size)
        if not _ended(path):
            problem = "is cut off; what lies before the cut is shown."
    except (tarfile.TarError, OSError) as error:
        problem = f"is no whole tar file ({error}); what lies before the damage is shown."
    with path.open("rb") as file:
        return Packed(samples={key: _texts(file, files) for key, files in places.items()}, problem=problem)


def _ended(path: Path) -> bool:
    """Whether it ends as a tar should, in two blocks of zeros."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < 2 * BLOCK:
            return False
        file.seek(-2 * BLOCK, 2)
        return not any(file.read())


def _texts(file: Any, files: Mapping[str, Place]) -> Tar:
    """What a sample's json says; nothing where it is damaged, which looking at the sample will tell."""
    try:
        place = files["json"]
        file.seek(place.offset)
        texts = json.loads(file.read(place.size))
        shown = tuple((str(one["subject"]), str(one["name"])) for one in texts["references"])
        return Tar(
            files=files,
            caption=str(texts["caption"]),
            detailed_caption=str(texts["detailed_caption"]),
            shown=shown,
        )
    except (KeyError, TypeError, ValueError):
        return Tar(files=files)


def _as_json(found: Packed) -> dict[str, Any]:
    samples = {
        key: [
            {name: [place.offset, place.size] for name, place in one.files.items()},
            one.caption,
            one.detailed_caption,
            one.shown,
        ]
        for key, one in found.samples.items()
    }
    return {"samples": samples, "problem": found.problem}


def _from_json(path: Path, kept: Mapping[str, Any]) -> Packed:
    samples = {
        key: Tar(
            files={name: Place(path, *place) for name, place in files.items()},
            caption=caption,
            detailed_caption=detailed,
            shown=tuple((subject, noun) for subject, noun in shown),
        )
        for key, (files, caption, detailed, shown) in kept["samples"].items()
    }
    return Packed(samples=samples, problem=kept["problem"])
