"""Features on disk: files written once, by rename, so that processes and later runs share a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mosaic.evaluation.features import Feature

SUFFIX = ".safetensors"


class FeatureStore(Mapping[str, Feature]):
    """Features by key, of every file in `folder`; `add` writes another, `refresh` sees those of others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, tuple[Any, list[str]]] = {}  # key → its open file, the names of its arrays
        self._read: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> None:
        """ValueError for a file that is damaged, saying that it may be removed."""
        from safetensors import SafetensorError, safe_open

        for path in sorted(set(self._folder.glob(f"*{SUFFIX}")) - self._read):
            try:
                file = safe_open(path, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise ValueError(f"{path} is damaged ({error}): remove it, it is made again.") from error
            for name in file.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118
                key, _, array = name.partition("/")
                _, names = self._places.setdefault(key, (file, []))
                names.append(array)
            self._read.add(path)

    def add(self, features: Mapping[str, Feature]) -> None:
        """All in one new file. ValueError for a feature without arrays, which could not be found again."""
        from safetensors.numpy import save_file

        if not features:
            return
        if empty := [key for key, feature in features.items() if not feature]:
            raise ValueError(f"A feature must hold an array, and {empty[0]} holds none.")
        path = self._folder / f"{uuid.uuid4().hex}{SUFFIX}"
        partial = path.with_suffix(".partial")
        arrays = {
            f"{key}/{name}": np.ascontiguousarray(array)
            for key, feature in features.items()
            for name, array in feature.items()
        }
        save_file(arrays, partial)
        partial.replace(path)
        self.refresh()

    def __getitem__(self, key: str) -> Feature:
        file, names = self._places[key]
        return {name: file.get_tensor(f"{key}/{name}") for name in names}

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
