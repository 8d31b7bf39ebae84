"""The tiny recipe with changes, and a model folder to start from."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mosaic.training.recipe import Recipe, recipe_of

from .fake_world import TINY, WORDS


@pytest.fixture
def tiny_recipe() -> Any:
    """recipe(section={"key": value}, …): the tiny recipe with changes."""

    def make(**changes: Any) -> Recipe:
        table = dict(TINY)
        for name, value in changes.items():
            table[name] = {**table.get(name, {}), **value} if isinstance(value, dict) else value
        return recipe_of(table)

    return make


@pytest.fixture(scope="session")
def tiny_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model folder with weights of every kind, so that no gradient is zero by construction."""
    from mosaic.model.transformer import MosaicTransformer
    from mosaic.training.embedded import create_model_folder
    from mosaic.training.recipe import CreateSection

    folder = tmp_path_factory.mktemp("start")
    create_model_folder(folder, CreateSection(**TINY["model"]["create"]), WORDS)
    transformer = MosaicTransformer.from_pretrained(folder / "transformer")
    torch.manual_seed(0)
    for parameter in transformer.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    transformer.save_pretrained(folder / "transformer")
    return folder
