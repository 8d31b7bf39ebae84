"""Batches of one K from a cache of latents, in a seeded order that can be taken up where it was left.

B batch, K references, P points, h × w target latent, rh × rw reference latent.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from mosaic.training.latents import TENSORS, shard_counts, shard_path
from mosaic.training.recipe import DataSection


@dataclass(frozen=True, kw_only=True, slots=True)
class Latents:
    """A batch of one K: scaled latents, supervised token pairs and captions."""

    target: Tensor  # (B, 16, h, w)
    references: Tensor  # (B, K, 16, rh, rw)
    points_reference: Tensor  # long (B, K, P), token within its own reference
    points_target: Tensor  # long (B, K, P)
    points_valid: Tensor  # bool (B, K, P)
    captions: list[str]
    subjects: Tensor | None = None  # long (B, K), whom a reference shows; None: each its own

    def without_references(self) -> "Latents":
        none = {name: getattr(self, name)[:, :0] for name in TENSORS if name != "target"}
        return replace(self, **none, subjects=None)


class Source(Protocol):
    """An endless stream of batches of one process, all of one K and size at a time on every process.

    Its state is that of the batch of all processes, equal on each of them.
    """

    def __next__(self) -> Latents: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def check_source(state: dict[str, Any], source: str) -> None:
    """ValueError if a state is of another data.source; one saved before states said so is taken as it is."""
    before = state.get("source", source)
    if before != source:
        raise ValueError(
            f'data.source is "{source}", and was "{before}" when this run was saved: put it back, '
            "or start in another folder with model.lora set to what was learnt."
        )


class LatentStream:
    """An endless, seeded stream of batches over a cache; its state is how far each K has been read.

    Sample n of a K is element n mod N of the permutation of epoch n div N, so nothing is dropped or repeated
    within an epoch, whatever the batch size. Process `rank` of `world` takes its share of each batch of all
    processes, which is drawn alike on all of them.
    """

    def __init__(
        self, folder: Path, data: DataSection, batch: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.data, self.batch, self.seed = data, batch, seed
        self.rank, self.world = rank, world
        self.shards = {
            k: [Shard(shard_path(folder, k, i)) for i in range(n)] for k, n in shard_counts(data).items()
        }
        self.drawn = 0
        self.taken = dict.fromkeys(self.shards, 0)

    def state_dict(self) -> dict[str, Any]:
        taken = {str(k): n for k, n in self.taken.items()}
        return {"source": self.data.source, "drawn": self.drawn, "taken": taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_source(state, self.data.source)
        self.drawn = state["drawn"]
        self.taken = {k: state["taken"].get(str(k), 0) for k in self.shards}

    def captions(self) -> list[str]:
        """Every caption it can give."""
        kinds = ["captions", "detailed_captions"] if self.data.detailed else ["captions"]
        told = {
            caption
            for shards in self.shards.values()
            for shard in shards
            for kind in kinds
            for caption in shard.captions[kind]
        }
        return sorted(told)

    def __iter__(self) -> Iterator[Latents]:
        return self

    def __next__(self) -> Latents:
        generator = np.random.default_rng([self.seed, self.drawn])
        counts = sorted(self.shards)
        weights = np.array([self.data.subjects[k] for k in counts])
        subjects = int(generator.choice(counts, p=weights / weights.sum()))
        first = self.taken[subjects] + self.rank * self.batch
        rows = [self._row(subjects, first + i) for i in range(self.batch)]
        self.drawn += 1
        self.taken[subjects] += self.world * self.batch
        captions = [row.pop("caption") for row in rows]
        return Latents(
            captions=captions,
            subjects=torch.arange(subjects).expand(self.batch, -1),
            **{name: torch.stack([row[name] for row in rows]) for name in TENSORS},
        )

    def _row(self, subjects: int, position: int) -> dict[str, Any]:
        generator = np.random.default_rng([self.seed, subjects, position, 1])
        shards, size = self.shards[subjects], self.data.shard
        total = size * len(shards)
        index = int(_permutation(self.seed, subjects, position // total, total)[position % total])
        row = shards[index // size].row(index % size, detailed=generator.random() < self.data.detailed)
        chosen = _choose_points(row["points_valid"], self.data.points, generator)
        for name in ("points_reference", "points_target", "points_valid"):
            row[name] = torch.gather(row[name], 1, chosen)
        return row


class Shard:
    """One shard, memory-mapped: side-by-side runs share its pages."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in TENSORS}
            self.captions = json.loads(file.metadata()["captions"])

    def row(self, index: int, detailed: bool) -> dict[str, Any]:
        row: dict[str, Any] = {name: tensor[index] for name, tensor in self.tensors.items()}
        row["points_reference"] = row["points_reference"].long()
        row["points_target"] = row["points_target"].long()
        kind = "detailed_captions" if detailed else "captions"
        return row | {"caption": self.captions[kind][index]}


_PERMUTATIONS: dict[tuple[int, ...], np.ndarray[Any, np.dtype[np.int64]]] = {}


def _permutation(*key: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order of an epoch: key = (seed, subjects, epoch, samples); the last few are kept."""
    if key not in _PERMUTATIONS:
        while len(_PERMUTATIONS) >= 16:
            _PERMUTATIONS.pop(next(iter(_PERMUTATIONS)))
        _PERMUTATIONS[key] = np.random.default_rng(key[:-1]).permutation(key[-1])
    return _PERMUTATIONS[key]


def _choose_points(valid: Tensor, points: int, generator: np.random.Generator) -> Tensor:
    """Indices (K, points) of valid points in random order, then of padding, in `valid` (K, P)."""
    subjects, stored = valid.shape
    keys = generator.random((subjects, stored)) + ~valid.numpy()
    order = torch.from_numpy(keys.argsort(1))[:, :points]
    if stored >= points:
        return order
    last = order[:, -1:]  # a shard's rows all end in padding
    return torch.cat([order, last.expand(subjects, points - stored)], 1)
