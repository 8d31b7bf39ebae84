"""Two reviewers compared, and the dataset written with a review applied."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from mosaic.studio.data import desk as steps
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.exporting import Exported, export, free_name
from mosaic.studio.data.opening import if_open
from mosaic.studio.data.review_views import compared
from mosaic.studio.telling import QUIET, told


def compare_and_export(desk: gr.State) -> Callable[[Any], None]:
    """The controls; what is answered fills them after an event that opened a dataset."""
    gr.HTML("<h3>Two reviewers</h3>", apply_default_css=False, elem_classes="ms")
    with gr.Row(elem_classes="ms-bar"):
        first = gr.Dropdown([], label="First", min_width=150)
        second = gr.Dropdown([], label="Second", min_width=150)
        compare = gr.Button("Compare", min_width=110, elem_id="compare", elem_classes="ms-go")
    outcome = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="compare-outcome")
    gr.HTML(
        "<h3>Export</h3><p class='ms-faint'>New shards: dropped samples left out, captions and nouns mended, "
        "wrong points removed. The dataset itself is not touched.</p>",
        apply_default_css=False,
        elem_classes="ms",
    )
    with gr.Row(elem_classes="ms-bar"):
        whose = gr.Dropdown([], label="Edits of", min_width=150)
        name = gr.Textbox(label="Name of the new dataset", max_length=80, min_width=180)
        write = gr.Button("Export", variant="primary", min_width=110, elem_id="export", elem_classes="ms-go")
    written = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="export-outcome")

    @told
    def compare_(now: Desk, one: str | None, other: str | None) -> str:
        return compared(one or "", now.review_of(one or ""), other or "", now.review_of(other or ""))

    compare.click(compare_, [desk, first, second], outcome, **QUIET)

    @told
    def export_(
        now: Desk,
        reviewer: str | None,
        called: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        counts, total = {"done": 0}, now.dataset.page(None, 0, 0).total

        def advance(samples: int) -> None:
            counts["done"] += samples
            progress((counts["done"], total), desc="samples done", unit="samples")

        review = now.review_of(reviewer or "")
        folder, done = export(now.dataset, review, called.strip(), reviewer=reviewer or "", advance=advance)
        return _told(str(folder), done)

    write.click(export_, [desk, whose, name], written, api_visibility="private")

    def fill(now: Desk) -> Any:
        people = steps.names(now)
        other = next((one for one in people if one != now.reviewer), now.reviewer)
        called = free_name(now.roots.exports, f"{now.dataset.path.stem}-reviewed")
        return (
            gr.update(choices=people, value=now.reviewer),
            gr.update(choices=people, value=other),
            gr.update(choices=people, value=now.reviewer),
            called,
            "",
            "",
        )

    filled = [first, second, whose, name, outcome, written]
    return lambda event: event.then(if_open(fill, len(filled)), desk, filled, **QUIET)


def _told(folder: str, done: Exported) -> str:
    problems = "".join(f'<p class="ms-problem">{escape(one)}</p>' for one in done.problems)
    counts = (
        ("samples", done.samples),
        ("dropped", done.dropped),
        ("kept against their verdict", done.kept),
        ("mended", done.mended),
        ("points removed", done.points_removed),
    )
    told_ = "".join(f"<span>{name} <b>{count:,}</b></span>" for name, count in counts)
    train = f"mosaic train RECIPE.toml --set data.source=shards --set data.path={folder} --output DIR"
    return (
        f'<div role="status"><p>Written to <code>{escape(folder)}</code>.</p>'
        f'<div class="ms-status">{told_}</div>{problems}'
        f'<p class="ms-faint">Train on it: <code>{escape(train)}</code>.</p></div>'
    )
