"""In which order samples are seen: by a seed, for ever, and such that it can be taken up anywhere.

An epoch passes over the shards in a seeded order. Its samples, in that order, are cut into windows; a window
is shuffled whole. Each sample then waits in its bucket (one K, one aspect) until there are as many as a batch
has. The order is of places, not of pictures: every process of a run computes the same one, whatever their
number, and its state is a few numbers, the places that wait, and a digest of each collection seen so far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from mosaic.data.index import Collection, Row
from mosaic.data.problems import Problems

SHARDS, WINDOW, SUBJECTS = 1, 2, 3  # what a generator is for
AGAIN = "put them back, or start in another folder with model.lora set to what was learnt"


class Place(NamedTuple):
    """Where a sample of the stream lies, and in which epoch it is seen."""

    epoch: int
    shard: int  # number of the collection; endless toys: K
    row: int


class Order:
    """Endless batches of places, each of one bucket. In an epoch each sample is drawn once.

    bucket: what samples must share to be of one batch; it may refuse a row with a ValueError. Problems of an
    index are told when it is first read. What still waits when an epoch ends waits on in the next one.
    """

    def __init__(
        self,
        collections: Sequence[Collection],
        *,
        seed: int,
        batch: int,
        window: int,
        bucket: Callable[[str, Row], str],
        problems: Problems,
    ) -> None:
        self.collections, self.seed, self.batch, self.window = collections, seed, batch, window
        self.bucket, self.problems = bucket, problems
        self.epoch, self.taken = 0, 0
        self.start, self.stop = (0, 0), (0, 0)  # (shards, samples of the next) before, after the window
        self.places: list[Place] = []  # of the window, in the order they are drawn
        self.buckets: list[str] = []  # of these places
        self.waiting: dict[str, list[Place]] = {}
        self.met: dict[int, str] = {}  # number of a collection → digest of its samples when first laid out

    def __iter__(self) -> Iterator[list[Place]]:
        return self

    def __next__(self) -> list[Place]:
        while not (full := [name for name, places in self.waiting.items() if len(places) >= self.batch]):
            self._draw()
        places = self.waiting.pop(min(full))
        if places[self.batch :]:
            self.waiting[min(full)] = places[self.batch :]
        return places[: self.batch]

    def state_dict(self) -> dict[str, Any]:
        """The position as JSON; one loaded with other batches or buckets goes on with the same samples."""
        return {
            "collections": self._digest(),
            "samples": {str(number): digest for number, digest in sorted(self.met.items())},
            "seed": self.seed,
            "epoch": self.epoch,
            "shard": self.start[0],
            "offset": self.start[1],
            "window": len(self.places),
            "taken": self.taken,
            "waiting": {name: [list(place) for place in places] for name, places in self.waiting.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError if the state belongs to other shards or samples; those not seen yet may be any."""
        if state["collections"] != self._digest():
            raise ValueError(f"data.path names other shards than when this run was saved: {AGAIN}.")
        self.problems.recall({collection.name for collection in self.collections})
        self.seed, self.epoch = state["seed"], state["epoch"]
        self.met = {int(number): digest for number, digest in state.get("samples", {}).items()}
        places = [Place(*place) for waiting in state["waiting"].values() for place in waiting]
        for number in sorted({place.shard for place in places}):
            self._lay_out(number)
        self.waiting = {}
        for place in places:
            self.waiting.setdefault(self._bucket(place), []).append(place)
        self._open((state["shard"], state["offset"]), state["window"])
        self.taken = state["taken"]

    def row(self, place: Place) -> Row:
        """The row of a place."""
        return self.collections[place.shard].index().rows[place.row]

    def stand_ins(self, place: Place) -> Iterator[Place]:
        """Places of the same bucket: the next rows of the shard, then those of the other shards."""
        wanted = self._bucket(place)
        count = len(self.collections)
        for number in ((place.shard + i) % count for i in range(count)):
            rows = range(len(self._rows(number)))
            after = place.row + 1 if number == place.shard else 0
            for row in chain(rows[after:], rows[:after]):
                other = Place(place.epoch, number, row)
                if other != place and self._bucket(other) == wanted:
                    yield other

    def _draw(self) -> None:
        """Move the next sample of the window to its bucket."""
        while self.taken >= len(self.places):
            self._next_window()
        place, bucket = self.places[self.taken], self.buckets[self.taken]
        self.taken += 1
        self.waiting.setdefault(bucket, []).append(place)

    def _next_window(self) -> None:
        if self.stop[0] >= len(self.collections):
            self.epoch, self.stop = self.epoch + 1, (0, 0)
        self._open(self.stop, self.window)
        if not self.places and self.start == (0, 0):
            raise ValueError("data.path holds no sample that can be used.")

    def _open(self, start: tuple[int, int], length: int) -> None:
        """Lay out the shuffled window of up to `length` samples from `start` on."""
        order = self._generator(SHARDS, self.epoch).permutation(len(self.collections)).tolist()
        (shard, offset), places = start, list[Place]()
        while shard < len(order) and len(places) < length:
            rows = self._lay_out(order[shard])
            end = min(len(rows), offset + length - len(places))
            places += [Place(self.epoch, order[shard], row) for row in range(offset, end)]
            shard, offset = (shard + 1, 0) if end == len(rows) else (shard, end)
        shuffled = self._generator(WINDOW, self.epoch, *start).permutation(len(places)).tolist()
        self.places, self.taken = [places[i] for i in shuffled], 0
        self.buckets = [self._bucket(place) for place in self.places]
        self.start, self.stop = start, (shard, offset)

    def _lay_out(self, number: int) -> tuple[Row, ...]:
        """The rows of a collection. ValueError if it had others when this run first laid it out."""
        rows, collection = self._rows(number), self.collections[number]
        digest = collection.index().digest
        if (before := self.met.setdefault(number, digest)) != digest:
            raise ValueError(
                f"{collection.name} holds other samples ({digest.split()[0]}) than when this run first "
                f"read it ({before.split()[0]}): {AGAIN}."
            )
        return rows

    def _rows(self, number: int) -> tuple[Row, ...]:
        collection = self.collections[number]
        index = collection.index()
        for key, problem in index.problems:
            self.problems.tell(collection.name, key, problem)
        return index.rows

    def _bucket(self, place: Place) -> str:
        return self.bucket(self.collections[place.shard].name, self.row(place))

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def _digest(self) -> str:
        names = "\n".join(collection.name.rpartition("/")[2] for collection in self.collections)
        return f"{len(self.collections)} {hashlib.sha256(names.encode()).hexdigest()[:16]}"


class EndlessOrder:
    """Batches of places in an infinite world: how many subjects is drawn a batch, each sample is new."""

    def __init__(self, subjects: Mapping[int, float], *, seed: int, batch: int) -> None:
        self.subjects = {k: weight for k, weight in sorted(subjects.items()) if weight}
        self.seed, self.batch = seed, batch
        self.drawn = 0
        self.taken = dict.fromkeys(self.subjects, 0)

    def __iter__(self) -> Iterator[list[Place]]:
        return self

    def __next__(self) -> list[Place]:
        weights = np.array(list(self.subjects.values()))
        generator = np.random.default_rng([self.seed, SUBJECTS, self.drawn])
        k = int(generator.choice(list(self.subjects), p=weights / weights.sum()))
        first = self.taken[k]
        self.drawn, self.taken[k] = self.drawn + 1, first + self.batch
        return [Place(0, k, row) for row in range(first, first + self.batch)]

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been drawn, and how many samples of each K."""
        return {"seed": self.seed, "drawn": self.drawn, "taken": {str(k): n for k, n in self.taken.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; a K that was not drawn before starts at its first sample."""
        self.seed, self.drawn = state["seed"], state["drawn"]
        self.taken = {k: state["taken"].get(str(k), 0) for k in self.subjects}
