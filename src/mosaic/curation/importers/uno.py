"""UNO-1M (bytedance-research/UNO-1M on the hub): labels/split<n>.json with images/split<n>.tar.gz.

The pictures may also lie unpacked in images/split<n>/, or in images/split<n>.tar: then one is read at once. A
.tar.gz is passed over from its beginning whenever some of its pictures are wanted, so unpack what is large.

A label names two pictures of one subject and has a caption of each; the second becomes the target, the first
the reference. Its consistency score, 0 to 4, becomes import/consistency: 3.5 is what its authors recommend.
"""

import contextlib
import functools
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.curation.importers.entry import Entry, Limits, View, attempt, load
from mosaic.curation.importers.folder import read_bytes
from mosaic.curation.importers.json_list import JsonList
from mosaic.curation.importers.mapped import natural
from mosaic.curation.rows import Named

PAIR = ("img_path1", "img_path2")  # reference, target
ENDINGS = (".tar", ".tar.gz", ".tgz")


class Uno1M:
    """Its pairs, split by split."""

    name, licence = "uno-1m", "apache-2.0"

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        files = sorted((path / "labels").glob("*.json"), key=lambda file: natural(file.name))
        if not files:
            raise ValueError(f"import.path: {path} has no labels/split1.json and so on: it is no UNO-1M.")
        self._labels = [JsonList(file) for file in files]
        self._starts = list(accumulate(map(len, self._labels), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, indices: Sequence[int]) -> Iterator[Entry | ValueError]:
        """See `Reader`. Pictures of packed splits that are asked for together are held together."""
        labels = [self._label(index) for index in indices]
        packed = self._unpacked([label for label in labels if isinstance(label, Mapping)])
        return (attempt(functools.partial(self._entry, label, packed)) for label in labels)

    def _label(self, index: int) -> Any:
        split = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._labels[split][index - self._starts[split]]

    def _entry(self, label: Any, packed: Mapping[str, bytes]) -> Entry:
        told = label["caption"]
        nouns = [noun for noun in told["subject"] if noun]
        if told.get("judgment", "same") != "same" or not nouns:
            raise ValueError(f'its pictures are judged "{told.get("judgment")}", its subject is {nouns}')
        reference, target = (
            load(self._picture(label[key], packed), label[key], self._limits) for key in PAIR
        )
        return Entry(
            target=target,
            caption=" ".join(told["img_path2"].split()),
            views=(View(named=Named(name=" ".join(nouns[0].split())), picture=reference),),
            scores={"consistency": float(label["vlm_filter_cot"]["score_final"])},
            origin={"file": label["img_path2"]},
        )

    def _picture(self, name: str, packed: Mapping[str, bytes]) -> bytes:
        return packed[name] if name in packed else read_bytes(self._path / "images" / name, self._limits)

    def _unpacked(self, labels: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
        """The pictures of labels whose splits are still packed, by name."""
        wanted: dict[Path, set[str]] = {}
        for name in (str(label.get(key)) for label in labels for key in PAIR):
            archive = self._archive(name.partition("/")[0])
            if archive and not (self._path / "images" / name).exists():
                wanted.setdefault(archive, set()).add(name)
        found: dict[str, bytes] = {}
        for archive, names in wanted.items():
            read = _seek if archive.suffix == ".tar" else _stream
            found |= read(archive, names, self._limits)
        return found

    def _archive(self, split: str) -> Path | None:
        places = (self._path / "images" / f"{split}{ending}" for ending in ENDINGS)
        return next((place for place in places if place.exists()), None)


def _stream(archive: Path, names: set[str], limits: Limits) -> dict[str, bytes]:
    """Those of these members that there are, not too large, up to where a broken archive ends."""
    found: dict[str, bytes] = {}
    broken = tarfile.TarError, EOFError, OSError, zlib.error  # what lacks is missed by its name
    with contextlib.suppress(*broken), tarfile.open(archive, "r|*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in names and member.size <= limits.most_bytes:
                file = tar.extractfile(member)
                found[name] = file.read() if file else b""
                if len(found) == len(names):
                    break
    return found


def _seek(archive: Path, names: set[str], limits: Limits) -> dict[str, bytes]:
    """As `_stream`, of a tar that is not compressed."""
    places = _places(archive)
    found: dict[str, bytes] = {}
    with archive.open("rb") as file:
        for name in sorted(names & places.keys()):
            start, size = places[name]
            if size <= limits.most_bytes:
                file.seek(start)
                found[name] = file.read(size)
    return found


@functools.lru_cache(maxsize=4)  # of 20,000 members each
def _places(archive: Path) -> dict[str, tuple[int, int]]:
    """Name → first byte and size of each member."""
    places: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(tarfile.TarError), tarfile.open(archive, "r:") as tar:
        for member in tar:
            places[member.name.removeprefix("./")] = member.offset_data, member.size
    return places
