"""The recipe of an ablation, and the runs it asks for."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mosaic.keys import kind_of
from mosaic.training.recipe import Count, Natural, Recipe, Section, Weight, read_as, recipe_of

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]  # part of a file's name; a hyphen parts names


class MeasureSection(Section):
    """How every run is measured, on scenes of held-out toys (`mosaic.toybox.instruments.measure`)."""

    subjects: tuple[Count, ...] = (2, 4)
    scenes: Count = 64  # for each number of subjects
    seed: Natural = 2026
    steps: Count = 12  # of the sampler
    guidance: Weight = 2.0
    last: Count = 100  # steps over whose records losses and probe are averaged


class Cell(Section):
    """A named set of changes."""

    name: Name
    set: dict[str, Any] = Field(default={})


class Group(Section):
    """Cells that are compared with one another at every seed; the first is what the others differ from."""

    name: Name
    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)]
    set: dict[str, Any] = Field(default={})
    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _different(self) -> "Group":
        _refuse_twice([cell.name for cell in self.cells], f"the cell {{}} of {self.name}")
        _refuse_twice([str(seed) for seed in self.seeds], f"the seed {{}} of {self.name}")
        return self


class AblationRecipe(Section):
    """What `recipes/ablation.toml` may say."""

    kind: Literal["ablation"]
    base: str  # the recipe all runs share, beside this one
    ledger: str = ""  # folder of one JSON a run; "": OUTPUT/ledger
    order: tuple[str, ...] = ()  # groups to run, first things first; (): all, in the order of the file
    set: dict[str, Any] = Field(default={})  # changes of all runs
    measure: MeasureSection = MeasureSection()
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _known_groups(self) -> "AblationRecipe":
        names = [group.name for group in self.groups]
        _refuse_twice(names, "the group {}")
        if unknown := [name for name in self.order if name not in names]:
            raise ValueError(f"order names {unknown[0]}, and the groups are {', '.join(names)}")
        return self

    def ordered(self) -> list[Group]:
        by_name = {group.name: group for group in self.groups}
        return [by_name[name] for name in self.order or by_name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run: a cell at a seed."""

    group: str
    cell: str
    place: int  # of the cell in its group
    seed: int
    changes: dict[str, Any]  # what the cell and its group change of what all runs share
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.group}-{self.cell}-s{self.seed}"


def is_ablation(path: Path) -> bool:
    """Whether a recipe file says kind = "ablation"; a file that cannot be read is another's to tell."""
    return kind_of(path) == "ablation"


def read_ablation(path: Path, overrides: Sequence[str] = ()) -> tuple[AblationRecipe, list[Job]]:
    """An ablation and its runs in order: group by group, seed by seed. ValueError names what is wrong."""
    ablation = read_as(AblationRecipe, path, overrides)
    base = Path(path).parent / ablation.base
    read_as(Recipe, base)  # a mistake there is told as that file's
    shared = merged(tomllib.loads(base.read_text(encoding="utf-8")), ablation.set)
    return ablation, list(_jobs(ablation, shared))


def _jobs(ablation: AblationRecipe, shared: dict[str, Any]) -> Iterator[Job]:
    for group in ablation.ordered():
        for seed in group.seeds:
            for place, cell in enumerate(group.cells):
                changes = merged(group.set, cell.set)
                table = merged(shared, changes) | {"seed": seed}
                name = f"{group.name}-{cell.name}-s{seed}"
                recipe = recipe_of(table, name)
                yield Job(
                    group=group.name,
                    cell=cell.name,
                    place=place,
                    seed=seed,
                    changes=changes,
                    recipe=recipe,
                )


def merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with changes in them; neither is touched."""
    result = dict(table)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _refuse_twice(names: Sequence[str], told: str) -> None:
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{told.format(twice[0])} is there twice")
