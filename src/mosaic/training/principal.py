"""An encoder that is made, not trained: the latents are the principal components of 8 × 8 pixels.

A convolutional encoder trained for an hour of a CPU keeps no more of a toybox picture than as many principal
components of its 8 × 8 patches do, and these are linear, ordered from coarse to fine, and cost one
eigenvalue problem. The same map is written here into the weights of diffusers' `AutoencoderKL`, so that
whatever reads FLUX's folder layout reads it.

Z latent channels, N patches, B pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import unfold

PATCH = 8  # pixels a latent is wide
POWER = 0.5  # a component is divided by its deviation to this power: 0 leaves it as it is, 1 whitens it
LARGE = 1000.0  # beside it a latent is small: group normalisation then scales by a constant
CERTAIN = -20.0  # logarithm of the posterior's variance: a picture has one latent


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """latent = weight · patch + bias, for patches in the order (colour, row, column)."""

    weight: Tensor  # (Z, 192)
    bias: Tensor  # (Z,)


def patches(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) → (N, 192): all 8 × 8 patches side by side."""
    return unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)


def principal_components(pictures: Tensor, channels: int) -> Components:
    """The leading components of the patches of pictures (B, 3, H, W) in [−1, 1], their spread evened out.

    ValueError for more channels than a patch has numbers.
    """
    seen = patches(pictures).double()
    if not 0 < channels <= seen.shape[1]:
        raise ValueError(f"a patch has 1 to {seen.shape[1]} principal components, not {channels}.")
    mean = seen.mean(0)
    variances, vectors = torch.linalg.eigh(torch.cov((seen - mean).T))  # ascending
    variances, vectors = variances.flip(0)[:channels], vectors.flip(1)[:, :channels]
    weight = vectors.T / variances.clamp_min(1e-12).sqrt().pow(POWER)[:, None]
    weight = weight / (weight @ (seen - mean).T).std()
    return Components(weight=weight.float(), bias=(-weight @ mean).float())


@torch.no_grad()
def set_encoder(vae: AutoencoderKL, components: Components) -> None:
    """Write the map into an encoder of four sizes with one residual block each. The decoder is left alone.

    The residual blocks and the attention are silenced, three strided convolutions gather the 64 pixels of a
    patch, and a latent passes the last SiLU as a pair x, −x, for silu(x) − silu(−x) = x. ValueError where the
    encoder is too narrow.
    """
    encoder: Any = vae.encoder
    widths, latents = list(vae.config.block_out_channels), len(components.weight)
    check_widths(widths, latents, vae.config.norm_num_groups)
    for parameter in encoder.parameters():
        parameter.zero_()
    _pass_on(encoder.conv_in, 3)
    for block, kept in zip(encoder.down_blocks[1:3], (12, 48), strict=True):
        if block.resnets[0].conv_shortcut is not None:
            _pass_on(block.resnets[0].conv_shortcut, kept)
    _gather(encoder.down_blocks[0].downsamplers[0].conv, 3)
    _gather(encoder.down_blocks[1].downsamplers[0].conv, 12)
    _project(encoder.down_blocks[2].downsamplers[0].conv, components)
    places = pair_places(latents, widths[-1], vae.config.norm_num_groups)
    _pair(encoder.down_blocks[3].resnets[0].conv_shortcut, places, vae.config.norm_num_groups)
    _read(encoder, places, widths[-1] // vae.config.norm_num_groups)


def check_widths(widths: Sequence[int], latents: int, groups: int) -> None:
    """ValueError where an encoder of these widths cannot hold the components."""
    room = (widths[-1] // groups - 2) // 2 * groups
    fits = len(widths) == 4 and widths[0] >= 12 and widths[1] >= 48 and widths[2] >= max(48, latents)
    if not fits or widths[2] == widths[3] or room < latents:
        raise ValueError(
            f"{latents} principal components fit an encoder of four widths of at least 12, 48, "
            f"{max(48, latents)} and one more, {groups} groups of 2 + 2·{-(-latents // groups)} channels, "
            f"not {list(widths)}."
        )


def pair_places(latents: int, width: int, groups: int) -> list[int]:
    """The channel of each latent's x; −x is the next one. A group's first two channels hold ±LARGE."""
    size = width // groups
    free = [g * size + c for g in range(groups) for c in range(2, size - 1, 2)]
    return free[:latents]


def _middle(conv: nn.Conv2d) -> Tensor:
    """The weights (out, in) that see a pixel's own place."""
    return conv.weight[:, :, conv.weight.shape[2] // 2, conv.weight.shape[3] // 2]


def _pass_on(conv: nn.Conv2d, channels: int) -> None:
    """The first channels as they are, nothing in the others."""
    _middle(conv)[range(channels), range(channels)] = 1.0


def _gather(conv: nn.Conv2d, channels: int) -> None:
    """2 × 2 pixels → 4 times as many channels, in the order (channel, row, column)."""
    for c in range(channels):
        for row in (0, 1):
            for column in (0, 1):
                conv.weight[4 * c + 2 * row + column, c, row, column] = 1.0


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _project(conv: nn.Conv2d, components: Components) -> None:
    """2 × 2 pixels of gathered 4 × 4 ones → the latents."""
    latents = len(components.weight)
    # a place in a patch is three bits of its row and of its column; the last convolution sees the coarse ones
    bits = components.weight.view(latents, 3, 2, 2, 2, 2, 2, 2)  # z, colour, y4, y2, y1, x4, x2, x1
    taps = bits.permute(0, 1, 4, 7, 3, 6, 2, 5)  # z, colour, y1, x1, y2, x2, y4, x4
    conv.weight[:latents, :48, :2, :2] = taps.reshape(latents, 48, 2, 2)
    _bias(conv)[:latents] = components.bias


def _pair(conv: nn.Conv2d, places: Sequence[int], groups: int) -> None:
    """Latents → x, −x at their places, and ±LARGE in every group."""
    for latent, place in enumerate(places):
        _middle(conv)[place, latent], _middle(conv)[place + 1, latent] = 1.0, -1.0
    size = conv.out_channels // groups
    _bias(conv)[0::size], _bias(conv)[1::size] = LARGE, -LARGE


def _read(encoder: Any, places: Sequence[int], size: int) -> None:
    """The pairs → the latents' means, and their certain variance."""
    encoder.conv_norm_out.weight.fill_(1.0)
    deviation = LARGE * (2 / size) ** 0.5  # of a group: two of its channels are ±LARGE, the others near 0
    for latent, place in enumerate(places):
        middle = _middle(encoder.conv_out)
        middle[latent, place], middle[latent, place + 1] = deviation, -deviation
    encoder.conv_out.bias[len(places) :] = CERTAIN
