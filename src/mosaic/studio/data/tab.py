"""The Studio's tab of datasets: binds `desk` and the views to the page, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from mosaic.errors import explain
from mosaic.studio.data import desk as steps
from mosaic.studio.data.check_tab import check
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.opening import LANE, if_open
from mosaic.studio.data.review_tab import compare_and_export
from mosaic.studio.data.samples_tab import Samples
from mosaic.studio.pieces import asset
from mosaic.studio.roots import Folders, roots_of
from mosaic.studio.telling import QUIET

TOLD, MOST_TOLD = 3, 200  # problems that are seen at once, and unfolded


def tab(options: Folders) -> None:
    """Tab 2, inside `with gr.Tab(...)`."""
    roots = roots_of(options)
    gr.HTML(f"<style>{asset('data.css')}</style>")
    desk = gr.State(Desk(roots=roots))
    with gr.Row(elem_classes="ms-bar"):
        places = roots.named(steps.offered(roots))
        path = gr.Dropdown(
            places,
            value=places[0][1] if len(places) == 1 else None,
            label="Dataset",
            info="A folder of shards or of pictures, or one shard, within what --data names",
            allow_custom_value=True,
            scale=5,
            elem_id="data-path",
        )
        reviewer = gr.Textbox(
            steps.NOBODY,
            label="Reviewer",
            info="Whose edits these are",
            max_length=40,
            scale=2,
            min_width=160,
        )
        opened = gr.Button(
            "Open", variant="primary", scale=1, min_width=110, elem_id="data-open", elem_classes="ms-go"
        )
    status = gr.HTML(_hint(roots.data), apply_default_css=False, elem_classes="ms", elem_id="data-status")
    with gr.Tabs(visible=False) as parts:
        with gr.Tab("Samples", id="samples"):
            samples = Samples(desk)
        with gr.Tab("Points", id="check"):
            refresh_check = check(desk)
        with gr.Tab("Export", id="export"):
            refresh_export = compare_and_export(desk)

    path.focus(lambda: gr.update(choices=roots.named(steps.offered(roots))), None, path, **QUIET)

    def open_(now: Desk, typed: str | None, name: str) -> Any:
        try:
            now = steps.open_dataset(now, typed or "", name)
            return now, gr.update(visible=True), _about(now), *samples.fresh(now)
        except (ValueError, OSError) as error:
            if (sentence := explain(error)) is None:
                raise
            closed = replace(now, path=None)
            return closed, gr.update(visible=False), _problem(sentence), *[gr.skip()] * len(outputs[3:])

    outputs = [desk, parts, status, *samples.fresh_outputs]
    event = gr.on(
        [opened.click, reviewer.submit],
        open_,
        [desk, path, reviewer],
        outputs,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[status],
        **LANE,
    )
    event.then(if_open(_counted, 6), desk, [status, *samples.choice_outputs], **QUIET)
    refresh_check(event)
    refresh_export(event)
    samples.bind()


def _hint(data: tuple[Any, ...]) -> str:
    told_ = (
        "Choose a dataset and open it. Edits go into a file beside it; the dataset is never changed."
        if data
        else "No folder may be opened yet. Start the Studio with <code>mosaic studio --data DIR</code>."
    )
    return f'<p class="ms-faint">{told_}</p>'


def _about(now: Desk) -> str:
    parts = sum(part.pictures is None for part in now.dataset.parts.values())
    shards = f"<span>shards <b>{parts:,}</b></span>" if parts else "<span>a folder of pictures</span>"
    return f'<div class="ms-status" role="status"><b>{escape(now.dataset.path.name)}</b>{shards}</div>'


def _problem(sentence: str) -> str:
    return f'<p class="ms-problem" role="alert">{escape(sentence)}</p>'


def _problems(sentences: Sequence[str]) -> str:
    """The first few, and the others to be unfolded."""
    first, others = sentences[:TOLD], sentences[TOLD:]
    told = "".join(map(_problem, first))
    if not others:
        return told
    more = "".join(map(_problem, others[:MOST_TOLD]))
    return f'{told}<details class="ms-problems"><summary>and {len(others):,} more</summary>{more}</details>'


def _counted(now: Desk) -> Any:
    """The status in full, and the filters' choices; every part is read for it."""
    found = steps.choices(now.dataset)
    counts = "".join(f"<span>{escape(name)} <b>{count:,}</b></span>" for name, count in found.counts)
    status = f"{_about(now)[:-6]}{counts}</div>{_problems(found.problems)}"
    scores = ["", *found.scores]
    return (
        status,
        gr.update(choices=list(found.verdicts)),
        gr.update(choices=list(found.stages), visible=bool(found.stages)),
        gr.update(choices=[str(k) for k in found.subjects]),
        gr.update(choices=scores, visible=bool(found.scores)),
        gr.update(choices=scores, visible=bool(found.scores)),
    )
