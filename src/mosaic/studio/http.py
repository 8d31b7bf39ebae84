"""The same over HTTP: named endpoints of Gradio's own client protocol, documented in docs/http.md.

The endpoints stand on components that are never shown: their types are what a client sees.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from mosaic.geometry import Grid
from mosaic.studio.cards import Card, toggled
from mosaic.studio.gpus import FLUX, forecasts, told
from mosaic.studio.history import Entry, Given
from mosaic.studio.limits import check_count, read_upload
from mosaic.studio.maker import Planning
from mosaic.studio.making import Event, Failed, Loading, Made, Reading, Stepped, Stopped, Waiting, Wish
from mosaic.studio.making_tab import Making
from mosaic.studio.why import Why, block_of, draw_look, draw_owners, tell_look

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """The endpoints' functions. A refusal is a gr.Error with one sentence."""

    making: Making

    def generate(
        self,
        prompt: str,
        pictures: list[str] | None,
        names: list[str] | None,
        cutout: bool,
        width: float | None,
        height: float | None,
        steps: float | None,
        seed: float,
        guidance: float | None,
        visibility: str | None,
        previews: bool,
    ) -> Iterator[tuple[Json, Any]]:
        """Events of one picture as they come, each with the picture there is by then."""
        job = uuid.uuid4().hex
        try:
            wish = Wish(
                prompt=prompt,
                references=self.given(pictures or [], names or [], cutout),
                seed=int(seed),
                steps=None if steps is None else int(steps),
                size=None if not (width and height) else (int(width), int(height)),
                guidance=guidance,
                visibility=visibility or None,
                previews=previews,
            )
            wish.check()
            stop = self.making.jobs.begin(job)
        except ValueError as error:
            raise gr.Error(str(error)) from error
        try:
            yield {"event": "begun", "job": job}, None
            for event in self.making.maker.make(wish, stop):
                if isinstance(event, Failed):
                    raise gr.Error(event.sentence)
                yield told_event(event, job), self.picture_of(event)
        finally:
            stop.set()
            self.making.jobs.end(job)

    def given(self, pictures: list[str], names: list[str], cutout: bool) -> tuple[Given, ...]:
        """References from files and names, in order. ValueError if their numbers differ."""
        check_count(0, len(pictures))
        if len(pictures) != len(names):
            raise ValueError(f"{len(pictures)} pictures have {len(names)} names: give each picture one.")
        shelf, found = self.making.maker.shelf, []
        for file, name in zip(pictures, names, strict=True):
            card = Card(name=str(name), original=shelf.put(read_upload(file, f"the picture of {name}")))
            found.append(toggled(card, cutout, shelf).given)
        return tuple(found)

    def picture_of(self, event: Event) -> str | None:
        """The file of a picture that is done, or of what a step points to."""
        if isinstance(event, Made):
            return str(event.entry.file)
        if isinstance(event, Stepped) and event.preview is not None:
            folder = self.making.maker.options.uploads
            file = folder / f"{uuid.uuid4().hex}.png"
            event.preview.save(file)
            return str(file)
        return None

    def cancel(self, job: str) -> bool:
        """Stop a picture by the job its first event named; False if it is over."""
        return self.making.jobs.cancel(job)

    def history(self) -> list[Json]:
        """The newest pictures with their recipes."""
        return [
            {"entry": one.name, "recipe": dict(one.recipe)} for one in self.making.maker.history.entries()
        ]

    def look(
        self, entry: str, reference: float, x: float, y: float, block: float
    ) -> tuple[Json, Image.Image]:
        """Where a point of a reference (from 1) looks, on average (block 0) or in one block (from 1)."""
        found, why = self.read(entry)
        try:
            look = why.look(int(reference) - 1, (x, y), block_of(int(block)))
        except ValueError as error:
            raise gr.Error(str(error)) from error
        said = {
            "peak": list(look.peak),
            "share": look.share,
            "told": tell_look(why, int(reference) - 1, look),
        }
        with Image.open(found.file) as picture:
            return said, draw_look(picture, why, int(reference) - 1, look)

    def owners(self, entry: str, block: float) -> tuple[Json, Image.Image]:
        """Each subject's part of a picture."""
        found, why = self.read(entry)
        try:
            shares = why.shares(block_of(int(block)))
            with Image.open(found.file) as picture:
                drawn = draw_owners(picture, why, block_of(int(block)))
        except ValueError as error:
            raise gr.Error(str(error)) from error
        return {"names": list(why.names), "shares": shares, "blocks": why.blocks}, drawn

    def read(self, entry: str) -> tuple[Entry, Why]:
        history = self.making.maker.history
        try:
            found = history.entry(entry)
            why = history.why(found)
        except ValueError as error:
            raise gr.Error(str(error)) from error
        if why is None:
            raise gr.Error("This picture has no references: there is nothing to look from.")
        return found, why

    def gpus(self, model: str, width: float, height: float, references: float) -> list[Json]:
        """Which GPU makes a picture of this size: an estimate."""
        try:
            target = Grid.of_pixels(int(height), int(width))
            check_count(0, int(references))
            weights = Planning(self.making.maker, self.making.facts).weights(model)
        except ValueError as error:
            raise gr.Error(str(error)) from error
        side = min(target.height, target.width)
        found = forecasts(weights, target, [Grid(side, side)] * int(references))
        return [
            {
                "gpu": f.device,
                "has_gib": f.has,
                "needs_gib": f.needs,
                "fits": f.way is not None,
                "options": told(f.way),
            }
            for f in found
        ]


def told_event(event: Event, job: str) -> Json:
    """An event as JSON."""
    told: Json = {"event": type(event).__name__.lower(), "job": job}
    if isinstance(event, Waiting):
        return told | {"ahead": event.ahead}
    if isinstance(event, Stepped):
        return told | {"step": event.step, "steps": event.steps, "seconds_left": event.left}
    if isinstance(event, Made):
        recipe = dict(event.entry.recipe)
        return told | {
            "entry": event.entry.name,
            "seconds": event.seconds,
            "recipe": recipe,
            "notes": list(event.notes),
        }
    assert isinstance(event, Loading | Reading | Stopped)
    return told


def endpoints(making: Making) -> None:
    """Put all of them on the page that is being built."""
    service = Service(making)
    with gr.Column(visible=False):
        made = generate_inputs()
        event, picture = gr.JSON(label="event"), gr.File(label="picture")
        offer(service.generate, made, [event, picture], "generate", concurrency_limit=None)
        entry, block = gr.Textbox(label="entry"), gr.Number(0, label="block", precision=0)
        reference = gr.Number(1, label="reference", precision=0)
        x, y = gr.Number(0.5, label="x"), gr.Number(0.5, label="y")
        said, drawn = gr.JSON(label="said"), gr.Image(label="drawn", format="png")
        offer(service.look, [entry, reference, x, y, block], [said, drawn], "look")
        offer(service.owners, [entry, block], [said, drawn], "owners")
        offer(service.history, [], [said], "history")
        offer(
            service.cancel, [gr.Textbox(label="job")], [gr.Checkbox(label="cancelled")], "cancel", queue=False
        )
        sides = [gr.Number(512, label="width", precision=0), gr.Number(512, label="height", precision=0)]
        model = gr.Textbox(FLUX, label="model")
        count = gr.Number(4, label="references", precision=0)
        offer(service.gpus, [model, *sides, count], [said], "gpus")


def generate_inputs() -> list[Any]:
    """In the order of `Service.generate`."""
    return [
        gr.Textbox(label="prompt"),
        gr.File(label="pictures", file_count="multiple"),
        gr.JSON(label="names"),
        gr.Checkbox(False, label="cutout"),
        gr.Number(label="width", precision=0),
        gr.Number(label="height", precision=0),
        gr.Number(label="steps", precision=0),
        gr.Number(0, label="seed", precision=0),
        gr.Number(label="guidance"),
        gr.Textbox("", label="visibility"),
        gr.Checkbox(False, label="previews"),
    ]


def offer(answer: Any, inputs: list[Any], outputs: list[Any], name: str, **more: Any) -> None:
    """A named endpoint."""
    gr.Button(visible=False).click(answer, inputs, outputs, api_name=name, **more)
