"""What happens when somebody asks why: a point of a reference, a block, who owns what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from mosaic.studio.history import Entry, History
from mosaic.studio.layout import LOOKS, OWNERS, Parts
from mosaic.studio.pieces import legend, references, seen, told_owners
from mosaic.studio.telling import QUIET
from mosaic.studio.why import (
    Why,
    block_of,
    blocks_told,
    draw_look,
    draw_owners,
    middle,
    tell_look,
)

Updates = list[Any]
Where = tuple[int, float, float]  # reference, x, y


def opened(why: Why | None, entry: Entry) -> Updates:
    """The section for a picture: section, references, view, block, what is seen, the point."""
    if why is None:
        return closed()
    choices = blocks_told(why.blocks)
    where = (0, *middle(why.canvases[0]))
    with Image.open(entry.file) as picture:
        drawn = look_at(why, picture, where, None)
    block = gr.Dropdown(choices=choices, value=choices[0], visible=why.blocks > 0)
    return [gr.Column(visible=True), references(why), LOOKS, block, drawn, where]


def closed() -> Updates:
    """In the order of `opened`, for no picture."""
    return [gr.Column(visible=False), "", LOOKS, gr.skip(), "", None]


def look_at(why: Why, picture: Image.Image, where: Where, block: int | None) -> str:
    """Where a point looks, drawn and said."""
    reference, x, y = where
    look = why.look(reference, (x, y), block)
    return seen(draw_look(picture, why, reference, look), tell_look(why, reference, look))


def owned_by(why: Why, picture: Image.Image, block: int | None) -> str:
    """Who owns what, drawn and said."""
    shares = why.shares(block)
    drawn = seen(draw_owners(picture, why, block), told_owners(why.names, shares))
    return drawn + legend(why.names, shares)


@dataclass(frozen=True, slots=True)
class Asking:
    """The answers; they read what was kept with the picture."""

    history: History

    def pointed(self, event: gr.EventData, entry: str | None, view: str, block: str) -> Updates:
        """Somebody pointed at a reference: view, what is seen, the point. Passing over it keeps the view."""
        where = (int(event.reference), float(event.x), float(event.y))
        if view == OWNERS and not event.meant:
            return [gr.skip(), gr.skip(), where]
        return [LOOKS, self.drawn(entry, LOOKS, block, where), where]

    def drawn(self, entry: str | None, view: str, block: str, where: Where | None) -> Any:
        """What is to be seen of a picture."""
        if entry is None or where is None:
            return gr.skip()
        found = self.history.entry(entry)
        why = self.history.why(found)
        if why is None:
            return gr.skip()
        with Image.open(found.file) as picture:
            if view == OWNERS:
                return owned_by(why, picture, block_of(block))
            return look_at(why, picture, where, block_of(block))


def wire(parts: Parts, answers: Asking) -> None:
    """Events of the section."""
    result = parts.result
    quiet = QUIET | {"trigger_mode": "always_last"}
    result.references.click(
        answers.pointed,
        [parts.entry, result.view, result.block],
        [result.view, result.seen, parts.point],
        **quiet,
    )
    gr.on(
        [result.view.input, result.block.input],
        answers.drawn,
        [parts.entry, result.view, result.block, parts.point],
        result.seen,
        **quiet,
    )
