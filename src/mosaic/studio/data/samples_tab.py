"""Within the tab of datasets: filters, pages of cards, and the sample that was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import gradio as gr

from mosaic.studio.data import desk as steps
from mosaic.studio.data import mending, views
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.filters import REVIEWED, Filter, range_of
from mosaic.studio.data.mending import Seen, Words
from mosaic.studio.data.opening import IN_TURN
from mosaic.studio.pieces import asset
from mosaic.studio.telling import QUIET, told

CHOOSE = (
    '<p class="ms-none">Choose a sample to look at it. Keys: <span class="ms-key">←</span> '
    '<span class="ms-key">→</span> the sample before and after, <span class="ms-key">K</span> keep, '
    '<span class="ms-key">D</span> drop, <span class="ms-key">U</span> undecided, '
    '<span class="ms-key">L</span> larger.</p>'
)


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
        with gr.Row(elem_classes="ms-split", elem_id="data-split"):
            with gr.Column(scale=3, min_width=340, elem_classes="ms-list"):
                self.cards = gr.HTML(
                    "",
                    js_on_load=asset("cards.js"),
                    apply_default_css=False,
                    elem_classes="ms",
                    elem_id="data-cards",
                )
                with gr.Row(elem_classes="ms-pages"):
                    self.back = gr.Button("Earlier", size="sm", min_width=90)
                    self.place = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="data-place")
                    self.on = gr.Button("Later", size="sm", min_width=90)
                    self.go = gr.Number(
                        1, label="Page", precision=0, minimum=1, min_width=90, elem_id="data-page"
                    )
            with gr.Column(scale=2, min_width=340, elem_classes="ms-detail"):
                self._detail()

    def _detail(self) -> None:
        self.head = gr.HTML(
            CHOOSE,
            apply_default_css=False,
            elem_classes="ms",
            elem_id="data-head",
        )
        with gr.Column(visible=False) as self.detail:
            self.picture = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="data-picture")
            with gr.Row(elem_classes="ms-decide"):
                self.keep = gr.Button("Keep (K)", size="md", min_width=80, elem_id="data-keep")
                self.drop = gr.Button("Drop (D)", size="md", min_width=80)
                self.open = gr.Button("Undecided (U)", size="md", min_width=120)
            with gr.Row(equal_height=False):
                self.lines = gr.Slider(
                    0,
                    64,
                    12,
                    step=1,
                    label="Lines a reference",
                    min_width=230,
                    scale=3,
                    elem_id="data-lines",
                )
                self.masks = gr.Checkbox(False, label="Masks", min_width=80, scale=1)
                large = gr.Button("Larger (L)", size="sm", min_width=90, scale=1, elem_id="data-large")
            large.click(None, js=LARGE)
            self.seen = gr.Textbox("", label="What the fields began with", elem_classes="ms-unseen")
            self.caption = gr.Textbox(
                label="Caption", info="Nouns and places", lines=2, max_length=4000, elem_id="data-caption"
            )
            self.looks = gr.Textbox(label="Detailed caption", info="Looks too", lines=3, max_length=4000)
            self.nouns = gr.Textbox(label="Nouns", info="One a line, in the order of the subjects", lines=2)
            with gr.Row():
                self.save = gr.Button("Save what was mended", variant="primary", scale=3, min_width=200)
                self.restore = gr.Button("As it was", scale=1, min_width=110)
            with gr.Accordion("Scores", open=False):
                self.scores = gr.HTML("", apply_default_css=False, elem_classes="ms")

    @property
    def listing(self) -> list[Any]:
        return [self.cards, self.place, self.back, self.on, self.go]

    @property
    def shown(self) -> list[Any]:
        words = [self.caption, self.looks, self.nouns, self.seen]
        return [self.head, self.detail, self.picture, *words, self.scores]

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
            **IN_TURN,
        )
        for button, pages in ((self.back, -1), (self.on, 1)):
            button.click(_turn(pages), desk, [desk, *self.listing], js=TO_TOP, **IN_TURN)

        @told
        def at_page(now: Desk, number: float | None) -> Any:
            now = steps.at_page(now, int(number or 1))
            return now, *listed(now)

        self.go.submit(at_page, [desk, self.go], [desk, *self.listing], js=TO_TOP, **IN_TURN)

        everything = [desk, *self.listing, *self.shown]
        page = [desk, *view, self.caption, self.looks, self.nouns, self.seen]
        self.cards.choose(_chosen, page, everything, **IN_TURN)
        self.cards.decide(_decided, page, everything, **IN_TURN)
        self.cards.step(_stepped, page, everything, **IN_TURN)
        for button, value in ((self.keep, "keep"), (self.drop, "drop"), (self.open, None)):
            button.click(_decision(value), page, everything, **IN_TURN)
        self.save.click(_mended, page, everything, **IN_TURN)
        self.restore.click(_restored, [desk, *view], everything, **IN_TURN)
        draw = told(lambda now, lines, masks: detailed(now, int(lines), masks)[2])
        gr.on([self.lines.release, self.masks.change], draw, [desk, *view], self.picture, **QUIET)


TO_TOP = (
    "(...all) => { document.getElementById('data-cards')?.scrollIntoView({block: 'nearest'}); return all; }"
)
LARGE = "() => { document.getElementById('data-split').classList.toggle('ms-large'); }"


def _shown(now: Desk, lines: float, masks: bool) -> Any:
    return now, *listed(now), *detailed(now, int(lines), masks)


def _saved(now: Desk, caption: str, looks: str, nouns: str, sent: str) -> int:
    """Write what was typed of the sample that was shown, before it gives way; how many edits."""
    typed, seen = Words.typed(caption, looks, nouns), Seen.received(sent)
    if seen is None or typed == seen.words.stripped():
        return 0
    edits = len(mending.mend(replace(now, selected=seen.sample), typed, seen.words))
    gr.Info(f"Edits written: {edits}.", duration=3)
    return edits


@told
def _chosen(event: gr.EventData, now: Desk, lines: float, masks: bool, *words: Any) -> Any:
    if event.sample != now.selected:  # the same one again: as it is on disk
        _saved(now, *words)
    return _shown(replace(now, selected=str(event.sample)), lines, masks)


@told
def _decided(event: gr.EventData, now: Desk, lines: float, masks: bool, *words: Any) -> Any:
    _saved(now, *words)
    now = replace(now, selected=str(event.sample))
    steps.decide(now, str(event.value) or None)
    return _shown(now, lines, masks)


@told
def _stepped(event: gr.EventData, now: Desk, lines: float, masks: bool, *words: Any) -> Any:
    _saved(now, *words)
    return _shown(steps.stepped(now, 1 if int(event.by) > 0 else -1), lines, masks)


@told
def _mended(now: Desk, lines: float, masks: bool, *words: Any) -> Any:
    if not _saved(now, *words):
        gr.Info("Nothing was changed.", duration=3)
    return _shown(now, lines, masks)


@told
def _restored(now: Desk, lines: float, masks: bool) -> Any:
    if not mending.restore(now):
        gr.Info("Nothing of this sample was mended.", duration=3)
    return _shown(now, lines, masks)


def _turn(pages: int) -> Callable[[Desk], Any]:
    @told
    def turn(now: Desk) -> Any:
        now = steps.turned(now, pages)
        return now, *listed(now)

    return turn


def _decision(value: str | None) -> Callable[..., Any]:
    @told
    def decide(now: Desk, lines: float, masks: bool, *words: Any) -> Any:
        _saved(now, *words)
        steps.decide(now, value)
        return _shown(now, lines, masks)

    return decide


def _filters() -> Filters:
    with gr.Row(elem_classes="ms-filters"):
        text = gr.Textbox(label="Search", placeholder="words, a key, a reason", scale=3, min_width=180)
        verdicts = gr.Dropdown([], label="Verdict", multiselect=True, scale=2, min_width=150)
        stages = gr.Dropdown([], label="Rejected by", multiselect=True, scale=2, min_width=150)
        subjects = gr.Dropdown([], label="Subjects", multiselect=True, scale=1, min_width=110)
        reviewed = gr.Dropdown(list(REVIEWED), value="any", label="Reviewed", scale=2, min_width=130)
    with gr.Accordion("Filter by scores", open=False):
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
    """Cards, place, whether there is an earlier and a later page, and the number of this one."""
    found = steps.page(now)
    shown = [(entry, steps.thumbs(now, entry)) for entry in found.entries]
    return (
        views.cards(shown, now.review, now.selected, now.filter != Filter()),
        f'<div class="ms-pager" role="status">{steps.place_in(found)}</div>',
        gr.update(interactive=found.start > 0),
        gr.update(interactive=found.more),
        found.start // steps.PAGE + 1,
    )


def detailed(now: Desk, lines: int, masks: bool) -> tuple[Any, ...]:
    """The chosen sample in full."""
    if not now.selected:
        return CHOOSE, gr.update(visible=False), *[""] * 6
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
        Seen(sample=one.entry.address, words=Words.of(one)).sent(),
        views.scores_of(one.entry),
    )
