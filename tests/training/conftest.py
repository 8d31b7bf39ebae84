"""The tiny recipe with changes, and a model folder to start from."""

from pathlib import Path
from typing import Any

import pytest

from mosaic.training.recipe import Recipe, recipe_of

from .fake_world import TINY, write_start


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
    return write_start(tmp_path_factory.mktemp("start"))
