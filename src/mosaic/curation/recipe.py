"""A curation recipe: stages with their backends, thresholds, workers. A stage runs if it has a table.

Each stage's table is the `Section` of its own file in `stages`; what is here belongs to the run.
"""

import json
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mosaic.curation.costs.assumptions import Assumptions
from mosaic.curation.engine import Workers
from mosaic.curation.folder import write_whole
from mosaic.curation.rows import STAGES
from mosaic.curation.verdicts import Bounds
from mosaic.curation.worker import Plan, Step
from mosaic.keys import read_tables, validated

SOURCES = ("import", "prompts")
MODULES = {"import": "importing"}  # import is no name for a module
# keys of sections that change how fast a stage is or where it asks, not what it makes
NEUTRAL = frozenset(
    "api_key_variable base_url batch cache concurrency device offload price retries threads timeout".split()
)

Count = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """The run's own keys, and the sections of its stages in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    samples: Count | None = None  # None, of an import: all there are
    shard: Count = 1000  # samples a shard
    retry: bool = False  # rows that failed in an earlier run are tried again
    together: bool = False  # one worker does all stages of a shard: for small runs, where processes cost most
    thresholds: dict[str, Bounds] = {}  # "stage/score", with * for any part
    workers: dict[str, Workers] = {}  # by stage; of "together" where it is set
    plan: Assumptions = Assumptions()  # for `mosaic plan` alone
    stages: dict[str, BaseModel] = {}

    @model_validator(mode="after")
    def _one_source(self) -> "Recipe":
        sources = [stage for stage in SOURCES if stage in self.stages]
        if len(sources) != 1:
            raise ValueError(
                "a recipe needs one of the tables [import] and [prompts], where its samples come from"
            )
        if self.samples is None and sources == ["prompts"]:
            raise ValueError("a recipe with [prompts] needs samples, how many to make")
        return self

    @model_validator(mode="after")
    def _known_names(self) -> "Recipe":
        for name in self.workers:
            if name not in (*STAGES, "together"):
                raise ValueError(f"workers.{name} is no stage: {', '.join(STAGES)} or together")
        for name in self.thresholds:
            if name.partition("/")[0] not in (*STAGES, "*"):
                raise ValueError(f'the threshold "{name}" must begin with a stage: {", ".join(STAGES)}')
        return self


def read_recipe(path: Path, overrides: list[str]) -> Recipe:
    """The recipe in a TOML file after `section.key=value` overrides; ValueError says what to change."""
    return recipe_of(read_tables(path, overrides), str(path))


def is_curation(path: Path) -> bool:
    """Whether a TOML file has a table of a stage. ValueError for one that cannot be read."""
    return not read_tables(path).keys().isdisjoint(STAGES)


def recipe_of(tables: dict[str, Any], name: str = "recipe") -> Recipe:
    """A validated recipe from nested tables."""
    tables = dict(tables)
    given = {stage: tables.pop(stage) for stage in STAGES if stage in tables}
    stages = {stage: _section(stage, table, name) for stage, table in given.items()}
    if "stages" in tables:
        raise ValueError(f"{name}: unknown key stages; a stage's table has the stage's name.")
    return validated(Recipe, tables | {"stages": stages}, name)


def _section(stage: str, table: Any, name: str) -> BaseModel:
    if not isinstance(table, dict):
        raise ValueError(f"{name}: {stage} is a table, [{stage}].")
    return validated(_module(stage).Section, table, f"{name} [{stage}]")


def _module(stage: str) -> Any:
    return import_module(f"mosaic.curation.stages.{MODULES.get(stage, stage)}")


def make(stage: str, section: BaseModel) -> Any:
    """A stage of its section, models and all."""
    return _module(stage).make(section)


def plan_of(recipe: Recipe, folder: Path) -> Plan:
    """What workers need to know of a recipe's run in a folder."""
    kinds = {"import": "source", "prompts": "source", "pack": "closing"}
    steps = tuple(
        Step(stage=stage, make=partial(make, stage, section), kind=kinds.get(stage, "stage"))  # type: ignore[arg-type]
        for stage, section in recipe.stages.items()
    )
    most = len(steps[0].make()) if "import" in recipe.stages else sys.maxsize
    return Plan(
        folder=folder.absolute(),
        steps=steps,
        samples=min(most, recipe.samples or most),
        shard=recipe.shard,
        thresholds=recipe.thresholds,
        retry=recipe.retry,
    )


def pools_of(recipe: Recipe, only: str | None) -> dict[tuple[str, ...], Workers]:
    """Which stages share a worker, in order, and their workers. ValueError for a stage the recipe lacks."""
    if only is not None and only not in recipe.stages:
        raise ValueError(f"--only {only}: the recipe has {', '.join(recipe.stages)}.")
    stages = tuple(recipe.stages) if only is None else (only,)
    if recipe.together:
        return {stages: recipe.workers.get("together", Workers())}
    return {(stage,): recipe.workers.get(stage, Workers()) for stage in stages}


def phases_of(recipe: Recipe, only: str | None) -> list[dict[tuple[str, ...], Workers]]:
    """Pools that run one after another: packing after all else where duplicates are to be dropped."""
    pools = pools_of(recipe, only)
    if duplicates_of(recipe) is None or only not in (None, "pack"):
        return [pools]
    before = {tuple(name for name in stages if name != "pack"): workers for stages, workers in pools.items()}
    packing = next(workers for stages, workers in pools.items() if "pack" in stages)
    return [{stages: workers for stages, workers in before.items() if stages}, {("pack",): packing}]


def duplicates_of(recipe: Recipe) -> int | None:
    """By how many bits of their hashes two pictures are one; None if none is dropped."""
    return getattr(recipe.stages.get("pack"), "duplicates", None)


def claim(recipe: Recipe, folder: Path) -> None:
    """Note in each stage's folder what it is made by; ValueError where something else made it.

    Thresholds, packing, workers and the number of samples may change between runs.
    """
    made_by: dict[str, Any] = {"shard": recipe.shard}
    for stage, section in recipe.stages.items():
        if stage == "pack":
            continue
        made_by[stage] = _content(section.model_dump(mode="json"))
        note = folder / "stages" / stage / "made-by.json"
        if not note.exists():
            write_whole(note, json.dumps(made_by, sort_keys=True, indent=1).encode())
        elif differing := _differing(json.loads(note.read_bytes()), made_by):
            raise ValueError(
                f"{note.parent} was made with another {differing}: choose another --output, or delete the "
                "folders of that stage and of those after it."
            )


def _content(table: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in table.items() if key not in NEUTRAL}
    return {key: _content(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _differing(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> str:
    """The first key, dotted, whose value differs; "" for none."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            if found := _differing(old, new, f"{prefix}{key}."):
                return found
        elif old != new:
            return prefix + key
    return ""
