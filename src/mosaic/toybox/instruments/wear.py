"""What may happen to a picture on its way to the instruments: colour casts, blur, coarse resampling, noise.

Letters: B pictures, H, W pixels.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad


def wear(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], each worn in its own way; many stay nearly as they are."""
    batch = len(pictures)

    def chosen(share: float) -> Tensor:
        return (torch.rand(batch, generator=random) < share).view(-1, 1, 1, 1)

    worn = torch.where(chosen(0.7), _cast(pictures, random), pictures)
    worn = torch.where(
        chosen(0.3), blur(worn, 0.3 + 1.2 * float(torch.rand((), generator=random)) ** 2), worn
    )
    worn = torch.where(chosen(0.2), _coarse(worn, 0.6 + 0.35 * float(torch.rand((), generator=random))), worn)
    strength = 0.05 * torch.rand(batch, 1, 1, 1, generator=random)
    noise = torch.randn(worn.shape, generator=random) * strength
    return torch.where(chosen(0.3), worn + noise, worn).clamp(0, 1)


def _cast(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Each channel's gain and lift a little off."""
    gain = 1 + 0.08 * (2 * torch.rand(len(pictures), 1, 1, 1, generator=random) - 1)
    tint = 1 + 0.03 * torch.randn(len(pictures), 3, 1, 1, generator=random)
    lift = 0.02 * torch.randn(len(pictures), 3, 1, 1, generator=random)
    return pictures * gain * tint + lift


def blur(pictures: Tensor, deviation: float) -> Tensor:
    """Gaussian blur, deviation in pixels."""
    reach = torch.arange(-3.0, 4.0)
    line = torch.exp(-0.5 * (reach / deviation) ** 2)
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 7, 7)
    return conv2d(pad(pictures, (3, 3, 3, 3), mode="replicate"), kernel.to(pictures), groups=3)


def _coarse(pictures: Tensor, factor: float) -> Tensor:
    size = pictures.shape[-1]
    small = interpolate(pictures, size=round(size * factor), mode="bilinear", antialias=True)
    return interpolate(small, size=size, mode="bilinear")
