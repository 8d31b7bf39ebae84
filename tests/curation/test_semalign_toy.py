"""SemAlign-Toy's first shard has its published checksum."""

import hashlib
from pathlib import Path

import pytest

from mosaic.curation.run import curate

RECIPES = Path(__file__).parents[2] / "recipes"


def published() -> dict[str, str]:
    lines = (RECIPES / "semalign-toy.sha256").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def test_every_shard_has_a_checksum() -> None:
    assert list(published()) == [f"semalign-toy-{n:05}.tar" for n in range(10)]


@pytest.mark.slow
def test_the_first_shard_is_made_again(tmp_path: Path) -> None:
    curate(RECIPES / "semalign-toy.toml", tmp_path, overrides=["samples=120"])
    shard = tmp_path / "semalign-toy-00000.tar"
    assert hashlib.sha256(shard.read_bytes()).hexdigest() == published()[shard.name]
