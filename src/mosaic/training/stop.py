"""Leaving in good order: a signal is remembered, and all processes stop after the same step."""

import signal
import threading
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

from mosaic.training.parallel import World


@dataclass(kw_only=True, slots=True)
class Stop:
    """Remembers the first SIGTERM or SIGINT of a running loop; otherwise they end the run at once."""

    running: bool = False
    signal: int = 0
    before: dict[int, Any] = field(default_factory=dict)

    def agreed(self, world: World) -> bool:
        """Whether any process was told to stop; SIGTERM, the higher number, counts before SIGINT."""
        self.signal = world.highest(self.signal)
        return bool(self.signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self.before = {
                number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal or not self.running:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(0)
        self.signal = number
