"""The processes of one evaluation, started by `accelerate launch` or torchrun; one where neither did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mosaic import launched

PATIENCE = timedelta(hours=12)  # the first process may have data to fetch, another the slower pictures
HOW = "start it with torchrun --nproc-per-node N -m mosaic.cli evaluate …"


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many this one is. Its methods wait for all, which must all call them."""

    rank: int = 0
    world: int = 1
    state: Any = None  # accelerate's

    @staticmethod
    @contextmanager
    def here() -> Iterator[Processes]:
        """As the launcher's environment says. ValueError where fewer came than were asked for."""
        state = launched.join(HOW, PATIENCE)
        if state is None:
            yield Processes()
            return
        try:
            yield Processes(state.process_index, state.num_processes, state)
        finally:
            state.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this one reports."""
        return self.rank == 0

    @property
    def device(self) -> str | None:
        """Its own GPU; None where the model may choose."""
        if self.state is None or self.state.device.type == "cpu":
            return None
        return str(self.state.device)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does this, then the others, who find what it left."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Until all are here."""
        if self.state is not None:
            self.state.wait_for_everyone()
