from types import SimpleNamespace

import pytest
import torch
from diffusers import FluxPipeline

from mosaic.geometry import Grid
from mosaic.model.latents import pack_latents, scale_latents, unpack_latents, unscale_latents


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (10, 4)])
def test_packing_is_that_of_flux(size: tuple[int, int]) -> None:
    latents = torch.randn(2, 16, *size)
    tokens = pack_latents(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 16, *size))
    assert torch.equal(unpack_latents(tokens, Grid(size[0] // 2, size[1] // 2)), latents)


def test_scale_round_trip() -> None:
    latents = torch.randn(1, 16, 2, 2)
    for shift in (0.1159, None):
        config = SimpleNamespace(scaling_factor=0.3611, shift_factor=shift)
        scaled = scale_latents(latents, config)
        torch.testing.assert_close(scaled, (latents - (shift or 0)) * 0.3611)
        torch.testing.assert_close(unscale_latents(scaled, config), latents)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="even sides"):
        pack_latents(torch.zeros(1, 16, 3, 4))
    with pytest.raises(ValueError, match="do not lie"):
        unpack_latents(torch.zeros(1, 6, 64), Grid(2, 2))
