from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mosaic.geometry import Grid
from mosaic.model.layout import Positions, Span, TokenLayout, Visibility

grids = st.builds(Grid, st.integers(1, 6), st.integers(1, 6))
layouts = st.builds(
    TokenLayout,
    text=st.integers(0, 4),
    target=grids,
    references=st.lists(grids, max_size=6).map(tuple),
    positions=st.sampled_from(Positions),
)


def released(side: int, count: int) -> TokenLayout:
    grid = Grid.of_pixels(side, side)
    return TokenLayout(text=512, target=grid, references=(grid,) * count)


@pytest.mark.parametrize(
    ("side", "k", "first", "last"),
    [
        (512, 1, -32, -1),
        (512, 2, -64, -33),
        (512, 3, -96, -65),
        (512, 6, -192, -161),
        (512, 8, -256, -225),
        (1024, 1, -64, -1),
        (1024, 2, -128, -65),
        (1024, 8, -512, -449),
    ],
)
def test_released_ids(side: int, k: int, first: int, last: int) -> None:
    """The examples of the authors' positions: columns shifted left, rows and frame as they are."""
    size = side // 16
    ids = list(released(side, 8).reference_ids())[k - 1]
    assert ids.dtype == torch.int64
    assert ids[:, 2].unique().tolist() == list(range(first, last + 1))
    assert ids[:, 1].unique().tolist() == list(range(size))
    assert not ids[:, 0].any()
    assert ids[size + 3].tolist() == [0, 1, first + 3]


def test_text_and_target_ids() -> None:
    ids = released(512, 1).ids()
    assert not ids[:512].any()
    assert ids[512 + 3 * 32 + 7].tolist() == [0, 3, 7]


def test_widths_are_summed() -> None:
    layout = TokenLayout(text=0, target=Grid(2, 2), references=(Grid(1, 3), Grid(2, 1), Grid(1, 2)))
    assert [ids[0].tolist() for ids in layout.reference_ids()] == [[0, 0, -3], [0, 0, -4], [0, 0, -6]]
    diagonal = replace(layout, positions=Positions.DIAGONAL)
    assert [ids[0].tolist() for ids in diagonal.reference_ids()] == [[0, -1, -3], [0, -3, -4], [0, -4, -6]]
    frame = replace(layout, positions=Positions.FRAME)
    assert [ids[0].tolist() for ids in frame.reference_ids()] == [[1, 0, 0], [2, 0, 0], [3, 0, 0]]


@given(layouts)
def test_no_two_references_share_an_id(layout: TokenLayout) -> None:
    """Nor does a reference share one with the target. An id is a position under a rotary base."""
    spans = [{(1, *row) for row in layout.ids()[layout.target_span.slice].tolist()}]
    for factor, ids in zip(layout.base_factors(), layout.reference_ids(), strict=True):
        spans.append({(factor, *row) for row in ids.tolist()})
        assert len(spans[-1]) == len(ids)
    assert all(a.isdisjoint(b) for a, b in combinations(spans, 2))
    if layout.positions is Positions.FREQUENCY:  # the base does not move the origin
        assert all((ids[:, 1:] > 0).all() for ids in layout.reference_ids())


@given(layouts)
def test_spans_tile_the_sequence(layout: TokenLayout) -> None:
    spans = [layout.text_span, layout.target_span, *layout.reference_spans]
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == layout.length == len(layout.ids())
    assert [span.length for span in spans[2:]] == [grid.size for grid in layout.references]
    assert layout.main == layout.target_span.stop


@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("positions", list(Positions))
def test_what_can_be_cached(visibility: Visibility, positions: Positions) -> None:
    layout = TokenLayout(text=1, target=Grid(1, 1), visibility=visibility, positions=positions)
    assert layout.cacheable == (visibility == "isolated" and positions != "frequency")


def test_equal_layouts_are_one_key() -> None:
    a = TokenLayout(text=3, target=Grid(2, 2), references=(Grid(1, 1),), visibility="full")  # type: ignore[arg-type]
    b = TokenLayout(text=3, target=Grid(2, 2), references=[Grid(1, 1)], visibility=Visibility.FULL)  # type: ignore[arg-type]
    assert a == b and len({a, b}) == 1
    assert Span(2, 5).slice == slice(2, 5)


@pytest.mark.parametrize(
    "wrong", [{"text": -1}, {"visibility": "everything"}, {"positions": "height"}], ids=str
)
def test_mistakes_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"negative|everything|height"):
        TokenLayout(**{"text": 1, "target": Grid(1, 1)} | wrong)  # type: ignore[arg-type]
