"""What lies where in a shard: a list made by one pass over the tar, so that any sample is read at once."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mosaic.data.shards import decode_sample, outline_sample, split_name
from mosaic.geometry import Size
from mosaic.hub import from_hub
from mosaic.sample import Sample

BLOCK = 512  # bytes a tar's members are padded to
VERSION = 1  # of a stored index
HUB = "hf://datasets/"


class Row(NamedTuple):
    """A sample as a list of them knows it."""

    key: str
    references: int  # K
    height: int  # of the target, pixels
    width: int
    start: int = 0  # its bytes in the shard
    stop: int = 0

    @property
    def size(self) -> Size:
        """(height, width) of the target."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class Index:
    """The samples of a collection that can be used, in its order, and (key, problem) of the others."""

    rows: tuple[Row, ...]
    problems: tuple[tuple[str, str], ...] = ()
    targets: tuple[str, ...] = ()  # a row's file, where its key may be but a number

    @functools.cached_property
    def digest(self) -> str:
        """How many samples there are, and eight characters of which they are; where they lie is left out."""
        told = json.dumps([[row[:4] for row in self.rows], self.targets])
        return f"{len(self.rows)} {hashlib.sha256(told.encode()).hexdigest()[:8]}"


class Collection(Protocol):
    """Samples that can be read in any order: a shard, or a folder of pictures."""

    @property
    def name(self) -> str: ...

    def index(self) -> Index:
        """The samples that can be used, in an order that stays, and what is wrong with the others."""
        ...

    def read(self, row: int) -> Sample:
        """The sample of a row of the index; ValueError for a damaged one."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A WebDataset tar on disk. Its index is made when it is first asked for, and kept in `cache`."""

    path: Path
    cache: Path | None = None

    @property
    def name(self) -> str:
        """As messages call it."""
        return str(self.path)

    def index(self) -> Index:
        """Its whole samples; a tar that is cut off ends with its last whole one."""
        return _index(self.path, self.cache)

    def read(self, row: int) -> Sample:
        """Its sample number `row` of the index. ValueError if a picture is damaged, or the tar is another."""
        found = self.index().rows[row]
        with self.path.open("rb") as file:
            file.seek(found.start)
            content = file.read(found.stop - found.start)
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
                files: dict[str, Any] = {
                    name: data for _, key, name, data in _members(tar) if key == found.key
                }
        except tarfile.TarError as error:
            raise ValueError(
                f"The sample {found.key} is not where it was: {self.path} has changed since it was listed "
                f"({error})."
            ) from error
        return decode_sample(files | {"__key__": found.key})


def shards_of(pattern: str, cache: Path | None = None) -> list[Shard]:
    """The shards a pattern names, each once: tars, folders of tars, `*` and `{000..041}`, joined by "::".

    hf://datasets/OWNER/NAME/PATTERN: downloaded first, to the hub's own cache. ValueError for a part of the
    pattern that names none.
    """
    from webdataset.shardlists import expand_urls  # brings torch along

    paths: dict[Path, None] = {}
    for part in expand_urls(pattern):
        place = _downloaded(part) if part.startswith(HUB) else Path(part).expanduser()
        places = sorted(map(Path, glob(str(place))))  # noqa: PTH207, Path.glob takes no absolute pattern
        found = [tar for p in places for tar in (sorted(p.glob("*.tar")) if p.is_dir() else [p])]
        if not found:
            raise ValueError(f"data.path: there is no shard {part}: give .tar files, or a folder of them.")
        paths |= dict.fromkeys(found)
    return [Shard(path=path, cache=cache) for path in paths]


def _downloaded(url: str) -> Path:
    """The place on disk of hf://datasets/OWNER/NAME/PATTERN."""
    owner, _, rest = url.removeprefix(HUB).partition("/")
    name, _, pattern = rest.partition("/")
    if not (owner and name and pattern):
        raise ValueError(f"data.path: {url} should read {HUB}OWNER/NAME/PATTERN.")

    def fetch() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(f"{owner}/{name}", repo_type="dataset", allow_patterns=pattern)

    return Path(from_hub(f"datasets/{owner}/{name}", fetch, "data.path takes .tar files too")) / pattern


@functools.lru_cache(maxsize=256)
def _index(path: Path, cache: Path | None) -> Index:
    """The stored index of a tar as it is now, else a new one."""
    if cache is None:
        return scan(path)
    facts = path.stat()
    name = f"{VERSION} {path.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    stored = cache / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
    if stored.exists():
        content = json.loads(stored.read_text(encoding="utf-8"))
        problems = tuple((key, problem) for key, problem in content["problems"])
        return Index(rows=tuple(Row(*row) for row in content["rows"]), problems=problems)
    index = scan(path)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = stored.with_name(f"{stored.name}.{os.getpid()}.tmp")
    text = json.dumps({"shard": str(path), "rows": index.rows, "problems": index.problems})
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(stored)
    return index


def scan(path: Path) -> Index:
    """The index of a tar. What is no tar has no rows and one problem, under the key ""."""
    rows, problems = [], []
    try:
        with tarfile.open(path, "r:") as tar:
            for key, start, stop, files in _samples(tar):
                try:
                    references, (height, width) = outline_sample(files | {"__key__": key})
                    rows.append(Row(key, references, height, width, start, stop))
                except ValueError as error:
                    problems.append((key, str(error)))
        if not _ended(path):  # tarfile takes half a header for the end
            raise tarfile.ReadError("it has no end")
    except tarfile.TarError as error:
        problems.append(("", f"It is not a whole tar file: {error}."))
    return Index(rows=tuple(rows), problems=tuple(problems))


def _ended(path: Path) -> bool:
    """Whether a tar ends as it should, in two blocks of zeros."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * BLOCK))
        return size >= 2 * BLOCK and not any(file.read())


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Key, first byte, end and files of each sample; a sample's files follow one another.

    TarError where the tar is cut off, after what lies before.
    """
    key, start, stop = "", 0, 0
    files: dict[str, Any] = {}
    cut: tarfile.TarError | None = None
    try:
        for member, own, name, data in _members(tar):
            if own != key:
                if files:
                    yield key, start, stop, files
                key, start, files = own, member.offset, {}
            files[name] = data
            stop = member.offset_data + -(-member.size // BLOCK) * BLOCK
    except tarfile.TarError as error:
        cut = error
    if files:
        yield key, start, stop, files
    if cut is not None:
        raise cut


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str, bytes]]:
    """The files of samples: member, key, name and content."""
    for member in tar:
        file, (key, name) = tar.extractfile(member), split_name(member.name)
        if file is not None and key:
            yield member, key, name, file.read()
