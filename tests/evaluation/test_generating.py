"""Pictures of a tiny random model for small benchmarks: published seeds and grids, resumed."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic.evaluation.generating import check_references, generate, images_of, kept, produce, settled
from mosaic.evaluation.pictures import cases
from mosaic.evaluation.records import Benchmark, Record, Settings
from mosaic.pictures import load_reference, read_recipe
from mosaic.pipeline import MosaicPipeline, load
from tests.fixtures_model import write_lora, write_model

from .bench import small

FOUR = (42, 43, 44, 45)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> MosaicPipeline:
    model = write_model(
        tmp_path_factory.mktemp("model"), default_size=32, default_steps=2, default_guidance=2.0
    )
    write_lora(model, model / "lora.safetensors", canvas="letterbox", canvas_size=32)
    return load(model)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


class Painted:
    """Draws the seed as a level; says how often it was asked."""

    def __init__(self, fails_at: int | None = None, style: str = "plain") -> None:
        self.made: list[tuple[str, int]] = []
        self.fails_at, self.style = fails_at, style

    def recipe(self, record: Record, settings: Settings, seed: int) -> dict[str, object]:
        return {
            "record": record.id,
            "seed": seed,
            "size": (settings.width, settings.height),
            "style": self.style,
        }

    def picture(self, record: Record, settings: Settings, seed: int) -> Image.Image:
        if self.fails_at == len(self.made):
            raise KeyboardInterrupt
        self.made.append((record.id, seed))
        return Image.new("RGB", (settings.width, settings.height), (seed, 0, 0))


def test_pictures_are_what_the_pipeline_makes(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = settled(small(tmp_path), pipeline)
    generate(pipeline, benchmark, tmp_path / "ours")
    assert files(tmp_path / "ours") == ["multi/0_0.png", "multi/1_0.png", "single/0_0.png", "single/1_0.png"]
    record = benchmark.records[3]
    references = [load_reference(s.noun, s.reference) for s in record.subjects]
    made = pipeline(record.prompt, references, height=32, width=32, steps=2, guidance=2.0, seed=7).images[0]
    assert np.array_equal(pixels(tmp_path / "ours/multi/1_0.png"), np.asarray(made))
    assert len(cases(benchmark, "mosaic", tmp_path / "ours")) == 4


def test_without_references_it_is_the_prompt_alone(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = settled(small(tmp_path), pipeline)
    generate(pipeline, benchmark, tmp_path / "bare", references=False)
    made = pipeline(benchmark.records[2].prompt, height=32, width=32, steps=2, guidance=2.0, seed=7).images[0]
    assert np.array_equal(pixels(tmp_path / "bare/multi/0_0.png"), np.asarray(made))
    recipe = read_recipe(tmp_path / "bare/multi/0_0.png")
    assert recipe["references"] == []
    generate(pipeline, benchmark, tmp_path / "ours")
    assert not np.array_equal(
        pixels(tmp_path / "ours/multi/0_0.png"), pixels(tmp_path / "bare/multi/0_0.png")
    )


def test_grids_hold_the_seeds_in_quadrant_order(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = settled(small(tmp_path, seeds=FOUR, grid=True), pipeline)
    done: list[None] = []
    generate(pipeline, benchmark, tmp_path / "ours", advance=lambda: done.append(None))
    assert len(done) == images_of(benchmark) == 16
    assert files(tmp_path / "ours")[0] == "multi/0_a bear on grass.png"
    assert len(files(tmp_path / "ours")) == 4  # nothing unfinished is left
    grid = pixels(tmp_path / "ours/single/0_a bear on grass.png")
    record = benchmark.records[0]
    reference = load_reference("bear", record.subjects[0].reference)
    for quadrant, seed in enumerate(FOUR):
        made = pipeline(
            record.prompt, [reference], height=32, width=32, steps=2, guidance=2.0, seed=seed
        ).images[0]
        row, column = divmod(quadrant, 2)
        assert np.array_equal(
            grid[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32], np.asarray(made)
        )
    assert read_recipe(tmp_path / "ours/single/0_a bear on grass.png")["seed"] == list(FOUR)


def test_recipes_tell_all_but_folders(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = settled(small(tmp_path), pipeline)
    generate(pipeline, benchmark, tmp_path / "ours", rank=3, world=4)
    file = tmp_path / "ours/multi/1_0.png"
    recipe = read_recipe(file)
    assert [one["name"] for one in recipe["references"]] == ["bear", "robot"]
    assert (recipe["seed"], recipe["size"], recipe["steps"], recipe["guidance"]) == (7, [32, 32], 2, 2.0)
    assert recipe["hashes"] == pipeline.weights
    assert str(tmp_path).encode() not in file.read_bytes()


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_it_goes_on_at_the_picture_where_it_stopped(tmp_path: Path, grid: bool, stop: int) -> None:
    benchmark = small(tmp_path, seeds=FOUR, grid=grid)
    first = Painted(fails_at=stop)
    with pytest.raises(KeyboardInterrupt):
        produce(first, benchmark, tmp_path / "x")
    again = Painted()
    produce(again, benchmark, tmp_path / "x")
    assert len(first.made) + len(again.made) == 16
    assert not set(first.made) & set(again.made)
    last = Painted()
    produce(last, benchmark, tmp_path / "x")
    assert last.made == []
    whole = Painted()
    produce(whole, benchmark, tmp_path / "y")
    assert files(tmp_path / "x") == files(tmp_path / "y")
    for name in files(tmp_path / "x"):
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_processes_share_the_records(tmp_path: Path) -> None:
    benchmark = small(tmp_path, seeds=FOUR, grid=True)
    painters = [Painted(), Painted(), Painted()]
    for rank, painter in enumerate(painters):
        produce(painter, benchmark, tmp_path / "x", rank=rank, world=3)
        assert len(painter.made) == images_of(benchmark, rank, 3)
    assert sum(len(one.made) for one in painters) == 16
    assert len(cases(benchmark, "x", tmp_path / "x")) == 4


def test_pictures_of_other_settings_are_refused(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    produce(Painted(), benchmark, tmp_path / "x")
    with pytest.raises(ValueError, match=r'0_0\.png was made otherwise \(style "plain", not "bold"\)'):
        produce(Painted(style="bold"), benchmark, tmp_path / "x")
    assert not kept(tmp_path / "gone.png", {})


def test_a_picture_without_a_recipe_is_refused(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    produce(Painted(), benchmark, tmp_path / "x")
    Image.new("RGB", (32, 32)).save(tmp_path / "x/single/0_0.png")
    with pytest.raises(ValueError, match="carries no recipe"):
        produce(Painted(), benchmark, tmp_path / "x")


def test_nine_references_are_one_sentence(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    crowded = replace(benchmark.records[0], subjects=benchmark.records[0].subjects * 9)
    with pytest.raises(ValueError, match="single-0 of small has 9 references, and a picture takes at most 8"):
        check_references(replace(benchmark, records=(crowded,)))


def test_two_of_one_noun_are_two_subjects(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = settled(small(tmp_path), pipeline)
    pair = benchmark.records[2]
    twins = replace(pair, subjects=tuple(replace(one, noun="bear") for one in pair.subjects))
    generate(pipeline, replace(benchmark, records=(twins,)), tmp_path / "twins")
    generate(pipeline, replace(benchmark, records=(pair,)), tmp_path / "pair")
    assert np.array_equal(*(pixels(tmp_path / name / pair.part / "0_0.png") for name in ("twins", "pair")))


# ---------------------------------------------------------------- settings


def of_all(benchmark: Benchmark, look: Callable[[Settings], object]) -> list[object]:
    return [look(one) for one in benchmark.settings.values()]


def test_settings_are_the_benchmarks_but_for_what_the_model_decides(
    pipeline: MosaicPipeline, tmp_path: Path
) -> None:
    benchmark = small(tmp_path)
    used = settled(benchmark, pipeline)
    assert (
        of_all(used, lambda one: (one.width, one.steps, one.guidance, one.seeds)) == [(32, 2, 2.0, (7,))] * 2
    )
    assert used.deviations[0] == "It is small."
    assert any("Guidance is the model's own 2: the published 4 is for" in line for line in used.deviations)
    assert any("letterbox canvas of 32 pixels" in line for line in used.deviations)
    assert settled(benchmark).deviations == benchmark.deviations
    assert settled(benchmark).settings == benchmark.settings


def test_a_part_without_records_is_left_as_published_and_tells_nothing(tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    first, other = benchmark.settings
    records = tuple(record for record in benchmark.records if record.part == first)
    other_size = benchmark.settings | {other: replace(benchmark.settings[other], width=48)}
    used = settled(replace(benchmark, records=records, settings=other_size), size=(64, 64))
    assert (used.settings[first].width, used.settings[other].width) == (64, 48)
    assert "instead of 32×32" in used.deviations[-1] and not any("48" in line for line in used.deviations)


def test_a_guidance_distilled_model_takes_the_published_guidance(tmp_path: Path) -> None:
    model = load(write_model(tmp_path / "dev", guidance_embeds=True))
    assert of_all(settled(small(tmp_path), model), lambda one: one.guidance) == [4.0, 4.0]


def test_what_the_benchmark_leaves_open_the_model_says(pipeline: MosaicPipeline, tmp_path: Path) -> None:
    benchmark = small(tmp_path)
    left_open = {part: replace(one, steps=None, guidance=None) for part, one in benchmark.settings.items()}
    used = settled(replace(benchmark, settings=left_open), pipeline)
    assert of_all(used, lambda one: (one.steps, one.guidance)) == [(2, 2.0)] * 2
    assert not any("Steps" in line or "Guidance" in line for line in used.deviations)


def test_steps_and_size_are_told_and_rounded_once(
    pipeline: MosaicPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        used = settled(small(tmp_path), pipeline, steps=1, size=(50, 23))
    assert caplog.text.count("multiples of 16: pictures are 48x16, not 50x23") == 1
    assert of_all(used, lambda one: (one.width, one.height, one.steps)) == [(48, 16, 1)] * 2
    assert "Pictures are 48×16 pixels instead of 32×32." in used.deviations
    assert used.deviations.count("Steps of the sampler are 1 instead of 2.") == 1
    with pytest.raises(ValueError, match="number of steps"):
        settled(small(tmp_path), pipeline, steps=0)
    with pytest.raises(ValueError, match="at most 4096"):
        settled(small(tmp_path), pipeline, size=(8192, 64))
