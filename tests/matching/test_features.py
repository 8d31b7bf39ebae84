"""Where features are: sampling, masks, other grids, several maps as one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mosaic.geometry import Grid, Placement, center_of
from mosaic.matching.features import FeatureMap, Joined, canvas_of, joined, unit
from mosaic.matching.gradients import Gradients, around, oriented
from tests.matching.world import noise, placed

BOXED = Placement.letterbox((40, 80), (64, 64), box=(20, 0, 80, 40))


def test_features_at_the_middle_of_a_token_are_its_own() -> None:
    one = placed(noise(4, 5))
    torch.testing.assert_close(one.at(one.centers()), one.values)


@given(st.floats(0, 1), st.floats(0, 1))
def test_features_between_tokens_are_bilinear(x: float, y: float) -> None:
    one = placed(noise(4, 5))
    values = one.values.reshape(4, 5, -1).double().numpy()
    column, row = np.clip(x * 5 - 0.5, 0, 4), np.clip(y * 4 - 0.5, 0, 3)
    wanted = np.zeros(values.shape[-1])
    for r in range(4):
        for c in range(5):
            wanted += max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c)) * values[r, c]
    found = one.at([(x, y)])[0].double().numpy()
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


@given(st.floats(0, 3), st.floats(0, 3))
def test_cells_and_points_are_inverse(column: float, row: float) -> None:
    one = placed(noise(4, 4), BOXED)
    points = one.points([(column, row)])
    inside = ((points > 0) & (points < 1)).all()
    if inside:
        np.testing.assert_allclose(one.cells(points), [(column, row)], atol=1e-9)
    assert ((points >= 0) & (points <= 1)).all()


def test_tokens_shown_are_those_of_the_box_and_of_the_mask() -> None:
    one = placed(noise(4, 4), BOXED)
    shown = one.shows()
    centers = one.centers()
    assert shown.any() and not shown.all()  # the letterbox leaves white above and below
    mask = np.zeros((40, 80), bool)
    mask[:, 50:] = True
    right = one.shows(mask).numpy()
    assert right.tolist() == (shown.numpy() & (centers[:, 0] >= 50 / 80)).tolist()


def test_a_map_needs_a_row_a_token() -> None:
    with pytest.raises(ValueError, match=r"12 tokens needs values \(12, C\)"):
        FeatureMap(values=torch.zeros(11, 3), grid=Grid(3, 4), placement=BOXED)


def test_the_cosine_of_joined_maps_is_the_mean_of_theirs() -> None:
    a, b = (joined([placed(noise(4, 4, 8, seed)), placed(noise(4, 4, 20, seed + 9))]) for seed in (1, 2))
    parts = [
        (placed(noise(4, 4, w, 1 + s)).values, placed(noise(4, 4, w, 2 + s)).values)
        for w, s in ((8, 0), (20, 9))
    ]
    wanted = sum(first @ second.T for first, second in parts) / 2
    torch.testing.assert_close(a.values @ b.values.T, wanted)
    with pytest.raises(ValueError, match="no feature map"):
        joined([])


def test_another_grid_keeps_the_places() -> None:
    ramp = np.stack(np.meshgrid(np.linspace(1, 2, 8), np.linspace(3, 5, 8)), -1)
    one = placed(ramp)
    fine = one.finer(16)
    direct = one.at(center_of(np.arange(256), Grid(16, 16)))
    torch.testing.assert_close(fine.values, direct)
    torch.testing.assert_close(one.on(fine).values, direct)
    assert one.on(one) is one


def test_a_box_fills_the_canvas_whatever_is_around() -> None:
    picture = np.full((40, 80, 3), 10, np.uint8)
    picture[10:30, 40:60] = 200
    canvas, placement = canvas_of(picture, 32, (40, 10, 60, 30))
    assert canvas.shape == (1, 3, 32, 32)
    inner = canvas[..., 6:-6, 6:-6]  # what lies beside the box rings into its outline
    assert float((inner - 200 / 255).abs().max()) < 0.02
    np.testing.assert_allclose(placement.invert([(0.5, 0.5)]), [(50 / 80, 20 / 40)])


def test_several_extractors_are_one() -> None:
    class Fixed:
        def __init__(self, name: str, seed: int) -> None:
            self.name, self.seed = name, seed

        def __call__(self, picture: np.ndarray, box: object = None) -> FeatureMap:
            return placed(noise(4, 4, 6, self.seed))

    both = Joined(Fixed("a", 1), Fixed("b", 2))
    assert both.name == "a + b"
    assert both(np.zeros((64, 64, 3), np.uint8)).values.shape == (16, 12)


# ---------------------------------------------------------------- gradients


def test_a_step_is_seen_in_its_own_direction() -> None:
    canvas = torch.zeros(1, 3, 16, 16)
    canvas[..., 8:] = 1  # brighter to the right: direction 0
    found = oriented(canvas)[0]
    assert found[0].sum() > 0 and float(found[1:].sum()) == pytest.approx(0, abs=1e-5)
    turned = oriented(canvas.transpose(2, 3))[0]  # brighter below: a quarter turn, the third of eight
    assert turned[2].sum() > 0 and float(turned[[0, 1, 3, 4, 5, 6, 7]].sum()) == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(found.sum(0).T, turned.sum(0))


def test_neighbourhoods_are_shifted_copies() -> None:
    cells = torch.arange(36.0).view(1, 1, 6, 6)
    found = around(cells, 1)[0]
    torch.testing.assert_close(found[4], cells[0, 0])
    torch.testing.assert_close(found[5, :, :-1], cells[0, 0, :, 1:])
    torch.testing.assert_close(found[1, 1:], cells[0, 0, :-1])


def test_gradients_find_a_moved_picture_again() -> None:
    picture = (np.random.default_rng(3).random((96, 96, 3)) * 255).astype(np.uint8)
    extract = Gradients(tokens=12, cell=8)
    here, there = extract(picture), extract(np.roll(picture, (16, 24), (0, 1)))
    sought = 5 * 12 + 4
    assert int((here.values[sought] @ there.values.T).argmax()) == 7 * 12 + 7
    torch.testing.assert_close(here.values.norm(dim=1), torch.ones(144))
    assert float(unit(torch.zeros(2, 3)).abs().sum()) == 0
