"""A JSON file that is one long list, an element at a time: a million labels do not belong in memory."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22  # characters read at a time
BETWEEN = re.compile(r"[\s,]*")


class JsonList:
    """The elements of a list in a file; N of them are known by 16 bytes each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places = _places(path, path.stat().st_mtime_ns)  # (N, 2): first byte, end

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        start, stop = (int(place) for place in self._places[index])
        with self.path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(stop - start))


@functools.lru_cache(maxsize=256)
def _places(path: Path, changed: int) -> NDArray[np.int64]:
    del changed  # a part of the key: a file that was written anew is read anew
    return np.array(list(_scan(path)), np.int64).reshape(-1, 2)


def _scan(path: Path) -> Iterator[tuple[int, int]]:
    """First byte and end of each element. ValueError for what is no list, damaged, or cut off."""
    count = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:  # newline "": as many bytes as are read
            for place in _elements(file):
                yield place
                count += 1
    except ValueError as error:  # not UTF-8, too
        raise ValueError(f"{path}: {error} after {count} elements: fetch or write it again.") from error


def _elements(file: TextIO) -> Iterator[tuple[int, int]]:
    decode = json.JSONDecoder().raw_decode
    text = file.read(CHUNK)
    at = len(text) - len(text.lstrip())
    if text[at : at + 1] != "[":
        raise ValueError("it holds no list")
    at += 1
    byte = _bytes(text[:at])  # of the file that `at` is in `text`
    while True:
        end = BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        byte, at = byte + _bytes(text[at:end]), end
        if text[at : at + 1] == "]":
            return
        try:
            _, end = decode(text, at)
        except ValueError:
            end = len(text)
        if end == len(text):  # the element may go on
            more = file.read(CHUNK)
            if not more:
                raise ValueError("it is damaged or cut off")
            text, at = text[at:] + more, 0
            continue
        size = _bytes(text[at:end])
        yield byte, byte + size
        byte, at = byte + size, end


def _bytes(text: str) -> int:
    return len(text.encode())
