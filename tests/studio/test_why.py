"""Looks, owners, blocks: what is read, what a point finds, what is drawn and kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_studio import PROMPT, given, maker_on
from PIL import Image

from mosaic.geometry import Grid, center_of
from mosaic.model.layout import TokenLayout
from mosaic.pictures.attention import COLORS
from mosaic.pipeline import AttentionRequest, MosaicPipeline
from mosaic.pipeline.probing import AttentionReader
from mosaic.studio.making import Wish
from mosaic.studio.why import (
    MOST_ON_DEVICE,
    MOST_VALUES,
    Why,
    block_of,
    blocks_told,
    draw_look,
    draw_owners,
    followed,
    middle,
    request,
    stride,
    tell_look,
)


def why_of(names: tuple[str, ...] = ("bear", "duck"), blocks: int = 3) -> Why:
    """K references of 2 × 2 tokens, a target of 2 × 3, all different."""
    random = np.random.default_rng(0)
    k, target, grid = len(names), Grid(2, 3), Grid(2, 2)
    looks = random.dirichlet(np.ones(6), (blocks, k, 4)).astype(np.float32)
    owners = np.moveaxis(random.dirichlet(np.ones(k), (blocks, 6)), 2, 1).astype(np.float32)
    return Why(
        target=target,
        names=names,
        canvases=tuple(random.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in names),
        grids=(grid,) * k,
        tokens=((0, 1, 2, 3),) * k,
        looks=tuple(looks.mean(0)[i] for i in range(k)),
        owners=owners.mean(0),
        block_looks=tuple(looks[:, i] for i in range(k)),
        block_owners=owners,
    )


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("lora", ["release", "isolated"])
def test_blocks_are_kept_beside_their_mean(models: dict[str, Path], tmp_path: Path, lora: str) -> None:
    """The means are those of a request without blocks, to the last bit, and the mean of the blocks."""
    maker = maker_on(models, tmp_path, lora)
    pipeline = maker.pipeline()
    encoded = pipeline.encode_references([_reference(i) for i in range(2)], (64, 64))
    plan = pipeline.plan(PROMPT, encoded, size=(64, 64), steps=3)
    tokens = ((0, 3), (1,))
    plain = pipeline.make(plan, 1, AttentionRequest(tokens=tokens)).attention
    with_blocks = pipeline.make(plan, 1, AttentionRequest(tokens=tokens, per_block=True)).attention
    assert plain.block_looks is None and plain.block_owners is None
    assert np.array_equal(plain.owners, with_blocks.owners)
    assert all(np.array_equal(a, b) for a, b in zip(plain.looks, with_blocks.looks, strict=True))
    assert with_blocks.block_owners.shape == (4, 2, 16)
    assert [one.shape for one in with_blocks.block_looks] == [(4, 2, 16), (4, 1, 16)]
    assert np.allclose(with_blocks.block_owners.mean(0), plain.owners, atol=1e-6)
    assert np.allclose(with_blocks.block_owners.sum(1), 1, atol=1e-5)
    for blocks, mean in zip(with_blocks.block_looks, plain.looks, strict=True):
        assert np.allclose(blocks.sum(-1), 1, atol=1e-5)
        if lora == "release":  # under isolated visibility looks are normed after they are averaged
            assert np.allclose(blocks.mean(0), mean, atol=1e-6)
    assert not np.allclose(with_blocks.block_owners[0], with_blocks.block_owners[3], atol=1e-3)


def test_blocks_agree_with_the_transformers_own_rows(models: dict[str, Path], tmp_path: Path) -> None:
    """The last step's rows, read literally from a pass of our own."""
    pipeline = maker_on(models, tmp_path).pipeline()
    encoded = pipeline.encode_references([_reference(0)], (64, 64))
    plan = pipeline.plan(PROMPT, encoded, size=(64, 64), steps=1)
    asked = AttentionRequest(tokens=((2,),), per_block=True)
    read = pipeline.make(plan, 4, asked).attention
    from mosaic.pipeline.latents import noise_of

    reader = AttentionReader(asked, plan.full.layout, plan.sigmas)
    device = torch.device("cpu")
    with torch.no_grad():
        out = plan.full.run(
            pipeline.transformer, noise_of(4, Grid(4, 4)), 1.0, None, reader.look_probe(1.0, device)
        )
    assert np.allclose(read.block_looks[0], out.block_rows[:, 0, 0].numpy(), atol=1e-6)


def _reference(index: int):
    from fixtures_model import draw_subject

    from mosaic.sample import Reference, Subject

    image = np.asarray(draw_subject(index))
    return Reference(subject=Subject(id=str(index), name="bear"), image=image, mask=image.min(axis=2) < 255)


def layout(target: Grid, *references: Grid) -> TokenLayout:
    return TokenLayout(text=8, target=target, references=references)


def test_a_small_model_is_read_whole_and_a_large_one_on_average() -> None:
    small = request(layout(Grid(8, 8), *[Grid(4, 4)] * 4), blocks=6, per_block=None)
    assert small.per_block and small.tokens == (tuple(range(16)),) * 4
    large = request(layout(Grid(64, 64), *[Grid(32, 32)] * 4), blocks=57, per_block=None)
    assert not large.per_block
    assert 4096 * sum(map(len, large.tokens)) <= MOST_VALUES
    asked = request(layout(Grid(32, 32), *[Grid(16, 16)] * 4), blocks=57, per_block=True)
    assert asked.per_block and 57 * 1024 * sum(map(len, asked.tokens)) <= MOST_VALUES
    with pytest.raises(ValueError, match="Keeping each block would take 4 GiB"):
        request(layout(Grid(64, 64), *[Grid(32, 32)] * 4), blocks=57, per_block=True)
    assert MOST_ON_DEVICE < 57 * 4 * 4096 * 4096


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_followed_places_are_on_the_grid_and_evenly_apart(n: int) -> None:
    grid = Grid(5, 7)
    places = np.array(followed(grid, n))
    assert len(set(places)) == len(places) > 0 and places.max() < grid.size
    rows = np.unique(places // grid.width)
    assert (np.diff(rows) == n).all()
    assert stride([grid] * 2, 2 * len(places)) <= n


# ---------------------------------------------------------------- what a point finds


def test_a_point_finds_its_token() -> None:
    why = why_of()
    for token in range(4):
        x, y = center_of(token, why.grids[1])
        look = why.look(1, (float(x) + 0.1, float(y) - 0.1))
        assert np.array_equal(look.heat, why.looks[1][token])
        assert look.share == look.heat.max()
        assert np.allclose(look.peak, center_of(int(look.heat.argmax()), why.target))
        assert np.allclose(why.look(1, (float(x), float(y)), block=2).heat, why.block_looks[1][2][token])


def test_where_few_are_followed_the_nearest_answers() -> None:
    why = replace(why_of(), tokens=((3,), (0,)), looks=(why_of().looks[0][3:], why_of().looks[1][:1]))
    assert np.array_equal(why.look(0, (0.0, 0.0)).heat, why_of().looks[0][3])
    assert why.look(0, (0.0, 0.0)).start == (0.75, 0.75)


def test_further_views_of_a_subject_own_together() -> None:
    why = why_of(("bear", "duck", "Bear"))
    merged = why.owned()
    assert np.allclose(merged[0], why.owners[0] + why.owners[2]) and not merged[2].any()
    assert np.isclose(sum(why.shares()), 1) and why.shares()[2] == 0
    assert not np.allclose(why.owned(1), why.owned(2))


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda why: why.look(2, (0.5, 0.5)), "There is no reference 3 of 2"),
        (lambda why: why.look(0, (1.5, 0.5)), r"A point lies in \[0, 1\]²"),
        (lambda why: why.look(0, (float("nan"), 0.5)), r"A point lies in \[0, 1\]²"),
        (lambda why: why.owned(3), "There is no block 4: the 3 blocks of this picture were kept"),
        (lambda why: replace(why, block_owners=None).owned(0), "only the mean of the blocks were kept"),
        (lambda why: block_of("block x"), "A block is a number from 1"),
    ],
)
def test_refusals(ask, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(why_of())


def test_the_menu_of_blocks_is_read_back() -> None:
    assert [block_of(choice) for choice in blocks_told(3)] == [None, 0, 1, 2]
    assert [block_of(number) for number in (0, 1, 7)] == [None, 0, 6]


# ---------------------------------------------------------------- kept and drawn


def test_it_survives_the_disk(tmp_path: Path) -> None:
    why = why_of(("bär", "duck"))
    why.save(tmp_path / "a.npz")
    again = Why.load(tmp_path / "a.npz")
    assert again.names == why.names and again.tokens == why.tokens and again.target == why.target
    assert all(np.array_equal(a, b) for a, b in zip(again.canvases, why.canvases, strict=True))
    assert np.allclose(again.owners, why.owners, atol=1e-3) and again.blocks == 3
    assert np.allclose(again.look(1, (0.9, 0.9), 1).heat, why.look(1, (0.9, 0.9), 1).heat, atol=1e-3)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    averaged = replace(why, block_looks=None, block_owners=None)
    averaged.save(tmp_path / "b.npz")
    assert Why.load(tmp_path / "b.npz").blocks == 0


def test_the_glow_is_where_the_look_is() -> None:
    """In the subject's colour at the peak; elsewhere the muted picture."""
    why = why_of()
    heat = np.zeros(6, np.float32)
    heat[5] = 1
    look = replace(why.look(1, (0.1, 0.1)), heat=heat, peak=tuple(center_of(5, why.target)))
    grey = Image.new("RGB", (96, 64), (128, 128, 128))
    drawn = np.asarray(draw_look(grey, why, 1, look)).astype(int)
    assert drawn.shape == (512, 768, 3)
    blue = np.array([int(COLORS[1][i : i + 2], 16) for i in (1, 3, 5)])
    at = drawn[384 - 60, 640 + 60]  # beside the ring
    assert abs(at - blue).sum() < abs(drawn[80, 80] - blue).sum() / 2
    assert np.ptp(drawn[80, 80]) == 0
    said = tell_look(why, 1, look)
    assert "“duck”" in said and "83 % from the left and 75 % from the top" in said


def test_owners_wear_their_subjects_colours() -> None:
    owners = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], np.float32)
    why = replace(why_of(), owners=owners)
    drawn = np.asarray(draw_owners(Image.new("RGB", (96, 64), (128, 128, 128)), why)).astype(int)
    top, bottom = drawn[100, 384], drawn[400, 384]
    assert top[0] > top[2] and bottom[2] > bottom[0]  # red above, blue below


def test_a_picture_made_tells_why(models: dict[str, Path], tmp_path: Path) -> None:
    maker = maker_on(models, tmp_path)
    wish = Wish(prompt=PROMPT, references=(given(maker, "bear"), given(maker, "robot", 1)), steps=2)
    made = list(maker.make(wish))[-1]
    why = maker.history.why(made.entry)
    assert why.names == ("bear", "robot") and why.blocks == 4 and why.target == Grid(4, 4)
    assert all(np.allclose(rows.sum(-1), 1, atol=1e-2) for rows in why.looks)
    assert np.allclose(why.owners.sum(0), 1, atol=1e-2)
    assert why.canvases[0].shape == (32, 32, 3)
    x, y = middle(why.canvases[0])
    assert 0.3 < x < 0.7 and 0.3 < y < 0.7


def test_middle_of_nothing_is_the_middle() -> None:
    assert middle(np.full((8, 8, 3), 255, np.uint8)) == (0.5, 0.5)


def test_pipelines_of_other_rooms_ask_as_before(models: dict[str, Path], tmp_path: Path) -> None:
    assert AttentionRequest(tokens=((0,),)).per_block is False
    assert isinstance(maker_on(models, tmp_path).pipeline(), MosaicPipeline)
