"""Samples of tars by number: a list of where each begins is made from the heads of their members alone."""

import functools
import io
import tarfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mosaic.data.index import BLOCK, shards_of
from mosaic.data.shards import split_name

MOST = 1 << 30  # bytes of a sample


class TarSamples:
    """The samples of the tars a pattern names (see `mosaic.data.index.shards_of`), one after another."""

    def __init__(self, pattern: str) -> None:
        try:
            self._paths = [shard.path for shard in shards_of(pattern)]
        except ValueError as error:
            raise ValueError(str(error).replace("data.path", "import.path")) from error
        self._starts = list(accumulate((len(_places(path)) for path in self._paths), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> tuple[str, dict[str, bytes]]:
        """Key and files of a sample. ValueError where its tar is cut off."""
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        path = self._paths[which]
        start, stop = (int(place) for place in _places(path)[index - self._starts[which]])
        if stop <= start or stop - start > MOST:
            raise ValueError(f"{path.name} is cut off here, or holds a sample of over {MOST} bytes")
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
                members = [(split_name(member.name), tar.extractfile(member)) for member in tar]
                files = {name: file.read() for (_, name), file in members if file is not None}
        except tarfile.TarError as error:
            raise ValueError(f"{path.name} is cut off here: {error}") from error
        return members[0][0][0], files


@functools.lru_cache(maxsize=4096)
def _places(path: Path) -> NDArray[np.int64]:
    """(N, 2): first byte and end of each sample; (0, 0) at the end of a tar that is cut off."""
    try:
        return np.array(list(_scan(path)), np.int64).reshape(-1, 2)
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no uncompressed tar ({error}): unpack what compresses it.") from error


def _scan(path: Path) -> Iterator[tuple[int, int]]:
    key, start, stop = "", 0, 0
    with tarfile.open(path, "r:") as tar:
        try:
            for member in tar:
                own, _ = split_name(member.name)
                if not member.isfile() or not own:
                    continue
                if own != key:
                    if stop:
                        yield start, stop
                    key, start = own, member.offset
                stop = member.offset_data + -(-member.size // BLOCK) * BLOCK
                tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
        except tarfile.TarError:
            yield start, stop
            yield 0, 0
            return
    if stop:
        yield start, stop
