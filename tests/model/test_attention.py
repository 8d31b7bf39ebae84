import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from mosaic.geometry import Grid
from mosaic.model.attention import BACKENDS, Pattern, attend, rotate
from mosaic.model.layout import TokenLayout, Visibility

from .tiny import SIZES, error, layout


def mask(layout: TokenLayout) -> Tensor:
    """Who sees whom as a bool (L, L), for the textbook formula alone."""
    sees = torch.zeros(layout.length, layout.length, dtype=torch.bool)
    sees[: layout.main] = True
    for span in layout.reference_spans:
        sees[span.slice, span.slice] = True
        if layout.visibility is not Visibility.ISOLATED:
            sees[span.slice, : layout.main] = True
        if layout.visibility is Visibility.FULL:
            sees[span.slice] = True
    return sees


def textbook(q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhd->bqhd", logits.masked_fill(~sees, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("references", [SIZES, (Grid(2, 2),) * 3, (Grid(1, 3), Grid(2, 2)), ()], ids=len)
def test_equals_masked_attention(references: tuple[Grid, ...], visibility: Visibility, backend: str) -> None:
    packed = layout(references, visibility=visibility)
    q, k, v = torch.randn(3, 2, packed.length, 3, 8).unbind()
    out = attend(q, k, v, Pattern.of(packed, backend))
    assert error(out, textbook(q, k, v, mask(packed))) < 1e-5


def test_references_alone() -> None:
    packed = layout(visibility=Visibility.ISOLATED)
    pattern = Pattern.of(packed, "sdpa")
    q, k, v = torch.randn(3, 2, packed.length, 3, 8).unbind()
    whole, n = attend(q, k, v, pattern), packed.main
    assert error(attend(q[:, n:], k[:, n:], v[:, n:], pattern.alone()), whole[:, n:]) == 0


def test_text_and_target_alone() -> None:
    """Queries of text and target only, keys of references cached."""
    packed = layout(visibility=Visibility.ISOLATED)
    q, k, v = torch.randn(3, 2, packed.length, 3, 8).unbind()
    pattern = Pattern.of(packed, "sdpa")
    assert error(attend(q[:, : packed.main], k, v, pattern), attend(q, k, v, pattern)[:, : packed.main]) == 0


def test_rotation_is_that_of_flux() -> None:
    x, cos, sin = torch.randn(2, 7, 3, 8), torch.randn(7, 8), torch.randn(7, 8)
    assert torch.equal(rotate(x, (cos, sin)), apply_rotary_emb(x, (cos, sin), sequence_dim=1))


def test_gradients_flow_everywhere() -> None:
    packed = layout()
    qkv = torch.randn(3, 1, packed.length, 2, 8, requires_grad=True)
    attend(*qkv.unbind(), Pattern.of(packed, "sdpa")).square().sum().backward()
    assert qkv.grad is not None and (qkv.grad.abs().sum((1, 3, 4)) > 0).all()
