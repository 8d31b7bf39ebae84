"""The check of points within the tab of datasets: one question at a time, by buttons or keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from mosaic.studio.data import desk as steps
from mosaic.studio.data import views
from mosaic.studio.data.desk import Desk
from mosaic.studio.data.marking import precision
from mosaic.studio.data.opening import IN_TURN, if_open
from mosaic.studio.telling import QUIET, told

KEYS = {"right": "R", "wrong": "W", "unsure": "U"}
ABOUT = (
    '<p class="ms-faint">One point at a time, drawn at random, without what the matcher thought of it. '
    "Keys: " + ", ".join(f'<span class="ms-key">{key}</span> {value}' for value, key in KEYS.items()) + ", "
    '<span class="ms-key">Z</span> takes the last one back.</p>'
)
DONE = '<p class="ms-none">Every point is marked that can be asked: 64 a sample at most.</p>'
KEYS_JS = """
const marks = {r: 'right', w: 'wrong', u: 'unsure', z: 'back'};
const listen = event => {
  if (!element.isConnected) return document.removeEventListener('keydown', listen);
  const value = marks[event.key.toLowerCase()], asked = element.querySelector('[data-question]');
  const typing = event.target.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable]');
  if (!value || !asked || typing || element.offsetParent === null) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  event.preventDefault();
  trigger('mark', {value, question: asked.dataset.question});
};
document.addEventListener('keydown', listen);
"""


def check(desk: gr.State) -> Callable[[Any], None]:
    """The controls; what is answered fills them after an event that opened a dataset."""
    gr.HTML(ABOUT, apply_default_css=False, elem_classes="ms")
    panel = gr.HTML("", js_on_load=KEYS_JS, apply_default_css=False, elem_classes="ms", elem_id="check-panel")
    with gr.Row(elem_id="check-buttons"):
        buttons = {
            value: gr.Button(f"{value.capitalize()} ({key})", size="md", min_width=110)
            for value, key in KEYS.items()
        }
        back = gr.Button("Take back (Z)", size="md", min_width=110)
    with gr.Row(elem_classes="ms-bar"):
        bar = gr.HTML("", apply_default_css=False, elem_classes="ms", elem_id="check-precision")
        seed = gr.Number(0, label="Seed of the draw", precision=0, minimum=0, scale=0, min_width=160)
    asked = gr.State("")
    outputs = [panel, bar, asked]

    @told
    def key(now: Desk, event: gr.EventData) -> Any:
        return _answered(now, str(event.question), str(event.value))

    panel.mark(key, desk, outputs, **QUIET)
    for value, button in buttons.items():
        button.click(_button(value), [desk, asked], outputs, **QUIET)
    back.click(_button("back"), [desk, asked], outputs, **QUIET)

    @told
    def draw(now: Desk, number: float | None) -> Any:
        now = replace(now, seed=int(number or 0))
        return now, *_shown(now)

    seed.change(draw, [desk, seed], [desk, *outputs], **IN_TURN)
    return lambda event: event.then(if_open(_shown, len(outputs)), desk, outputs, **QUIET)


def _button(value: str) -> Callable[[Desk, str], Any]:
    return told(lambda now, asked: _answered(now, asked, value))


def _answered(now: Desk, asked: str, value: str) -> Any:
    """A mark of the point that was shown; one meant for an earlier point is not taken for this one."""
    if value == "back":
        steps.take_back(now)
    else:
        shown = steps.next_question(now)
        if shown is not None and shown[0].id == asked:
            steps.mark(now, shown[0], value)
    return _shown(now)


def _shown(now: Desk) -> Any:
    bar = views.precision_bar(precision(now.review))
    asked = steps.next_question(now)
    if asked is None:
        return DONE, bar, ""
    question, sample = asked
    return views.point_panel(sample, question), bar, question.id
