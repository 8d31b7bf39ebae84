"""What a person reads when a step cannot be done: one sentence, and the page stays as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any, ParamSpec, TypeVar

from mosaic.errors import explain

# of a step that is none of the HTTP interface, and says itself how far it is
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
P = ParamSpec("P")
R = TypeVar("R")


def told(step: Callable[P, R]) -> Callable[P, R]:
    """The step, with a user's mistake as a message on the page instead of a traceback."""
    import gradio as gr

    @functools.wraps(step)
    def tried(*values: P.args, **named: P.kwargs) -> R:
        try:
            return step(*values, **named)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            sentence = explain(error)
            if sentence is None:
                raise
            raise gr.Error(escape(sentence), duration=8, print_exception=False) from error

    return tried
