"""What a language model was paid: a file of JSON lines, one a reply."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Several threads and processes may add to one file at once. Replies from a cache are not in it."""

    path: Path
    model: str
    price: tuple[float, float] = (0.0, 0.0)  # of a million tokens in, and out

    def add(self, request: str, tokens_in: int, tokens_out: int, problem: str = "") -> None:
        """Append a reply to the request of a hash; `problem` says why it could not be used ("": it could)."""
        cost = (tokens_in * self.price[0] + tokens_out * self.price[1]) / 1e6
        line = {
            "time": round(time.time(), 3),
            "model": self.model,
            "request": request,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "cost": cost,
            "problem": problem[:200],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:  # in one write, so that lines of several processes do not mix
            os.write(file, (json.dumps(line) + "\n").encode())
        finally:
            os.close(file)


def total(path: Path) -> dict[str, float]:
    """replies, problems, tokens_in, tokens_out and cost of a ledger; all 0 where there is none."""
    sums = dict.fromkeys(("replies", "problems", "tokens_in", "tokens_out", "cost"), 0.0)
    for line in _lines(path):
        sums["replies"] += 1
        sums["problems"] += bool(line["problem"])
        for name in ("tokens_in", "tokens_out", "cost"):
            sums[name] += line[name]
    return sums


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines; one that a full disk or a power cut broke off is left out."""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except ValueError:
            continue
