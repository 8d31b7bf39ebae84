"""DIY-SC's refiner of DINOv2 features (arXiv 2506.05312, weights CC0): one residual bottleneck.

h × w tokens of B pictures, C channels. The file says the network's widths; the code is ours.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import relu

GROUPS = 32  # of its normalisations; the one number the file does not tell
PREFIX = "bottleneck_layers.0.0."
TRAINING_ONLY = ("logit_scale", "self_logit_scale", "mixing_weights")  # a softmax over one layer is 1


class Refiner(nn.Module):
    """relu(x + bottleneck(x)), (B, C, h, w) → the same: 1×1 down, 3×3, 1×1 up, each group-normalised."""

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, narrow, 1, bias=False)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(narrow, channels, 1, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(GROUPS, narrow), nn.GroupNorm(GROUPS, narrow)
        self.norm3 = nn.GroupNorm(GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        narrow = relu(self.norm1(self.conv1(x)))
        narrow = relu(self.norm2(self.conv2(narrow)))
        return relu(x + self.norm3(self.conv3(narrow)))


def load_refiner(path: str | Path) -> Refiner:
    """The refiner in a .safetensors file of `convert`'s, or in the authors' own .pth, read without pickles.

    ValueError if the file is neither, or of another network.
    """
    tensors = _tensors(Path(path))
    if "conv1.weight" not in tensors or "conv3.weight" not in tensors:
        raise ValueError(f"{path} holds no DIY-SC refiner: it lacks {PREFIX}conv1.weight.")
    narrow, channels = tensors["conv1.weight"].shape[:2]
    refiner = Refiner(channels, narrow)
    try:
        refiner.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds another network than DIY-SC's bottleneck: {error}") from error
    return refiner.eval().requires_grad_(False)


def convert(source: str | Path, output: str | Path) -> None:
    """The authors' .pth as .safetensors, under our names."""
    save_file({name: tensor.contiguous() for name, tensor in _tensors(Path(source)).items()}, output)


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"There is no DIY-SC refiner {path}: give a .safetensors or .pth file.")
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {_renamed(name): tensor for name, tensor in state.items() if name not in TRAINING_ONLY}


def _renamed(name: str) -> str:
    """bottleneck_layers.0.0.conv1.norm.weight → norm1.weight"""
    layer, _, rest = name.removeprefix(PREFIX).partition(".")
    return f"norm{layer[-1]}.{rest.removeprefix('norm.')}" if rest.startswith("norm.") else f"{layer}.{rest}"
