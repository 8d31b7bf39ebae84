"""A line in which those who want a picture wait for each other, in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mosaic.studio.limits import MOST_WAITING


class Cancelled(Exception):
    """Raised where somebody waits or samples and `stop` is set."""


@dataclass(slots=True)
class Turns:
    """A line in which each waits for those before."""

    most: int = MOST_WAITING
    _line: deque[object] = field(default_factory=deque)
    _moved: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def turn(self, stop: threading.Event, ahead: Callable[[int], None]) -> Iterator[None]:
        """Wait, tell how many are ahead whenever that changes, then hold the place. ValueError if full."""
        ticket = object()
        with self._moved:
            if len(self._line) > self.most:
                raise ValueError(f"{self.most} pictures are waiting already: try again in a while.")
            self._line.append(ticket)
        try:
            self._wait(ticket, stop, ahead)
            yield
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    def _wait(self, ticket: object, stop: threading.Event, ahead: Callable[[int], None]) -> None:
        told = 0
        while not stop.is_set():
            with self._moved:
                place = self._line.index(ticket)
                if place and place == told:
                    self._moved.wait(0.1)
            if place == 0:
                return
            if place != told:
                ahead(place)
                told = place
        raise Cancelled
