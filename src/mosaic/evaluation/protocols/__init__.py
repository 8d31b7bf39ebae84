"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mosaic.evaluation.downloading import data_of
from mosaic.evaluation.protocols import dreambench, lamicbench, many, toybox, xversebench
from mosaic.evaluation.records import Benchmark


def _found(name: str, read: Callable[..., Benchmark]) -> Callable[..., Benchmark]:
    """The reader, given the folder that was named or the one that is fetched where none was."""

    def read_there(data: Path | None = None, **choices: Any) -> Benchmark:
        return read(data_of(name, data), **choices)

    return read_there


READERS: dict[str, Callable[..., Benchmark]] = {
    "dreambench": dreambench.read,
    "xversebench": xversebench.read,
    "lamicbench": lamicbench.read,
    "many": many.read,
    "toybox": toybox.read,
}
# each takes data (None: fetched once), corrected, limit and work, see dreambench.read
BENCHMARKS = {name: _found(name, read) for name, read in READERS.items()}
