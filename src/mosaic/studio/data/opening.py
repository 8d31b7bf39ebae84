"""How the steps of this tab run: in turn where they move the desk, not at all where no dataset is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from mosaic.studio.data.desk import Desk
from mosaic.studio.telling import QUIET, told

# Of every event that gives back a desk: each begins with the desk that the one before it left. Side by side,
# the slower would put its older desk in the place of the other's.
LANE: dict[str, Any] = {"concurrency_id": "desk", "concurrency_limit": 1}
IN_TURN = QUIET | LANE


def if_open(fill: Callable[[Desk], Any], outputs: int) -> Callable[[Desk], Any]:
    """The step, with `outputs` things left as they are while no dataset is open."""

    @told
    def filled(now: Desk) -> Any:
        return [gr.skip()] * outputs if now.path is None else fill(now)

    return filled
