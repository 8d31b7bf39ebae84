"""Corrupt samples: told, written down with their shard and key, and skipped up to a limit."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Collection
from pathlib import Path


class Problems:
    """Counts each corrupt sample once; more than `limit` is an error. Threads may share it.

    log: a file that gets a line of JSON a skipped sample: shard, key, problem. speaks: False for a process
    that leaves to another what all of them find.
    """

    def __init__(self, limit: int, log: Path | None = None, speaks: bool = True) -> None:
        self.limit, self.log, self.speaks = limit, log, speaks
        self.seen: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def tell(self, shard: str, key: str, problem: str, found_by_all: bool = True) -> None:
        """A sample (key "": a whole shard) that cannot be used. ValueError once the limit is passed."""
        with self._lock:
            is_new = (shard, key) not in self.seen
            self.seen.add((shard, key))
            if is_new and len(self.seen) <= self.limit and (self.speaks or not found_by_all):
                self._write(shard, key, problem)
        if len(self.seen) > self.limit:
            count = f"{len(self.seen)} corrupt sample{'s' * (len(self.seen) > 1)}"
            raise ValueError(
                f"{count}, data.corrupt allows {self.limit}; the last in {shard}: {problem.rstrip('.')}. "
                "Mend it, or raise data.corrupt; taking it out is for runs that have not begun."
            )

    def recall(self, shards: Collection[str]) -> None:
        """Count what the log says was skipped of these shards: the limit is a run's, not a resume's."""
        if self.log is None or not self.log.exists():
            return
        lines = map(json.loads, self.log.read_text(encoding="utf-8").splitlines())
        self.seen |= {(line["shard"], line["key"]) for line in lines if line["shard"] in shards}

    def _write(self, shard: str, key: str, problem: str) -> None:
        print(f"corrupt, skipped: {shard}: {problem}", file=sys.stderr)
        if self.log is not None:
            line = json.dumps({"shard": shard, "key": key, "problem": problem}, ensure_ascii=False)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
