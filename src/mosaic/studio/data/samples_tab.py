"""Within the tab of datasets: filters, pages of cards, and the sample that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from mosaic.studio.data import desk as steps
from mosaic.studio.data import views
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.filters import REVIEWED, Filter, range_of
from mosaic.studio.telling import told

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
CARDS_JS = """
element.addEventListener('click', event => {
  const card = event.target.closest('[data-sample]');
  if (!card) return;
  trigger('choose', {sample: card.dataset.sample});
  if (innerWidth < 760) document.getElementById('data-head')?.scrollIntoView({block: 'start'});
});
element.addEventListener('keydown', event => {
  const card = event.target.closest('[data-sample]'), value = {k: 'keep', d: 'drop', u: ''}[event.key];
  if (!card || value === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  trigger('decide', {sample: card.dataset.sample, value});
});
watch('value', () => {
  const pressed = element.querySelector('[aria-pressed=true]');
  if (pressed && document.activeElement === document.body) pressed.focus({preventScroll: true});
});
"""


@dataclass(slots=True)
class Filters:
    """The controls of the filter, in the order they are read."""

    text: gr.Textbox
    verdicts: gr.Dropdown
    stages: gr.Dropdown
    subjects: gr.Dropdown
    reviewed: gr.Dropdown
    ranges: list[Any]

    @property
    def all(self) -> list[Any]:
        return [self.text, self.verdicts, self.stages, self.subjects, self.reviewed, *self.ranges]


class Samples:
    """Filters, pages of cards, and the sample that was chosen."""

    def __init__(self, desk: gr.State) -> None:
        self.desk = desk
        self.filters = _filters()
        with gr.Row(elem_classes="ms-split"):
            with gr.Column(scale=3, min_width=340):
                self.cards = gr.HTML(
                    "", js_on_load=CARDS_JS, apply_default_css=False, elem_classes="ms", elem_id="data-cards"
                )
                with gr.Row():
                    self.back = gr.Button("Earlier", size="sm", min_width=90)
                    self.place = gr.HTML("", apply_default_css=False, elem_classes="ms")
                    self.on = gr.Button("Later", size="sm", min_width=90)
            with gr.Column(scale=2, min_width=340):
                self._detail()

    def _detail(self) -> None:
        self.head = gr.HTML(
            '<p class="ms-none">Choose a sample to look at it.</p>',
            apply_default_css=False,
            elem_classes="ms",
            elem_id="data-head",
        )
        with gr.Column(visible=False) as self.detail:
            self.picture = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="data-picture")
            with gr.Row():
                self.lines = gr.Slider(0, 64, 12, step=1, label="Lines a reference", min_width=200, scale=3)
                self.masks = gr.Checkbox(False, label="Masks", min_width=90, scale=1)
            with gr.Row():
                self.keep = gr.Button("Keep", min_width=80)
                self.drop = gr.Button("Drop", min_width=80)
                self.open = gr.Button("Undecided", min_width=110)
            self.caption = gr.Textbox(
                label="Caption", info="Nouns and places", lines=2, max_length=4000, elem_id="data-caption"
            )
            self.looks = gr.Textbox(label="Detailed caption", info="Looks too", lines=3, max_length=4000)
            self.nouns = gr.Textbox(label="Nouns", info="One a line, in the order of the subjects", lines=2)
            self.save = gr.Button("Save what was mended", variant="primary")
            with gr.Accordion("Scores", open=False):
                self.scores = gr.HTML("", apply_default_css=False, elem_classes="ms")

    @property
    def listing(self) -> list[Any]:
        return [self.cards, self.place, self.back, self.on]

    @property
    def shown(self) -> list[Any]:
        return [self.head, self.detail, self.picture, self.caption, self.looks, self.nouns, self.scores]

    @property
    def fresh_outputs(self) -> list[Any]:
        return [*self.listing, *self.shown, *self.filters.all]

    @property
    def choice_outputs(self) -> list[Any]:
        filters = self.filters
        return [filters.verdicts, filters.stages, filters.subjects, filters.ranges[0], filters.ranges[3]]

    def fresh(self, now: Desk) -> tuple[Any, ...]:
        """Of a dataset just opened."""
        cleared: list[Any] = ["", [], [], [], "any", "", None, None, "", None, None]
        return *listed(now), *detailed(now, 12, False), *cleared

    def bind(self) -> None:
        """What happens on a click or a key."""
        desk, view = self.desk, [self.lines, self.masks]

        @told
        def filter_(now: Desk, *values: Any) -> Any:
            now = steps.filtered(now, filter_of(*values))
            return now, *listed(now)

        controls = self.filters.all
        gr.on(
            [one.change for one in controls[1:]] + [self.filters.text.submit, self.filters.text.blur],
            filter_,
            [desk, *controls],
            [desk, *self.listing],
            trigger_mode="always_last",
            **QUIET,
        )
        for button, pages in ((self.back, -1), (self.on, 1)):
            button.click(_turn(pages), desk, [desk, *self.listing], js=TO_TOP, **QUIET)

        @told
        def choose(now: Desk, lines: float, masks: bool, event: gr.EventData) -> Any:
            now = replace(now, selected=str(event.sample))
            return now, *listed(now), *detailed(now, int(lines), masks)

        everything = [desk, *self.listing, *self.shown]
        self.cards.choose(choose, [desk, *view], everything, **QUIET)

        @told
        def decide(now: Desk, lines: float, masks: bool, event: gr.EventData) -> Any:
            now = replace(now, selected=str(event.sample))
            steps.decide(now, str(event.value) or None)
            return now, *listed(now), *detailed(now, int(lines), masks)

        self.cards.decide(decide, [desk, *view], everything, **QUIET)
        for button, value in ((self.keep, "keep"), (self.drop, "drop"), (self.open, None)):
            button.click(_decision(value), [desk, *view], everything, **QUIET)

        @told
        def mend(now: Desk, caption: str, looks: str, nouns: str, lines: float, masks: bool) -> Any:
            edits = steps.mend(now, caption, looks, nouns)
            gr.Info(f"{len(edits)} edits written." if edits else "Nothing was changed.", duration=3)
            return now, *listed(now), *detailed(now, int(lines), masks)

        self.save.click(mend, [desk, self.caption, self.looks, self.nouns, *view], everything, **QUIET)
        draw = told(lambda now, lines, masks: detailed(now, int(lines), masks)[2])
        gr.on([self.lines.release, self.masks.change], draw, [desk, *view], self.picture, **QUIET)


TO_TOP = (
    "(...all) => { document.getElementById('data-cards')?.scrollIntoView({block: 'nearest'}); return all; }"
)


def _turn(pages: int) -> Callable[[Desk], Any]:
    @told
    def turn(now: Desk) -> Any:
        now = steps.turned(now, pages)
        return now, *listed(now)

    return turn


def _decision(value: str | None) -> Callable[[Desk, float, bool], Any]:
    @told
    def decide(now: Desk, lines: float, masks: bool) -> Any:
        steps.decide(now, value)
        return now, *listed(now), *detailed(now, int(lines), masks)

    return decide


def _filters() -> Filters:
    with gr.Row():
        text = gr.Textbox(label="Search", placeholder="words, a key, a reason", scale=3, min_width=180)
        verdicts = gr.Dropdown([], label="Verdict", multiselect=True, scale=2, min_width=150)
        stages = gr.Dropdown([], label="Rejected by", multiselect=True, scale=2, min_width=150)
        subjects = gr.Dropdown([], label="Subjects", multiselect=True, scale=1, min_width=110)
        reviewed = gr.Dropdown(list(REVIEWED), value="any", label="Reviewed", scale=2, min_width=130)
    with gr.Accordion("Scores", open=False):
        ranges: list[Any] = []
        for n in (1, 2):
            with gr.Row():
                ranges.append(gr.Dropdown([""], value="", label=f"Score {n}", scale=3, min_width=200))
                ranges.append(gr.Number(None, label="at least", scale=1, min_width=100))
                ranges.append(gr.Number(None, label="at most", scale=1, min_width=100))
    return Filters(
        text=text, verdicts=verdicts, stages=stages, subjects=subjects, reviewed=reviewed, ranges=ranges
    )


def filter_of(text: str, verdicts: Any, stages: Any, subjects: Any, reviewed: Any, *ranges: Any) -> Filter:
    """The controls' values as a filter."""
    chosen = [range_of(*ranges[n : n + 3]) for n in range(0, len(ranges), 3)]
    return Filter(
        text=text or "",
        verdicts=frozenset(verdicts or ()),
        stages=frozenset(stages or ()),
        subjects=frozenset(int(k) for k in subjects or ()),
        reviewed=reviewed or "any",
        ranges=tuple(one for one in chosen if one is not None),
    )


def listed(now: Desk) -> tuple[Any, ...]:
    """Cards, place, and whether there is an earlier and a later page."""
    found = steps.page(now)
    shown = [(entry, steps.thumbs(now, entry)) for entry in found.entries]
    return (
        views.cards(shown, now.review, now.selected),
        f'<div class="ms-pager" role="status">{steps.place_in(found)}</div>',
        gr.update(interactive=found.start > 0),
        gr.update(interactive=found.more),
    )


def detailed(now: Desk, lines: int, masks: bool) -> tuple[Any, ...]:
    """The chosen sample in full."""
    if not now.selected:
        return (
            '<p class="ms-none">Choose a sample to look at it.</p>',
            gr.update(visible=False),
            "",
            "",
            "",
            "",
            "",
        )
    one = steps.chosen(now)
    nouns = [noun for _, noun in one.nouns]
    lacks = views.lacking(one.caption, nouns)
    warning = (
        f'<p class="ms-problem" role="note">The caption lacks: {escape(", ".join(lacks))}.</p>'
        if lacks
        else ""
    )
    return (
        views.told_of(one.entry, now.review) + warning,
        gr.update(visible=True),
        views.portrait(one.look, one.caption, lines=lines, masks=masks),
        one.caption,
        one.detailed_caption,
        "\n".join(nouns),
        views.scores_of(one.entry),
    )
