"""What happens when a picture is asked for, while it is made, and when an old one is taken up again."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from mosaic.errors import explain
from mosaic.studio.cards import Card, renamed
from mosaic.studio.facts import Facts, size_of
from mosaic.studio.history import Entry
from mosaic.studio.layout import AS_TRAINED, TO_RESULT, Parts
from mosaic.studio.making import Event, Failed, Loading, Made, Maker, Reading, Stepped, Stopped, Waiting, Wish
from mosaic.studio.pieces import history, note, progress, seconds
from mosaic.studio.references_tab import PAGE, page, shown_in
from mosaic.studio.telling import QUIET
from mosaic.studio.why_tab import closed, opened

Updates = list[Any]
MOST_SEED = 2**31 - 1  # a die's, short enough to be typed


@dataclass(frozen=True, slots=True)
class Jobs:
    """Pictures being made, by who asked: what stops them."""

    stops: dict[str, threading.Event] = field(default_factory=dict)

    def begin(self, key: str) -> threading.Event:
        """ValueError if one is being made for the same page already."""
        if key in self.stops:
            raise ValueError("A picture is being made for this page already: wait for it or cancel it.")
        self.stops[key] = threading.Event()
        return self.stops[key]

    def cancel(self, key: str | None) -> bool:
        """Stop what is made for somebody; False if there is nothing."""
        stop = self.stops.get(key or "")
        if stop is not None:
            stop.set()
        return stop is not None

    def end(self, key: str) -> None:
        self.stops.pop(key, None)


@dataclass(frozen=True, slots=True)
class Making:
    """The answers about pictures."""

    maker: Maker
    facts: Facts
    jobs: Jobs = field(default_factory=Jobs)

    def generate(
        self,
        request: gr.Request,
        cards: list[Card],
        before: str | None,
        prompt: str,
        size: str,
        seed: float | None,
        steps: float,
        guidance: float,
        visibility: str,
        blocks: bool,
        *names: str,
    ) -> Iterator[Updates]:
        """The page's right column, event by event; see `wire` for the order of the values."""
        key = request.session_hash or ""
        try:
            wish = Wish(
                prompt=prompt,
                references=tuple(card.given for card in renamed(cards, names)),
                seed=int(seed or 0),
                steps=int(steps),
                size=size_of(size),
                guidance=float(guidance),
                visibility=None if visibility == AS_TRAINED else visibility,
                blocks=blocks or None,
            )
            wish.check()
            stop = self.jobs.begin(key)
        except ValueError as error:
            yield [*[gr.skip()] * 3, note(explain(error) or str(error)), *[gr.skip()] * KEPT]
            return
        try:
            yield [*buttons(True), gr.skip(), progress("Asked …"), *[gr.skip()] * KEPT]
            for event in self.maker.make(wish, stop):
                yield self.told(event, before)
        finally:
            stop.set()
            self.jobs.end(key)

    def cancel(self, request: gr.Request) -> None:
        """Stop what this page is waiting for."""
        self.jobs.cancel(request.session_hash)

    def told(self, event: Event, before: str | None = None) -> Updates:
        """One event as the page's values. before: the entry shown, which comes back where none is made."""
        keep = [gr.skip()] * KEPT
        if isinstance(event, Stepped):
            share, left = event.step / event.steps, seconds(event.left)
            text = (
                f"Step {event.step} of {event.steps}, {left} to go"
                if event.step < event.steps
                else "The last touch …"
            )
            picture = (
                gr.skip() if event.preview is None else gr.Image(value=event.preview, alt_text="On its way")
            )
            return [gr.skip(), gr.skip(), picture, progress(text, share), *keep]
        if isinstance(event, Made):
            return [*buttons(False), *self.shown(event)]
        if isinstance(event, Stopped):
            return [*buttons(False), self.picture(before), note("Cancelled.", "status"), *keep]
        if isinstance(event, Failed):
            return [*buttons(False), self.picture(before), note(event.sentence), *keep]
        return [gr.skip(), gr.skip(), gr.skip(), progress(words_of(event)), *keep]

    def picture(self, entry: str | None) -> Any:
        """An entry's picture, or none in place of a preview."""
        try:
            found = self.maker.history.entry(entry or "")
        except ValueError:
            return gr.Image(value=None)
        return gr.Image(value=str(found.file), alt_text=found.caption)

    def shown(self, made: Made) -> Updates:
        told = f"Made in {seconds(made.seconds)} with seed {made.entry.recipe['seed']}."
        notes = "".join(note(text, "status") for text in made.notes)
        picture = gr.Image(value=str(made.entry.file), alt_text=made.entry.caption)
        return [
            picture,
            note(told, "status done") + notes,
            made.entry.name,
            self.pictures(),
            *opened(made.why, made.entry),
        ]

    def pictures(self) -> str:
        """The newest of the history."""
        return history(self.maker.history.entries())

    def restored(self, event: gr.EventData) -> Updates:
        """A picture of the history with its settings and references; see `wire` for the order."""
        kept = self.maker.history
        try:
            entry = kept.entry(str(event.entry))
            cards = [Card.of(given) for given in kept.references(entry)]
        except ValueError as error:
            return [note(str(error)), *[gr.skip()] * RESTORED]
        recipe = entry.recipe
        picture = gr.Image(value=str(entry.file), alt_text=entry.caption)
        return [
            note(
                f"Back from {when(entry)}, seed {recipe['seed']}: settings and references are as they were.",
                "status done",
            ),
            picture,
            entry.name,
            *opened(kept.why(entry), entry),
            *settings_of(recipe),
            *page(cards, str(recipe["prompt"])),
        ]

    def deleted(self, shown: str | None) -> Updates:
        """The picture shown is gone from disk and page."""
        try:
            self.maker.history.remove(shown or "")
        except ValueError as error:
            return [note(str(error)), *[gr.skip()] * DELETED]
        gone = "Deleted. References that no picture shows follow within a week."
        return [note(gone, "status done"), gr.Image(value=None), None, self.pictures(), *closed()]


KEPT = 2 + 6  # entry, history, what `opened` fills
DELETED = 3 + 6  # picture, entry, history, what `opened` fills
RESTORED = 2 + 6 + 7 + PAGE


def asked_to_delete(entry: str | None, sure: bool) -> Updates:
    """The button, and the question it asks. entry: the picture shown."""
    return [gr.Button(visible=bool(entry) and not sure), gr.Row(visible=bool(entry) and sure)]


def buttons(busy: bool) -> Updates:
    """Generate and Cancel."""
    return [
        gr.Button("Being made …" if busy else "Generate", interactive=not busy),
        gr.Button(visible=busy),
    ]


def words_of(event: Event) -> str:
    """What is waited for."""
    if isinstance(event, Waiting):
        return "One picture comes first …" if event.ahead == 1 else f"{event.ahead} pictures come first …"
    if isinstance(event, Loading):
        return "Loading the model, once …"
    assert isinstance(event, Reading)
    return "Reading prompt and references …"


def settings_of(recipe: Mapping[str, Any]) -> Updates:
    """In the order of `SettingParts.values`."""
    width, height = recipe["size"]
    asked = recipe.get("visibility") if recipe.get("references") else None
    return [
        recipe["prompt"],
        f"{width} × {height}",
        recipe["seed"],
        recipe["steps"],
        recipe["guidance"],
        asked or AS_TRAINED,
        gr.skip(),
    ]


def when(entry: Entry) -> str:
    """The day and time in an entry's name."""
    name = entry.name
    return f"{name[:4]}-{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]} UTC"


def rolled() -> int:
    """A seed."""
    return random.randrange(MOST_SEED)


def wire(parts: Parts, answers: Making) -> None:
    """Events of generating, cancelling and the history."""
    settings, result = parts.settings, parts.result
    opens = [result.why, result.references, result.view, result.block, result.seen, parts.point]
    gr.on(
        [settings.generate.click, settings.prompt.submit],
        answers.generate,
        [parts.cards, parts.entry, *settings.values, *parts.references.names],
        [
            settings.generate,
            settings.cancel,
            result.picture,
            result.progress,
            parts.entry,
            result.history,
            *opens,
        ],
        concurrency_limit=None,  # the maker has a line of its own
        trigger_mode="once",
        **QUIET,
    )
    gr.on([settings.generate.click, settings.prompt.submit], None, js=TO_RESULT, **QUIET)
    settings.cancel.click(answers.cancel, None, None, queue=False, **QUIET)
    settings.dice.click(rolled, None, settings.seed, queue=False, **QUIET)
    result.history.click(
        answers.restored,
        None,
        [result.progress, result.picture, parts.entry, *opens, *settings.values, *shown_in(parts)],
        **QUIET,
    ).then(None, js=TO_RESULT, **QUIET)
    wire_deleting(parts, answers, opens)


def wire_deleting(parts: Parts, answers: Making, opens: list[Any]) -> None:
    """Delete asks once more; nothing is asked about a picture that is no longer shown."""
    result = parts.result
    question = [result.delete, result.sure]
    parts.entry.change(lambda entry: asked_to_delete(entry, sure=False), parts.entry, question, **QUIET)
    result.delete.click(lambda entry: asked_to_delete(entry, sure=True), parts.entry, question, **QUIET)
    result.no.click(lambda entry: asked_to_delete(entry, sure=False), parts.entry, question, **QUIET)
    result.yes.click(
        answers.deleted,
        parts.entry,
        [result.progress, result.picture, parts.entry, result.history, *opens],
        **QUIET,
    ).then(None, js=TO_RESULT, **QUIET)
