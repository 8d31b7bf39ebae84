"""Two trivial stages and a source, quick to make in any process."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mosaic.curation.rows import Named, Outcome, Record, Work
from mosaic.curation.verdicts import Bounds
from mosaic.curation.worker import Plan, Step


class Counting:
    """Record i says "i"; from `most` on there are none."""

    def __init__(self, calls: Path | None = None, most: int = 1_000_000) -> None:
        self.calls, self.most = calls, most

    def __len__(self) -> int:
        return self.most

    def __call__(self, indices: Sequence[int]) -> list[tuple[Record, Outcome]]:
        note(self.calls, "prompts", *indices)
        made = [
            Record(caption=str(i), detailed_caption=f"a {i}", subjects=(Named(name="toy"),), seed=i)
            for i in indices
        ]
        return [(record, Outcome(id=record.id)) for record in made]


class Double:
    """A file of the number twice, a score of it; numbers in `bad` raise."""

    batch = 3

    def __init__(self, calls: Path | None = None, bad: Sequence[int] = (), pause: float = 0) -> None:
        self.calls, self.bad, self.pause = calls, bad, pause

    def __call__(self, works: Sequence[Work]) -> list[Outcome]:
        found = []
        for work in works:
            number = work.record.seed
            if number in self.bad:
                raise ValueError(f"{number} is no good")
            note(self.calls, "paint", number)
            time.sleep(self.pause)
            text = str(2 * number).encode()
            found.append(
                Outcome(
                    id=work.id,
                    files={"double.txt": text},
                    scores={"paint/value": number},
                    facts={"twice": 2 * number},
                )
            )
        return found


class Square:
    """A file of the square of what `Double` left."""

    batch = 2

    def __init__(self, calls: Path | None = None, pause: float = 0) -> None:
        self.calls, self.pause = calls, pause

    def __call__(self, works: Sequence[Work]) -> list[Outcome]:
        found = []
        for work in works:
            note(self.calls, "segment", work.record.seed)
            time.sleep(self.pause)
            square = int(work.files["double.txt"]) * work.facts["twice"]
            found.append(Outcome(id=work.id, files={"square.txt": str(square).encode()}))
        return found


class Deadly(Square):
    """A square whose process is killed at its first `times` calls, whichever process that is."""

    def __init__(self, deaths: Path, times: int) -> None:
        super().__init__()
        self.deaths, self.times = deaths, times

    def __call__(self, works: Sequence[Work]) -> list[Outcome]:
        seen = len(self.deaths.read_text().splitlines()) if self.deaths.exists() else 0
        if seen < self.times:
            note(self.deaths, os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(works)


def note(calls: Path | None, *what: object) -> None:
    """One line appended for each call, whatever process makes it."""
    if calls is not None:
        with calls.open("a") as file:
            file.write(" ".join(map(str, what)) + "\n")


def broken(sentence: str) -> None:
    raise ValueError(sentence)


def plan(
    folder: Path,
    *,
    samples: int = 10,
    shard: int = 4,
    calls: Path | None = None,
    bad: Sequence[int] = (),
    pause: float = 0,
    second: Callable[[], object] | None = None,
    thresholds: dict[str, Bounds] | None = None,
    retry: bool = False,
) -> Plan:
    steps = (
        Step(stage="prompts", make=partial(Counting, calls), kind="source"),
        Step(stage="paint", make=partial(Double, calls, tuple(bad), pause)),
        Step(stage="segment", make=second or partial(Square, calls, pause)),
    )
    return Plan(
        folder=folder, steps=steps, samples=samples, shard=shard, thresholds=thresholds or {}, retry=retry
    )


def pid() -> int:
    return os.getpid()
