"""The generation core alone: its events, previews, line, cancelling, refusals."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_studio import PROMPT, given, maker_on
from PIL import Image

from mosaic.generate import generate, options_of
from mosaic.geometry import Grid
from mosaic.pipeline.latents import decode_picture, encode_picture, noise_of
from mosaic.studio import limits, making
from mosaic.studio.facts import Facts
from mosaic.studio.maker import Planning
from mosaic.studio.making import (
    Failed,
    Loading,
    Made,
    Maker,
    Reading,
    Stepped,
    Stopped,
    Waiting,
    Wish,
)
from mosaic.studio.making_tab import Jobs
from mosaic.studio.options import StudioOptions
from mosaic.studio.previewing import Previewer, clean_of
from mosaic.studio.turns import Cancelled, Turns


@pytest.fixture(scope="module")
def maker(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return maker_on(models, tmp_path_factory.mktemp("studio"))


def wish(maker: Maker, **more: object) -> Wish:
    references = (given(maker, "bear", 0), given(maker, "robot", 1))
    return Wish(**{"prompt": PROMPT, "references": references, "seed": 5} | more)


def test_the_events_of_a_picture(models: dict[str, Path], tmp_path: Path) -> None:
    fresh = maker_on(models, tmp_path)
    events = list(fresh.make(wish(fresh)))
    assert [type(event) for event in events] == [Loading, Reading, Stepped, Stepped, Stepped, Made]
    steps = [event for event in events if isinstance(event, Stepped)]
    assert [(event.step, event.steps) for event in steps] == [(1, 3), (2, 3), (3, 3)]
    assert [event.preview is not None for event in steps] == [True, True, False]  # the last is the picture
    assert steps[0].preview.size == (64, 64) and steps[-1].left == 0
    assert type(next(fresh.make(wish(fresh)))) is Reading  # loaded once


def test_every_option_reaches_the_model(models: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    """And it is loaded once, whoever comes while it is."""
    import mosaic.pipeline

    options = {"model": "flux", "lora": "a.safetensors", "offload": "model", "quantize": "fp8"}
    real, asked = mosaic.pipeline.load, []

    def load(*values: object, **named: object) -> object:
        asked.append((values, named))
        time.sleep(0.2)  # time for a second one to come
        return real(models["folder"])

    monkeypatch.setattr(mosaic.pipeline, "load", load)
    maker = Maker(StudioOptions(folder=tmp_path, **options))
    first = threading.Thread(target=maker.pipeline)
    first.start()
    maker.pipeline()
    first.join()
    assert asked == [(("flux", "a.safetensors"), {"offload": "model", "quantize": "fp8"})]


def test_a_picture_with_an_eight_bit_base(models: dict[str, Path], tmp_path: Path) -> None:
    maker = maker_on(models, tmp_path, quantize="fp8")
    made = list(maker.make(wish(maker)))[-1]
    assert isinstance(made, Made) and made.why is not None
    assert made.entry.recipe["quantize"] == "fp8"


def test_the_picture_is_that_of_the_command_line(maker: Maker, tmp_path: Path) -> None:
    made = list(maker.make(wish(maker, steps=2, size=(64, 96))))[-1]
    references = maker.history.references(made.entry)
    again = options_of(
        made.entry.file,
        tmp_path / "again.png",
        [(one.name, one.file) for one in references],
        model=maker.options.model,
        lora=maker.options.lora,
    )
    (file,) = generate(again)
    with Image.open(file) as ours, Image.open(made.entry.file) as theirs:
        assert ours.size == (64, 96) and np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_cancelling_stops_within_a_step(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, before = threading.Event(), len(maker.history.entries())

    def stepped(*values: Any, **named: Any) -> Stepped:
        told = Stepped(*values, **named)
        if told.step == 2:
            stop.set()  # where the steps are made: the reader of events may be behind
        return told

    monkeypatch.setattr(making, "Stepped", stepped)
    events = list(maker.make(wish(maker, steps=50), stop))
    assert isinstance(events[-1], Stopped)
    assert [event.step for event in events if isinstance(event, Stepped)] == [1, 2]
    assert len(maker.history.entries()) == before
    assert isinstance(list(maker.make(wish(maker)))[-1], Made)  # the next one is not held up


def test_dropping_the_iterator_stops_the_picture(maker: Maker) -> None:
    events = maker.make(wish(maker, steps=100))
    next(events)
    events.close()
    end = time.monotonic() + 20
    while maker.turns._line and time.monotonic() < end:
        time.sleep(0.02)
    assert not maker.turns._line


def test_two_at_once_take_turns(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = [], []
    pipeline = maker.pipeline()
    make = pipeline.make

    def watched(*args: object) -> object:
        inside.append(1)
        most.append(len(inside))
        try:
            return make(*args)
        finally:
            inside.pop()

    monkeypatch.setattr(pipeline, "make", watched)
    kinds: dict[int, list[type]] = {}
    pictures: dict[int, np.ndarray] = {}

    def run(seed: int) -> None:
        events = list(maker.make(wish(maker, seed=seed, steps=8)))
        kinds[seed] = [type(event) for event in events]
        pictures[seed] = np.asarray(Image.open(events[-1].entry.file))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1, 1, 1]
    assert all(kind[-1] is Made for kind in kinds.values())
    assert sum(Waiting in kind for kind in kinds.values()) == 2
    alone = list(maker.make(wish(maker, seed=2, steps=8)))[-1]
    assert np.array_equal(pictures[2], np.asarray(Image.open(alone.entry.file)))


def test_the_line_is_in_order_and_has_an_end() -> None:
    turns, order = Turns(most=3), []
    leave = threading.Event()

    def come(number: int) -> None:
        with turns.turn(threading.Event(), lambda ahead: None):
            order.append(number)
            leave.wait(10)

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        while len(turns._line) <= number:
            time.sleep(0.005)
    with (
        pytest.raises(ValueError, match="3 pictures are waiting already"),
        turns.turn(threading.Event(), print),
    ):
        pass
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3] and not turns._line


def test_who_waits_can_give_up() -> None:
    turns, stop, told = Turns(), threading.Event(), []
    with turns.turn(threading.Event(), told.append):
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Cancelled), turns.turn(stop, told.append):
            pass
    assert told == [1] and not turns._line


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "  "}, "The prompt is empty: say what the picture shows."),
        ({"prompt": "a" * 2001}, "The prompt has 2001 letters, and 2000 are taken: shorten it."),
        ({"steps": 101}, "The steps lie in 1…100, not at 101."),
        ({"seed": -1}, "The seed lies in 0…2⁶³−1, not at -1."),
        ({"size": (2064, 64)}, "The Studio makes pictures of up to 2048 pixels a side, not 2064×64."),
        ({"size": (70, 64)}, "Sides must be multiples of 16 pixels: use 64×64, not 70×64."),
        ({"guidance": -1.0}, "Guidance must lie in 0…100, not -1.0."),
        ({"visibility": "none"}, "'none' is not a valid Visibility"),
    ],
)
def test_a_refusal_is_one_sentence(maker: Maker, changes: dict, sentence: str) -> None:
    (*_, last) = maker.make(wish(maker, **changes))
    assert last == Failed(sentence)


def test_references_are_counted_and_named(maker: Maker) -> None:
    nine = tuple(given(maker, "bear", i) for i in range(9))
    (failed,) = maker.make(wish(maker, references=nine))
    assert failed == Failed("A picture takes at most 8 references and would have 9: remove some first.")
    (failed,) = maker.make(wish(maker, references=(given(maker, " "),)))
    assert failed == Failed("Reference 1 has no name: call it by its noun, as the prompt does.")


def test_what_is_ours_is_said_without_a_traceback(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **more: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr(maker.pipeline(), "make", broken)
    (*_, last) = maker.make(wish(maker))
    assert last == Failed("This failed for a reason of ours (KeyError): the terminal tells more.")
    monkeypatch.undo()
    assert isinstance(list(maker.make(wish(maker)))[-1], Made)  # the line moved on


def test_running_out_of_memory_is_a_sentence(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(maker.pipeline(), "make", full)
    (*_, last) = maker.make(wish(maker))
    assert isinstance(last, Failed) and last.sentence.startswith(
        "There is too little memory to make this picture"
    )


def test_warnings_reach_the_page(maker: Maker) -> None:
    made = list(maker.make(wish(maker, visibility="full")))[-1]
    assert made.notes == ("The LoRA was trained with release visibility, not full.",)


def test_a_model_that_is_not_there(tmp_path: Path, models: dict[str, Path]) -> None:
    absent = maker_on({"folder": tmp_path / "nowhere", "release": models["release"]}, tmp_path / "s")
    (*_, last) = absent.make(Wish(prompt="a bear"))
    assert isinstance(last, Failed) and last.sentence.startswith("There is no model folder")
    estimated = Planning(absent, Facts.of(absent.options)).estimated("nowhere", "64 × 64", 1)
    assert "There is no model folder" in estimated and "alert" in estimated


def test_without_references_there_is_nothing_to_explain(maker: Maker) -> None:
    made = list(maker.make(Wish(prompt="grass", steps=1)))[-1]
    assert isinstance(made, Made) and made.why is None


# ---------------------------------------------------------------- previews


def test_the_clean_latents_a_step_points_to() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 64, generator=generator)
    at = {sigma: (1 - sigma) * clean + sigma * noise for sigma in (0.9, 0.4)}
    assert torch.allclose(clean_of(at[0.9], 0.9, at[0.4], 0.4), clean, atol=1e-5)


def test_the_linear_map_resembles_the_decoder(maker: Maker) -> None:
    """On the embedded model's autoencoder, which was trained; a random one's map is of no use."""
    from mosaic.pipeline import load
    from mosaic.studio.previewing import fit
    from mosaic.toybox import portrait

    pipeline = load("embedded")
    picture = portrait("mug", seed=3, size=128)[0]
    grid = Grid.of_pixels(128, 128)
    with torch.no_grad():
        latents = encode_picture(pipeline.vae, picture, torch.device("cpu"))
        decoded = decode_picture(pipeline.vae, latents, grid)
    guessed = fit(pipeline).picture(latents, grid)
    assert guessed.size == (128, 128)
    small = [
        np.asarray(one.resize((16, 16), Image.Resampling.BOX), float).ravel() for one in (decoded, guessed)
    ]
    assert np.corrcoef(*small)[0, 1] > 0.85


def test_a_slow_decoder_gives_way_to_the_map(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaic.pipeline import latents as room

    pipeline, grid, calls = maker.pipeline(), Grid.of_pixels(64, 64), []
    real = room.decode_picture

    def slow(*args: object) -> Image.Image:
        calls.append(1)
        time.sleep(0.1)
        return real(*args)

    monkeypatch.setattr(room, "decode_picture", slow)
    noise = noise_of(0, grid)
    previewer = Previewer(pipeline, maker._projection, grid, noise)
    with torch.no_grad():
        for sigma in (0.8, 0.6, 0.4):
            assert previewer.draw(noise * sigma, sigma).size == (64, 64)
    assert len(calls) == 1 and previewer.decodes is False
    quick = Previewer(pipeline, maker._projection, grid, noise)
    quick._since -= 10  # steps of ten seconds: a tenth of a second is little
    with torch.no_grad():
        quick.draw(noise * 0.8, 0.8)
    assert quick.decodes is True


def test_a_page_makes_one_picture_at_a_time() -> None:
    jobs = Jobs()
    stop = jobs.begin("page")
    with pytest.raises(ValueError, match="for this page already"):
        jobs.begin("page")
    assert jobs.cancel("page") and stop.is_set() and not jobs.cancel("other") and not jobs.cancel(None)
    jobs.end("page")
    assert not jobs.begin("page").is_set()


def test_the_limits_are_what_the_documents_say() -> None:
    told = (Path(__file__).parents[2] / "docs" / "studio.md").read_text(encoding="utf-8")
    numbers = (
        limits.LARGEST_FILE >> 20,
        limits.LARGEST_PICTURE // 10**6,
        limits.MOST_WAITING,
        limits.LARGEST_SIDE,
    )
    assert all(str(number) in told for number in numbers)
