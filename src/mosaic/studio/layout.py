"""What stands where on the maker's tab: components alone, wired up in `maker.py`."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from mosaic.generate import MOST_REFERENCES
from mosaic.studio.facts import SHARED, Facts
from mosaic.studio.gpus import FLUX
from mosaic.studio.limits import LARGEST_FILE, MEBIBYTE, MOST_STEPS
from mosaic.studio.pieces import asset
from mosaic.studio.why import blocks_told

AS_TRAINED = "as trained"
LOOKS, OWNERS = "where it looks", "who owns what"
DROP = f"Drop pictures here, up to {MOST_REFERENCES}"
GPU_SIZES = ("512 × 512", "768 × 768", "1024 × 1024")
SEEN_BY_IT = [AS_TRAINED, "full", "release", "isolated"]
# what was asked for below is answered above
TO_RESULT = "() => document.querySelector('#progress').scrollIntoView({block: 'nearest'})"
# a screen reader speaks what comes into an element that was live before it came
LIVE = "element.setAttribute('aria-live', 'polite')"
# eight cards have the same buttons: each card is a group with a name
GROUP = """
const card = element.closest('.card');
card.setAttribute('role', 'group');
card.setAttribute('aria-label', card.id.replace('card-', 'Reference '));
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CardParts:
    """One reference's card."""

    box: gr.Column
    thumb: gr.HTML
    name: gr.Textbox
    cutout: gr.Checkbox
    keep: gr.Button
    remove: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What changes with the card."""
        return [self.box, self.thumb, self.name, self.cutout, self.keep]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceParts:
    """Where references come in."""

    drop: gr.File
    toys: gr.Button
    clear: gr.Button
    library: gr.Dropdown
    cards: tuple[CardParts, ...]
    told: gr.HTML

    @property
    def shown(self) -> list[Any]:
        return [part for card in self.cards for part in card.shown]

    @property
    def names(self) -> list[Any]:
        return [card.name for card in self.cards]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SettingParts:
    """Prompt and settings."""

    prompt: gr.Textbox
    strip: gr.HTML
    lacks: gr.HTML
    size: gr.Dropdown
    seed: gr.Number
    dice: gr.Button
    steps: gr.Slider
    guidance: gr.Slider
    visibility: gr.Dropdown
    blocks: gr.Checkbox
    generate: gr.Button
    cancel: gr.Button

    @property
    def values(self) -> list[Any]:
        """In the order of `making_tab.Asked`."""
        return [self.prompt, self.size, self.seed, self.steps, self.guidance, self.visibility, self.blocks]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResultParts:
    """What was made, and why."""

    picture: gr.Image
    progress: gr.HTML
    delete: gr.Button
    sure: gr.Row
    yes: gr.Button
    no: gr.Button
    why: gr.Column
    references: gr.HTML
    view: gr.Radio
    block: gr.Dropdown
    seen: gr.HTML
    history: gr.HTML
    gpu_asked: tuple[gr.Radio, gr.Dropdown, gr.Slider]
    gpu_button: gr.Button
    gpus: gr.HTML


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """All of the tab. cards: list[Card]; entry: name of the picture shown."""

    references: ReferenceParts
    settings: SettingParts
    result: ResultParts
    cards: gr.State
    entry: gr.State
    point: gr.State


def lay_out(facts: Facts) -> Parts:
    """Left what goes in, right what comes out, below what was made before."""
    begin: dict[str, Any] = {"cards": [], "entry": None, "point": None}
    states = {name: gr.State(value) for name, value in begin.items()}
    for word in (facts.warning, SHARED if facts.shared else ""):
        if word:
            gr.HTML(f'<p class="word" role="note">{escape(word)}</p>')
    with gr.Row(elem_classes="maker", equal_height=False):
        with gr.Column(scale=6, min_width=320):
            references = lay_references()
            settings = lay_settings(facts)
        with gr.Column(scale=5, min_width=320, elem_classes="right"):
            shown = lay_result()
    shown |= lay_why() | lay_history() | lay_gpus(facts)
    return Parts(references=references, settings=settings, result=ResultParts(**shown), **states)


def lay_references() -> ReferenceParts:
    """Drop zone, ways to begin, eight cards of which those in use are seen."""
    gr.HTML(
        '<h2>References</h2><p class="hint">'
        "One picture of one subject each. A name given twice is a further view of it.</p>"
    )
    with gr.Row(elem_classes="begin", equal_height=True):
        drop = gr.File(
            file_count="multiple",
            file_types=["image"],
            label=f"{DROP} (at most {LARGEST_FILE // MEBIBYTE} MiB each)",
            elem_id="drop",
            height=132,
            scale=3,
            min_width=240,
        )
        with gr.Column(scale=2, min_width=200, elem_classes="ways"):
            toys = gr.Button("Try four toys", elem_id="toys", size="md")
            library = gr.Dropdown(
                [], value=None, label="From the library", elem_id="library", min_width=120, visible=False
            )
    told = gr.HTML(elem_id="told", js_on_load=LIVE)
    with gr.Row(elem_classes="cards"):
        cards = tuple(lay_card(k) for k in range(MOST_REFERENCES))
    clear = gr.Button("Remove all", size="sm", elem_id="clear", elem_classes="quiet", visible=False)
    return ReferenceParts(drop=drop, toys=toys, clear=clear, library=library, cards=cards, told=told)


def lay_card(k: int) -> CardParts:
    """Seen once a reference has it."""
    with gr.Column(visible=False, elem_classes="card", elem_id=f"card-{k + 1}", min_width=150) as box:
        thumb = gr.HTML(js_on_load=GROUP)
        name = gr.Textbox(
            value="",
            label=f"Name of reference {k + 1}",
            placeholder="its noun",
            elem_id=f"name-{k + 1}",
            max_lines=1,
            elem_classes="name",
        )
        cutout = gr.Checkbox(label="Cut out", elem_id=f"cutout-{k + 1}", container=False)
        with gr.Row(elem_classes="acts"):
            keep = gr.Button("Keep", size="sm", elem_id=f"keep-{k + 1}", min_width=50)
            remove = gr.Button("Remove", size="sm", elem_id=f"remove-{k + 1}", min_width=50)
    return CardParts(box=box, thumb=thumb, name=name, cutout=cutout, keep=keep, remove=remove)


def lay_settings(facts: Facts) -> SettingParts:
    """The prompt with its mentions, what is set often, and what seldom."""
    prompt = gr.Textbox(
        label="Prompt",
        placeholder="What the picture shows. Mention each subject by its name.",
        lines=2,
        max_lines=6,
        elem_id="prompt",
    )
    strip = gr.HTML(elem_id="strip")
    lacks = gr.HTML(elem_id="lacks", js_on_load=LIVE)
    with gr.Row(elem_classes="settings"):
        size = gr.Dropdown(
            facts.sizes,
            value=facts.sizes[0],
            allow_custom_value=True,
            label="Size",
            elem_id="size",
            min_width=140,
        )
        seed = gr.Number(value=0, precision=0, label="Seed", elem_id="seed", min_width=110)
        dice = gr.Button("Roll", elem_id="dice", elem_classes="dice", size="md", min_width=60, scale=0)
    with gr.Accordion("More settings", open=False, elem_id="more"):
        with gr.Row():
            steps = gr.Slider(
                1, MOST_STEPS, facts.steps, step=1, label="Steps", elem_id="steps", min_width=180
            )
            guidance = gr.Slider(
                0, 20, facts.guidance, step=0.1, label="Guidance", elem_id="guidance", min_width=180
            )
        with gr.Row(equal_height=True):
            visibility = gr.Dropdown(
                SEEN_BY_IT,
                value=AS_TRAINED,
                label="Visibility",
                info="What a reference sees while the picture is made.",
                elem_id="visibility",
            )
            blocks = gr.Checkbox(
                value=False,
                label="Keep the attention of every block",
                info="Small models do so in any case.",
                elem_id="blocks",
            )
    with gr.Row(elem_classes="go"):
        generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=4)
        cancel = gr.Button(
            "Cancel", variant="secondary", elem_id="cancel", scale=1, visible=False, min_width=90
        )
    return SettingParts(
        prompt=prompt,
        strip=strip,
        lacks=lacks,
        size=size,
        seed=seed,
        dice=dice,
        steps=steps,
        guidance=guidance,
        visibility=visibility,
        blocks=blocks,
        generate=generate,
        cancel=cancel,
    )


def lay_result() -> dict[str, Any]:
    """The picture, and above it how far it is."""
    progress = gr.HTML(elem_id="progress", js_on_load=LIVE)
    picture = gr.Image(
        label="Result",
        show_label=False,
        format="png",
        type="filepath",
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="result",
        alt_text="The picture made",
    )
    quiet: dict[str, Any] = {"size": "sm", "elem_classes": "quiet"}
    delete = gr.Button("Delete this picture", elem_id="delete", visible=False, **quiet)
    with gr.Row(visible=False, elem_id="sure") as sure:
        no, yes = gr.Button("Leave it", **quiet), gr.Button("Delete it for good", **quiet)
    found = {"progress": progress, "picture": picture}
    return found | {"delete": delete, "sure": sure, "yes": yes, "no": no}


def lay_why() -> dict[str, Any]:
    """References to point at on the left, what is seen on the right."""
    with gr.Column(visible=False, elem_id="why") as why:
        gr.HTML(
            "<h2>See why</h2>"
            '<p class="hint">'
            "Point at a reference, or click, to see where that place looks in the picture.</p>"
        )
        with gr.Row(elem_classes="band", equal_height=False):
            with gr.Column(scale=6, min_width=320):
                references = gr.HTML(elem_id="why-references", js_on_load=asset("why.js"))
                with gr.Row(elem_classes="whyrow"):
                    view = gr.Radio([LOOKS, OWNERS], value=LOOKS, label="Show", elem_id="view", min_width=320)
                    block = gr.Dropdown(
                        blocks_told(0),
                        value=blocks_told(0)[0],
                        label="Which blocks",
                        elem_id="block",
                        min_width=160,
                    )
            with gr.Column(scale=5, min_width=320):
                seen = gr.HTML(elem_id="seen", js_on_load=LIVE)
    return {"why": why, "references": references, "view": view, "block": block, "seen": seen}


def lay_history() -> dict[str, Any]:
    """What was made before."""
    gr.HTML(
        '<h2 class="apart">History</h2>'
        '<p class="hint">'
        "Pictures made are kept on the computer that runs the Studio. A click brings one back with its "
        "settings and references.</p>"
    )
    history = gr.HTML(elem_id="history", js_on_load=asset("history.js"))
    return {"history": history}


def lay_gpus(facts: Facts) -> dict[str, Any]:
    """`mosaic plan` for a picture."""
    sizes = list(dict.fromkeys([*GPU_SIZES, facts.sizes[0]]))
    models = [facts.name] if facts.name.endswith(FLUX) else [FLUX, facts.name]
    with gr.Accordion("Which GPU makes a picture?", open=False, elem_id="gpus"):
        with gr.Row(equal_height=False, elem_classes="settings"):
            model = gr.Radio(models, value=models[0], label="Model", elem_id="gpu-model")
            size = gr.Dropdown(
                sizes,
                value=sizes[0],
                allow_custom_value=True,
                label="Size of the picture",
                elem_id="gpu-size",
            )
            count = gr.Slider(
                0, MOST_REFERENCES, 4, step=1, label="Number of references", elem_id="gpu-count"
            )
            button = gr.Button("Estimate", elem_id="gpu-button", scale=0, min_width=110)
        gpus = gr.HTML(elem_id="gpu-table", apply_default_css=False)
    return {"gpu_asked": (model, size, count), "gpu_button": button, "gpus": gpus}
