"""Steps that follow upon opening a dataset: nothing is to be filled where that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from mosaic.studio.data.desk import Desk
from mosaic.studio.telling import told


def if_open(fill: Callable[[Desk], Any], outputs: int) -> Callable[[Desk], Any]:
    """The step, with `outputs` things left as they are while no dataset is open."""

    @told
    def filled(now: Desk) -> Any:
        return [gr.skip()] * outputs if now.path is None else fill(now)

    return filled
