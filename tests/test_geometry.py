import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mosaic.geometry import TOKEN, Grid, Placement, center_of, render, render_array, token_of

sides = st.integers(1, 90)
sizes = st.tuples(sides, sides)
grids = st.builds(Grid, st.integers(1, 40), st.integers(1, 40))
seeds = st.integers(0, 2**32 - 1)


def points_of(seed, count=50):
    return np.random.default_rng(seed).random((count, 2))


def box_in(draw, size):
    top, left = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    return left, top, draw(st.integers(left + 1, size[1])), draw(st.integers(top + 1, size[0]))


@st.composite
def placements(draw, source=None):
    source = draw(sizes) if source is None else source
    kind = draw(st.sampled_from(["letterbox", "crop", "flip", "resize"]))
    if kind == "letterbox":
        box = draw(st.none() | st.just(box_in(draw, source)))
        return Placement.letterbox(source, draw(sizes), draw(st.floats(0.05, 1)), box)
    if kind == "crop":
        return Placement.crop(source, box_in(draw, source))
    return Placement.flip(source) if kind == "flip" else Placement.resize(source, draw(sizes))


def test_grid_counts_tokens_latents_and_pixels():
    grid = Grid.of_pixels(512, 768)
    assert grid == Grid(32, 48) and grid.size == 1536
    assert grid.latents == (64, 96) and grid.pixels == (512, 768)


@pytest.mark.parametrize("size", [(0, 16), (8, 16), (500, 512), (-16, 16)])
def test_grid_refuses_other_sizes(size):
    with pytest.raises(ValueError, match="multiples of 16"):
        Grid.of_pixels(*size)


@given(grids)
def test_tokens_round_trip(grid):
    tokens = np.arange(grid.size)
    assert (token_of(center_of(tokens, grid), grid) == tokens).all()


@given(grids, seeds)
def test_a_token_is_within_half_a_token_of_its_points(grid, seed):
    points = points_of(seed)
    off = np.abs(center_of(token_of(points, grid), grid) - points) * (grid.width, grid.height)
    assert off.max() <= 0.5 + 1e-9


def test_tokens_are_raster_and_clamped():
    assert token_of([(0, 0), (1, 0), (0, 1), (1, 1), (0.6, 0.1)], Grid(2, 3)).tolist() == [0, 2, 3, 5, 1]
    assert token_of([-5.0, 7.0], Grid(2, 3)) == 3
    assert token_of(np.zeros((4, 0, 2)), Grid(2, 3)).shape == (4, 0)
    with pytest.raises(ValueError, match="0…5"):
        center_of([6], Grid(2, 3))


@given(placements(), seeds)
def test_placements_are_invertible(placement, seed):
    points = points_of(seed)
    assert np.allclose(placement.invert(placement.apply(points)), points, atol=1e-6)
    assert np.allclose(placement.apply(placement.invert(points)), points, atol=1e-6)


@given(st.data(), seeds)
def test_composition_moves_points_as_its_parts_do(data, seed):
    first = data.draw(placements())
    second = data.draw(placements(first.canvas))
    try:
        both = first.then(second)
    except ValueError:  # nothing left
        return
    points = points_of(seed)
    assert np.allclose(both.apply(points), second.apply(first.apply(points)), atol=1e-5)
    shown = first.shows(points) & second.shows(first.apply(points))
    assert (both.shows(points) == shown).mean() > 0.9  # they may differ by rounding, on a border


@given(sizes, seeds)
def test_flips_and_crops_are_exact_copies(size, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    assert (render_array(picture, Placement.flip(size)) == picture[:, ::-1]).all()
    top, left = size[0] // 3, size[1] // 4
    crop = Placement.crop(size, (left, top, size[1], size[0]))
    assert (render_array(picture, crop) == picture[top:, left:]).all()
    mask = picture[..., 0] > 127
    assert (render_array(mask, crop.then(Placement.flip(crop.canvas))) == mask[top:, left:][:, ::-1]).all()


def dot(size, point):
    """A black picture with one soft white dot around a point."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    near = np.exp(-((x - point[0] * size[1]) ** 2 + (y - point[1] * size[0]) ** 2) / (2 * 6**2))
    return np.repeat((near * 255).astype(np.uint8)[..., None], 3, axis=2)


big = st.tuples(st.integers(6, 14), st.integers(6, 14)).map(lambda size: (size[0] * TOKEN, size[1] * TOKEN))


@given(big, big, st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.booleans(), st.booleans())
def test_points_move_with_the_pixels(source, canvas, x, y, flipped, cropped):
    placement = Placement.letterbox(source, canvas, fraction=0.9)
    if flipped:
        placement = placement.then(Placement.flip(canvas))
    if cropped:
        box = (TOKEN, TOKEN // 2, canvas[1] - 5, canvas[0] - 3)
        placement = placement.then(Placement.crop(canvas, box))
    moved = render_array(dot(source, (x, y)), placement, fill=0)[..., 0].astype(float)
    height, width = placement.canvas
    rows, columns = np.mgrid[:height, :width] + 0.5
    seen = np.array([(moved * columns).sum(), (moved * rows).sum()]) / moved.sum()
    assert np.abs(seen - placement.apply((x, y)) * (width, height)).max() < 1.0  # pixels; a token is 16


def test_letterbox_is_the_released_canvas():
    placement = Placement.letterbox((300, 700), (512, 512), fraction=0.9, box=(100, 50, 500, 250))
    assert placement.onto == (26, 141, 26 + 460, 141 + 230)  # 460.8 and 230.4, truncated and centred
    picture = np.zeros((300, 700, 3), np.uint8)
    canvas = render_array(picture, placement)
    assert (canvas[141:371, 26:486] == 0).all() and canvas.astype(int).sum() == 255 * 3 * (512**2 - 460 * 230)
    assert placement.shows([(0.5, 0.5), (0.0, 0.0)]).tolist() == [True, False]


@given(sizes, sizes)
def test_a_whole_letterbox_touches_two_borders(source, canvas):
    left, top, right, bottom = Placement.letterbox(source, canvas).onto
    assert right - left == canvas[1] or bottom - top == canvas[0]
    assert left >= 0 and top >= 0 and right <= canvas[1] and bottom <= canvas[0]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "F", "I;16"])
def test_render_keeps_the_mode(mode):
    picture = Image.new(mode, (20, 10))
    moved = render(picture, Placement.letterbox((10, 20), (32, 32)), nearest=mode in ("1", "I;16"))
    assert moved.mode == mode and moved.size == (32, 32)
    if mode == "RGB":
        assert moved.getpixel((0, 0)) == (255, 255, 255) and moved.getpixel((16, 16)) == (0, 0, 0)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="not a part"):
        Placement.crop((10, 10), (0, 0, 11, 5))
    with pytest.raises(ValueError, match="at least one pixel"):
        Placement.crop((10, 10), (5, 0, 5, 5))
    with pytest.raises(ValueError, match="fraction"):
        Placement.letterbox((10, 10), (10, 10), fraction=0)
    with pytest.raises(ValueError, match="cannot be placed"):
        Placement.flip((10, 10)).then(Placement.flip((10, 11)))
    with pytest.raises(ValueError, match="not \\(4, 3\\)"):
        render(Image.new("RGB", (3, 4)), Placement.flip((10, 11)))
    with pytest.raises(ValueError, match="Nothing of the picture"):
        letterbox = Placement.letterbox((10, 100), (100, 100))
        letterbox.then(Placement.crop((100, 100), (0, 0, 100, 20)))
    with pytest.raises(ValueError, match="vanish"):
        Placement(source=(4, 4), canvas=(4, 4), box=(0, 0, 4, 4), onto=(0, 0, 0, 4))
