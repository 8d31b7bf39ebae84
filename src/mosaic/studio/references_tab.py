"""What happens to the references on the page: dropped, named, cut out, kept, removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from mosaic.generate import MOST_REFERENCES
from mosaic.studio.cards import Card, add, renamed, toggled
from mosaic.studio.layout import Parts
from mosaic.studio.library import Library
from mosaic.studio.limits import check_count
from mosaic.studio.pieces import lacking, note, strip, thumb
from mosaic.studio.shelf import Shelf
from mosaic.studio.telling import QUIET
from mosaic.studio.toys import PROMPT, toy_cards

Updates = list[Any]


@dataclass(frozen=True, slots=True)
class References:
    """The answers; each returns the page's new values in the order `wire` names."""

    shelf: Shelf
    library: Library

    def dropped(
        self, files: list[str] | None, cards: list[Card], prompt: str, *names: str
    ) -> Iterator[Updates]:
        """Each file a card as soon as it is cut out; refusals are told together."""
        refused: list[str] = []
        for have, refusal in add(renamed(cards, names), files or [], self.shelf):
            refused += [refusal] if refusal else []
            yield [None, *page(have, prompt, note(" ".join(refused)))]
        if not files:
            yield [gr.skip()] * (1 + PAGE)

    def toys(self) -> Updates:
        """Four toys and a sentence, in place of what was there."""
        cards = toy_cards(self.shelf)
        return [PROMPT, *page(cards, PROMPT)]

    def picked(self, subject: str | None, cards: list[Card], prompt: str, *names: str) -> Updates:
        """A subject of the library beside the others; the menu goes back to nothing."""
        have = renamed(cards, names)
        if not subject or subject in [card.subject for card in have]:  # the same picture twice adds nothing
            return [None, *[gr.skip()] * PAGE]
        try:
            check_count(len(have), 1)
            return [None, *page([*have, Card.of(self.library.get(subject))], prompt)]
        except ValueError as error:
            return [None, *page(have, prompt, note(str(error)))]

    def kept(self, k: int, cards: list[Card], prompt: str, *names: str) -> Updates:
        """Store a card's subject in the library, or forget it where it is kept already."""
        have = renamed(cards, names)
        try:
            if (subject := have[k].subject) is not None:
                self.library.remove(subject)
                have[k], told = replace(have[k], subject=None), "is forgotten"
            else:
                have[k], told = Card.of(self.library.keep(have[k].given)), "is in the library now"
        except ValueError as error:
            return [self.menu(), *page(have, prompt, note(str(error)))]
        return [self.menu(), *page(have, prompt, note(f"“{have[k].name}” {told}.", "status"))]

    def menu(self) -> Any:
        """The library's choices; no menu without any."""
        kept = [(one.name, one.subject or "") for one in self.library.subjects()]
        return gr.Dropdown(choices=kept, value=None, visible=bool(kept))

    def removed(self, k: int, cards: list[Card], prompt: str, *names: str) -> Updates:
        """The cards without one."""
        return page([card for i, card in enumerate(renamed(cards, names)) if i != k], prompt)

    def cut(self, k: int, on: bool, cards: list[Card], prompt: str, *names: str) -> Updates:
        """A card's cut-out on or off."""
        have = renamed(cards, names)
        if k >= len(have):
            return [gr.skip()] * PAGE
        have[k] = toggled(have[k], on, self.shelf)
        return page(have, prompt)


def named(cards: list[Card], prompt: str, *names: str) -> Updates:
    """While names or the prompt are typed: frames and mentions follow; what is typed is left alone.

    The cards are not written: they take the names of the fields wherever they are used.
    """
    have = renamed(cards, names)
    thumbs = [thumb(have, k) if k < len(have) else gr.skip() for k in range(MOST_REFERENCES)]
    names_now = [card.name for card in have]
    return [strip(prompt, names_now), lacking(prompt, names_now), *thumbs]


PAGE = 5 * MOST_REFERENCES + 5


def page(cards: Sequence[Card], prompt: str, told: str = "") -> Updates:
    """All that shows the cards: state, strip, what it lacks, note, button, then five values a card."""
    cards, names = list(cards), [card.name for card in cards]
    updates: Updates = [
        cards,
        strip(prompt, names),
        lacking(prompt, names),
        told,
        gr.Button(visible=bool(cards)),
    ]
    for k in range(MOST_REFERENCES):
        if k < len(cards):
            keep = gr.Button("Keep" if cards[k].subject is None else "Forget")
            updates += [gr.Column(visible=True), thumb(cards, k), cards[k].name, cards[k].cutout, keep]
        else:
            updates += [gr.Column(visible=False), "", "", False, gr.skip()]
    return updates


def shown_in(parts: Parts) -> list[Any]:
    """What `page` fills, in its order."""
    refs, settings = parts.references, parts.settings
    return [parts.cards, settings.strip, settings.lacks, refs.told, refs.clear, *refs.shown]


def wire(parts: Parts, answers: References) -> None:
    """Events of the left column's upper half."""
    refs, prompt, outputs = parts.references, parts.settings.prompt, shown_in(parts)
    now = [parts.cards, prompt, *refs.names]
    busy: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    on_drop = busy | {"show_progress_on": refs.drop}
    refs.drop.upload(answers.dropped, [refs.drop, *now], [refs.drop, *outputs], **on_drop)
    refs.toys.click(answers.toys, None, [prompt, *outputs], **on_drop)
    refs.library.select(answers.picked, [refs.library, *now], [refs.library, *outputs], **QUIET)
    refs.clear.click(lambda text: page([], text), prompt, outputs, **QUIET)
    gr.on(
        [prompt.change, *(card.name.change for card in refs.cards)],
        named,
        now,
        [parts.settings.strip, parts.settings.lacks, *(card.thumb for card in refs.cards)],
        trigger_mode="always_last",
        **QUIET,
    )
    for k, card in enumerate(refs.cards):
        at = gr.State(k)
        card.remove.click(answers.removed, [at, *now], outputs, **QUIET)
        card.keep.click(answers.kept, [at, *now], [refs.library, *outputs], **QUIET)
        on_card = busy | {"show_progress_on": card.thumb}
        card.cutout.input(answers.cut, [at, card.cutout, *now], outputs, **on_card)
