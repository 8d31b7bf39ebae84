"""IR-SE50: the face network whose cosines XVerseBench calls ID-Sim.

A ResNet of 24 "improved residual" units with squeeze-and-excitation, of the ArcFace paper (Deng et al.,
arXiv 1801.07698, section 3) and of Hu et al. (arXiv 1709.01507). Names are those of model_ir_se50.pth
(github.com/TreB1eN/InsightFace_Pytorch, MIT; 175 367 323 bytes), trained on aligned RGB faces in [−1, 1]. The
code is ours. N faces, C channels, D = 512.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mosaic.perception.faces import SIDE, Floats
from mosaic.perception.loading import device_of, opening
from mosaic.sample import Picture

WIDTH = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels and units; the first unit halves the side
SQUEEZED = 16
COUNTERS = "num_batches_tracked"  # of batch norms; older files have none, and nothing here needs them


class Excitation(nn.Module):
    """Channels weighed by what the whole picture holds of them: (N, C, H, W) → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZED, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZED, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(functional.relu(self.fc1(mean))))


class Unit(nn.Module):
    """BN → conv → PReLU → conv (with the stride) → BN → SE, added to its input or a projection of it."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)  # takes every stride-th pixel; no weights
        if before != channels:
            projection = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(projection, nn.BatchNorm2d(channels))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            Excitation(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class Network(nn.Module):
    """Aligned faces (N, 3, 112, 112) in [−1, 1] → (N, 512), unit length."""

    def __init__(self) -> None:
        super().__init__()
        first = STAGES[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        self.body = nn.Sequential(*_units(first))
        last, side = STAGES[-1][0], SIDE // 2 ** len(STAGES)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(last * side * side, WIDTH),
            nn.BatchNorm1d(WIDTH),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return functional.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=-1)


class IRSE50:
    """A `FaceEmbedder` of model_ir_se50.pth, or of a safetensors file of the same names, by path."""

    width = WIDTH

    def __init__(self, at: str | Path, *, device: str | None = None, batch: int = 32) -> None:
        self.name, self._batch, self._device = Path(at).name, batch, device_of(device)
        with torch.device("meta"):
            network = Network()
        with opening("The face embedder IR-SE50", at):
            network.load_state_dict(read_weights(Path(at), network), assign=True)
        self._network = network.to(self._device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, faces: Sequence[Picture]) -> Floats:
        """(n, 512), unit length."""
        vectors = [self._some(faces[at : at + self._batch]) for at in range(0, len(faces), self._batch)]
        return np.concatenate([np.zeros((0, WIDTH), np.float32), *vectors])

    def _some(self, faces: Sequence[Picture]) -> Floats:
        values = torch.from_numpy(np.stack(faces)).to(self._device).permute(0, 3, 1, 2)
        return self._network(values.float() / 127.5 - 1).cpu().numpy()


def read_weights(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Plain tensors by name, float32; batch counters that an older file does not have are zero."""
    state = _tensors(path)
    counters = {name: torch.zeros((), dtype=torch.long) for name in network.state_dict() if COUNTERS in name}
    return {name: tensor.float() for name, tensor in state.items() if COUNTERS not in name} | counters


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a broken file can raise nearly anything in a reader
        raise ValueError(f"it holds no plain tensors by name: {error}") from error


def _units(before: int) -> list[Unit]:
    units = []
    for channels, number in STAGES:
        for stride in (2, *[1] * (number - 1)):
            units.append(Unit(before, channels, stride))
            before = channels
    return units
