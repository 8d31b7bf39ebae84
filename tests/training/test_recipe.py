"""Recipes: unknown keys, overrides, defaults, and every recipe of the repository."""

import math
from pathlib import Path

import pytest

from mosaic.keys import kind_of, known_keys, set_key
from mosaic.training.recipe import Recipe, canonical, read_recipe, recipe_of

RECIPES = [
    path
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("toybox-*.toml"))
    if kind_of(path) != "autoencoder"  # test_autoencoder
]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_is_valid(path: Path) -> None:
    recipe = read_recipe(path)
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert recipe_of(recipe.model_dump(mode="json")) == recipe
    assert all(word in header for word in ("Aims at", "Hardware", "Time", "Expect", "Status"))


@pytest.mark.parametrize(
    ("table", "nearest"),
    [
        ({"optimser": {}}, "optimiser"),
        ({"optimiser": {"learning_rate": 1}}, "optimiser.lr"),
        ({"loss": {"alpa": 1}}, "loss.alpha"),
        ({"loss": {"lr": 1}}, "optimiser.lr"),
        ({"data": {"dropout": {"txt": 0.1}}}, "data.dropout.text"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(table: dict[str, object], nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown key .*did you mean {nearest}\?$"):
        recipe_of(table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"data": {"size": 100}}, "data.size"),
        ({"data": {"dropout": {"text": 0.9, "both": 0.9}}}, "sum to at most 1"),
        ({"data": {"subjects": {"3": 1}, "samples": {"2": 8}}}, "no number for 3 subjects"),
        ({"model": {"create": {"head_width": 32}}}, "rope_axes must sum to head_width 32"),
        ({"optimiser": {"steps": 0}}, "optimiser.steps"),
        ({"optimiser": {"lr": math.inf}}, "optimiser.lr: Input should be a finite number"),
        ({"optimiser": {"betas": [0.9, math.nan]}}, "optimiser.betas.1: Input should be a finite number"),
        ({"data": {"subjects": {"1": math.inf}}}, "data.subjects.1: Input should be a finite number"),
        ({"noise": {"shift": "more"}}, "noise.shift: Input should be 'none' or 'flux'"),
        ({"seed": 10**23}, "recipe: seed: Input should be less than"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_its_key(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        recipe_of(table)
    assert str(caught.value).endswith(".") and not str(caught.value).endswith("..")
    assert "\n" not in str(caught.value)


def test_overrides_are_read_as_toml_or_as_text() -> None:
    table: dict[str, object] = {"data": {"subjects": {"1": 1.0}}}
    for text in (
        "data.subjects.4=0.5",
        "model.base=runs/base",
        "loss.blocks=[1, 2]",
        "model.compile=true",
        "seed=7",
    ):
        set_key(table, text)
    recipe = recipe_of(table)
    assert recipe.data.subjects == {1: 1.0, 4: 0.5}
    assert (recipe.model.base, recipe.loss.blocks, recipe.model.compile, recipe.seed) == (
        "runs/base",
        (1, 2),
        True,
        7,
    )


@pytest.mark.parametrize("text", ["seed", "=3", "loss..alpha=1", "seed.x=1"])
def test_a_malformed_override_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        set_key({"seed": 0}, text)


def test_a_missing_or_broken_file_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("seed = ")
    with pytest.raises(ValueError, match="not valid TOML"):
        read_recipe(tmp_path / "broken.toml")


def test_every_row_of_the_paper_against_release_table_is_a_key() -> None:
    keys = set(known_keys(Recipe))
    assert keys >= {
        "lora.rank", "optimiser.lr", "optimiser.steps", "optimiser.batch", "loss.alpha", "loss.beta",
        "loss.md_start", "loss.md_ramp", "loss.sca_reduction", "loss.md_distance", "loss.md_rows",
        "loss.blocks", "loss.direction", "references.visibility", "references.positions", "noise.shift",
    }  # fmt: skip


def test_equal_recipes_have_equal_text() -> None:
    assert canonical(recipe_of({})) == canonical(recipe_of({"seed": 0}))
