"""Is scoring bound by the encoder? `python benchmarks/evaluation_speed.py [--pictures 3000]`.

Pictures of 512 × 512 pixels go through `mosaic.evaluation.scoring.measure` with a ViT-S/16 of DINO's shape
and random weights (the arithmetic is that of the real one). Told: the shares of wall time in the extractor
(resizing included) and in the network alone, of all from reading and decoding files to keeping the features.
Goal: nearly all of it. Hashing the files, done before, is told apart.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import ViTConfig, ViTModel

from mosaic.evaluation import scoring
from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import Ask, PictureFile
from mosaic.evaluation.store import FeatureStore

SIDE = 512


def encoder(folder: Path) -> Path:
    """DINO's ViT-S/16."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}
    ViTModel(ViTConfig(**shape), add_pooling_layer=False).save_pretrained(folder)
    return folder


class Clock:
    """Seconds within the network's forward pass."""

    def __init__(self) -> None:
        self.seconds, forward = 0.0, ViTModel.forward

        def timed(*arguments: Any, **more: Any) -> Any:
            began = time.monotonic()
            found = forward(*arguments, **more)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.monotonic() - began
            return found

        ViTModel.forward = timed


def draw(folder: Path, count: int) -> list[Path]:
    """PNGs as large as a photograph's, all different: smooth colours under a grain of a few levels."""
    random = np.random.default_rng(0)
    grain = random.integers(-6, 7, (2 * SIDE, 2 * SIDE, 3))
    files = []
    for index in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE), 3)
        y, x = random.integers(0, SIDE, 2)
        picture = np.clip(np.asarray(coarse) + grain[y : y + SIDE, x : x + SIDE], 0, 255).astype(np.uint8)
        files.append(folder / f"{index:05}.png")
        Image.fromarray(picture).save(files[-1], compress_level=1)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "pictures").mkdir()
        scorers = scorers_of([f"dino={encoder(root / 'vit-s16')}"])
        files = draw(root / "pictures", options.pictures)
        store, clock = FeatureStore(root / "features"), Clock()
        began = time.monotonic()
        pending = scoring.missing([Ask("dino", PictureFile(file)) for file in files], scorers, store)
        hashed = time.monotonic() - began
        spent = scoring.measure("dino", pending, scorers, store)
    told = asdict(spent) | {"hashing": hashed, "network": clock.seconds}
    told |= {"share": spent.measuring / spent.seconds, "network_share": clock.seconds / spent.seconds}
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in told.items()}
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
