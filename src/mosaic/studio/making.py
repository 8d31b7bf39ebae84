"""Making pictures, one at a time, for whoever asks: an iterator of events that knows nothing of the browser.

    Waiting … Loading … Reading … Stepped × steps … Made        or, wherever it ends early, Stopped or Failed

One model serves all; those who come wait in line in their order. Setting `stop` ends a picture within a step.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from mosaic.errors import explain
from mosaic.generate import GenerateOptions, look_over, quiet_libraries, recipe_of
from mosaic.pictures import load_reference
from mosaic.studio import limits
from mosaic.studio.history import Entry, Given, History
from mosaic.studio.options import StudioOptions
from mosaic.studio.shelf import Shelf
from mosaic.studio.turns import Cancelled, Turns
from mosaic.studio.why import Why, request

if TYPE_CHECKING:
    from mosaic.pipeline import EncodedReference, MosaicPipeline
    from mosaic.pipeline.guidance import Plan
    from mosaic.studio.library import Library
    from mosaic.studio.previewing import Projection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A picture somebody wants; None leaves a choice to the LoRA or the model."""

    prompt: str
    references: tuple[Given, ...] = ()
    seed: int = 0
    steps: int | None = None
    size: tuple[int, int] | None = None  # (width, height)
    guidance: float | None = None
    visibility: str | None = None
    blocks: bool | None = None  # attention block by block; None: where the model is small
    previews: bool = True

    def check(self) -> None:
        """ValueError for what can be refused at once."""
        limits.check_count(0, len(self.references))
        limits.check_words(self.prompt, [one.name for one in self.references])
        limits.check_settings(self.size, self.steps, self.seed)


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Waiting:
    """`ahead` pictures come first."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded, once."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Prompt and references are being encoded."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step is done; `left` seconds are to go."""

    step: int
    steps: int
    left: float
    preview: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The picture is in the history."""

    entry: Entry
    why: Why | None
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was cancelled."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be made; one sentence."""

    sentence: str


Event = Waiting | Loading | Reading | Stepped | Made | Stopped | Failed
Tell = Callable[[Event], None]
ENDS = (Made, Stopped, Failed)


# ---------------------------------------------------------------- the maker


class Maker:
    """One model, loaded when the first picture is wanted, and the folders it writes to."""

    def __init__(self, options: StudioOptions, library: Library | None = None) -> None:
        self.options, self.library = options, library
        self.shelf = Shelf(options.pictures)
        self.history = History(options.history, self.shelf)
        self.turns = Turns()
        self._loading = threading.Lock()
        self._pipeline: MosaicPipeline | None = None
        self._projection: Projection | None = None

    def make(self, wish: Wish, stop: threading.Event | None = None) -> Iterator[Event]:
        """The events of one picture, the last Made, Stopped or Failed. Dropping the iterator stops it."""
        stop = stop or threading.Event()
        told: queue.SimpleQueue[Event] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(wish, stop, told.put), daemon=True).start()
        try:
            while True:
                event = told.get()
                yield event
                if isinstance(event, ENDS):
                    return
        finally:
            stop.set()

    def _work(self, wish: Wish, stop: threading.Event, tell: Tell) -> None:
        try:
            wish.check()
            with self.turns.turn(stop, lambda ahead: tell(Waiting(ahead))), heard() as notes:
                tell(self._made(wish, stop, tell, notes))
        except Cancelled:
            tell(Stopped())
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                logger.exception("a picture could not be made")
                sentence = (
                    f"This failed for a reason of ours ({type(error).__name__}): the terminal tells more."
                )
            tell(Failed(sentence))

    def _made(self, wish: Wish, stop: threading.Event, tell: Tell, notes: list[str]) -> Made:
        began = time.monotonic()
        if self._pipeline is None:
            tell(Loading())
        from mosaic.pipeline.memory import explained

        with explained("make this picture"):
            pipeline = self.pipeline()
            check(stop)
            tell(Reading())
            options = self._options(wish)
            size = pipeline.size(*(reversed(options.size) if options.size else (None, None)))
            encoded = self._encoded(pipeline, wish, options, size)
            plan = pipeline.plan(options.prompt, encoded, size=size, **options.sampling)
            image, why = self._sampled(pipeline, wish, plan, encoded, stop, tell)
            recipe = recipe_of(options, pipeline, size, plan) | {"seed": wish.seed}
            pipeline.maybe_free_model_hooks()
        entry = self.history.save(options.output, image, recipe, wish.references, why)
        return Made(entry, why, time.monotonic() - began, tuple(dict.fromkeys(notes)))

    def pipeline(self) -> MosaicPipeline:
        """The model, loaded once, at the first call."""
        with self._loading:
            if self._pipeline is None:
                quiet_libraries()
                from mosaic.pipeline import load
                from mosaic.studio.previewing import fit

                asked = self.options
                loaded = load(asked.model, asked.lora, offload=asked.offload, quantize=asked.quantize)
                self._projection = fit(loaded)
                self._pipeline = loaded
            return self._pipeline

    def warm(self) -> None:
        """Load the model ahead of the first picture. ValueError if it cannot be."""
        with self.turns.turn(threading.Event(), lambda ahead: None):
            self.pipeline()

    def tidy(self) -> None:
        """Remove old references that no picture of the history and no subject of the library shows."""
        kept = self.library.used() if self.library is not None else set()
        self.shelf.prune(self.history.used() | kept)

    def _options(self, wish: Wish) -> GenerateOptions:
        asked = self.options
        return GenerateOptions(
            prompt=wish.prompt,
            output=self.history.new_file(wish.seed),
            references=tuple((one.name, one.file) for one in wish.references),
            model=asked.model,
            lora=asked.lora,
            seed=wish.seed,
            steps=wish.steps,
            size=wish.size,
            guidance=wish.guidance,
            visibility=wish.visibility,
            offload=asked.offload,
            quantize=asked.quantize,
        )

    def _encoded(
        self, pipeline: MosaicPipeline, wish: Wish, options: GenerateOptions, size: tuple[int, int]
    ) -> tuple[EncodedReference, ...]:
        """Each on its canvas and through the autoencoder, or from its subject's cache in the library."""
        pictures = [load_reference(one.name, one.file) for one in wish.references]
        look_over(pipeline, pictures, size, options)
        encoded = pipeline.encode_references(pictures, size)
        if self.library is None or wish.visibility not in (None, str(pipeline.run_as.visibility)):
            return encoded
        return tuple(
            self.library.cached(pipeline, one, reference)
            for one, reference in zip(wish.references, encoded, strict=True)
        )

    def _sampled(
        self,
        pipeline: MosaicPipeline,
        wish: Wish,
        plan: Plan,
        encoded: Sequence[EncodedReference],
        stop: threading.Event,
        tell: Tell,
    ) -> tuple[Image.Image, Why | None]:
        asked = None
        if encoded:
            config = pipeline.transformer.config
            asked = request(plan.full.layout, config.num_layers + config.num_single_layers, wish.blocks)
        callback = self._callback(pipeline, wish, plan, stop, tell)
        made = pipeline.make(plan, wish.seed, asked, callback)
        if made.attention is None:
            return made.image, None
        return made.image, Why.of(made.attention, [one.name for one in wish.references], encoded)

    def _callback(
        self, pipeline: MosaicPipeline, wish: Wish, plan: Plan, stop: threading.Event, tell: Tell
    ) -> Callable[[int, Any, float], None]:
        """What the sampler calls after each step."""
        from mosaic.pipeline.latents import noise_of
        from mosaic.studio.previewing import Previewer

        target, steps = plan.full.layout.target, len(plan.sigmas) - 1
        noise = noise_of(wish.seed, target, pipeline.vae.config.latent_channels)
        assert self._projection is not None
        away = self.options.offload != "none"  # the autoencoder would have to be fetched each time
        previewer = Previewer(
            pipeline, self._projection, target, noise, plan.sigmas[0], False if away else None
        )
        began = time.monotonic()

        def stepped(step: int, latents: Any, sigma: float) -> None:
            check(stop)
            preview = previewer.draw(latents, sigma) if wish.previews and step + 1 < steps else None
            left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            tell(Stepped(step + 1, steps, left, preview))
            check(stop)

        return stepped


def check(stop: threading.Event) -> None:
    """Cancelled where somebody asked for it."""
    if stop.is_set():
        raise Cancelled


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the program warns of meanwhile, in this thread."""
    notes: list[str] = []
    thread = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                notes.append(record.getMessage())

    ear, source = Ear(logging.WARNING), logging.getLogger("mosaic")
    source.addHandler(ear)
    try:
        yield notes
    finally:
        source.removeHandler(ear)
