"""Asks → features → rows: every picture once a model, in batches read ahead, taken up where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Extractor, Feature, Features, Metric
from mosaic.evaluation.rows import Row
from mosaic.evaluation.store import FeatureStore
from mosaic.pictures import file_hash
from mosaic.sample import Picture

READERS = 4  # threads; Pillow decodes outside the interpreter's lock
AHEAD = 3  # batches read before they are needed
KEEP_EVERY = 20.0  # seconds of measuring that an interruption may cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """How one role's measuring went, in one process."""

    role: str
    asks: int  # of this run; those found in the store are not in it
    seconds: float
    measuring: float  # of these, within the model: encoder-bound if it is most of them


class Lookup(Mapping[Ask, Feature]):
    """The features of asks that have been measured."""

    def __init__(self, store: FeatureStore, scorers: Scorers) -> None:
        self._store, self._scorers = store, scorers
        self._known: dict[Ask, Feature] = {}

    def __getitem__(self, ask: Ask) -> Feature:
        if ask not in self._known:
            self._known[ask] = self._store[key_of(ask, self._scorers)]
        return self._known[ask]

    def __iter__(self) -> Iterator[Ask]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def asks_of(metrics: Sequence[Metric], cases: Iterable[Case]) -> dict[str, list[Ask]]:
    """By role, each once, in the order in which they are first asked."""
    wanted: dict[str, dict[Ask, None]] = {}
    for case in cases:
        for metric in metrics:
            for ask in metric.asks(case):
                wanted.setdefault(ask.role, {})[ask] = None
    return {role: list(asks) for role, asks in wanted.items()}


def missing(asks: Iterable[Ask], scorers: Scorers, store: FeatureStore) -> dict[str, Ask]:
    """By key, those the store has not; equal pictures under two names are one."""
    keyed = {key_of(ask, scorers): ask for ask in asks}
    return {key: ask for key, ask in keyed.items() if key not in store}


def share(pending: Mapping[str, Ask], rank: int, world: int) -> dict[str, Ask]:
    """What one of `world` processes measures."""
    return dict(islice(pending.items(), rank, None, world))


def measure(
    role: str,
    pending: Mapping[str, Ask],
    scorers: Scorers,
    store: FeatureStore,
    advance: Callable[[int], None] = lambda done: None,
) -> Spent:
    """Measure what is pending and keep it; `advance` is told after each batch how many are done."""
    began, measuring = time.monotonic(), 0.0
    extractor = scorers.load(role)
    fresh: dict[str, Feature] = {}
    kept = time.monotonic()
    try:
        for keys, pictures, texts in _read_ahead(pending, extractor):
            start = time.monotonic()
            fresh |= zip(keys, extractor(pictures, texts), strict=True)
            measuring += time.monotonic() - start
            if time.monotonic() - kept > KEEP_EVERY:
                store.add(fresh)
                fresh, kept = {}, time.monotonic()
            advance(len(keys))
    finally:
        store.add(fresh)
    return Spent(role=role, asks=len(pending), seconds=time.monotonic() - began, measuring=measuring)


Batch = tuple[Sequence[str], Sequence[Picture | None], Sequence[str]]


def _read_ahead(pending: Mapping[str, Ask], extractor: Extractor) -> Iterator[Batch]:
    """Batches of (keys, pictures, texts), a few read by threads before they are asked for."""
    with ThreadPoolExecutor(READERS) as threads:
        waiting: deque[tuple[Sequence[tuple[str, Ask]], list[Future[Picture | None]]]] = deque()
        everything = iter(pending.items())
        while some := tuple(islice(everything, extractor.batch)):
            waiting.append((some, [threads.submit(_read, ask) for _, ask in some]))
            if len(waiting) > AHEAD:
                yield _gathered(*waiting.popleft())
        while waiting:
            yield _gathered(*waiting.popleft())


def _gathered(some: Sequence[tuple[str, Ask]], pictures: Sequence[Future[Picture | None]]) -> Batch:
    return [key for key, _ in some], [one.result() for one in pictures], [ask.text for _, ask in some]


def _read(ask: Ask) -> Picture | None:
    return None if ask.picture is None else ask.picture.read()


def rows_of(metrics: Sequence[Metric], cases: Iterable[Case], features: Features) -> list[Row]:
    """All scores of all cases."""
    return [
        Row.of(case, metric.column, score)
        for case in cases
        for metric in metrics
        for score in metric.scores(case, features)
    ]


def key_of(ask: Ask, scorers: Scorers) -> str:
    """Of what is looked at, by content, and of the models that look."""
    picture = ask.picture and (_hash(ask.picture.path), ask.picture.quadrant)
    told = json.dumps([ask.role, scorers.fingerprint(ask.role), picture, ask.text])
    return hashlib.sha256(told.encode()).hexdigest()


def _hash(path: Path) -> str:
    seen = path.stat()
    return _hash_of(path, seen.st_mtime_ns, seen.st_size)


@cache
def _hash_of(path: Path, modified: int, size: int) -> str:
    return file_hash(path)
