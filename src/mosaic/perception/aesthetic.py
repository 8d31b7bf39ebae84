"""How a picture pleases, 1 to 10: Aesthetic Predictor V2.5, a small head on SigLIP's picture vector.

The head's shape and the scale of its scores are those of github.com/discus0434/aesthetic-predictor-v2-5
(5.5 and more is said to be great); its backbone is google/siglip-so400m-patch14-384. N pictures, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mosaic.perception.encoders import Encoder
from mosaic.perception.loading import opening
from mosaic.sample import Picture

WIDTHS = (1024, 128, 64, 16, 1)
PREFIX = "scoring_head."  # of the published file's names


class Aesthetic(Protocol):
    """Scores pictures; higher is better."""

    name: str

    def __call__(self, pictures: Sequence[Picture]) -> NDArray[np.float32]: ...


class AestheticPredictor:
    """An `Aesthetic` of an encoder (SigLIP's unit vectors) and the published head's weights."""

    def __init__(self, encoder: Encoder, head: str | Path) -> None:
        self.name = f"{encoder.name} + {Path(head).name}"
        self._encoder = encoder
        self._head = aesthetic_head(encoder.width)
        with opening("The head of the aesthetic score", head):
            self._head.load_state_dict(_weights(Path(head)))
        self._head.eval().requires_grad_(False)

    def __call__(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """(N,)."""
        vectors = torch.from_numpy(self._encoder.pictures(pictures))
        return self._head(vectors)[:, 0].numpy()


def aesthetic_head(width: int) -> nn.Sequential:
    """(N, D) → (N, 1): linear layers, between them dropout alone, which keeps the file's numbering."""
    layers: list[nn.Module] = []
    for before, after in pairwise((width, *WIDTHS)):
        layers += [nn.Linear(before, after), nn.Dropout(0.5)]
    return nn.Sequential(*layers[:-1])


def head_file(where: str | Path) -> Path:
    """A file as it is; the file of a URL, loaded once into torch's folder. ValueError if it cannot be had."""
    if not str(where).startswith(("http://", "https://")):
        return Path(where).expanduser()
    from huggingface_hub.constants import HF_HUB_OFFLINE

    file = Path(torch.hub.get_dir()) / "checkpoints" / str(where).rpartition("/")[2]
    with opening("The head of the aesthetic score", where):
        if not file.is_file():
            if HF_HUB_OFFLINE:
                raise OSError("HF_HUB_OFFLINE is set")
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(str(where), str(file), progress=False)
    return file


def _weights(path: Path) -> dict[str, Tensor]:
    """Of a safetensors file, or of the published .pth, plain tensors either way."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {name.removeprefix(PREFIX): tensor.float() for name, tensor in state.items()}
