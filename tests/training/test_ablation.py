"""The ablation on a tiny world: killed and taken up, its ledger, its table on ledgers made by hand."""

import json
import os
import re
import runpy
import signal
from pathlib import Path
from typing import Any

import pytest

from mosaic.cli import run as command
from mosaic.training import run as loop_room
from mosaic.training.ablation import running
from mosaic.training.ablation.__main__ import main
from mosaic.training.ablation.cells import is_ablation, read_ablation
from mosaic.training.ablation.ledger import (
    Entry,
    means_of_last,
    read_entry,
    read_ledger,
    recipe_digest,
    write_entry,
)
from mosaic.training.recipe import read_recipe, recipe_of

from .other import other_process

RECIPES = Path(__file__).parents[2] / "recipes"
BASE = """
[model]
dtype = "float32"
[model.create]
heads = 2
head_width = 16
double_blocks = 1
single_blocks = 1
rope_axes = [4, 6, 6]
t5_width = 32
t5_layers = 1
clip_width = 32
clip_layers = 1
text_length = 24
[lora]
rank = 2
[data]
subjects = { 2 = 1 }
samples = 4
shard = 4
size = 32
reference_size = 32
points = 4
[optimiser]
steps = 2
batch = 2
[output]
checkpoint = 1
log = 1
"""
ABLATION = """
kind = "ablation"
base = "base.toml"
[measure]
subjects = [2]
scenes = 2
steps = 1
last = 1
[[groups]]
name = "release"
seeds = [0]
cells = [
    { name = "none", set = { loss.alpha = 0.0, loss.beta = 0.0 } },
    { name = "both", set = { loss.alpha = 0.4, loss.beta = 0.6 } },
]
"""


class Killed(BaseException):
    """As sudden as SIGKILL: nothing handles it."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE)
    path = tmp_path / "ablation.toml"
    path.write_text(ABLATION)
    return path


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """The n-th optimiser step of the process never happens; the steps that did."""
    original, steps = loop_room.MasterAdamW.step, []

    def step(self: Any) -> float:
        if len(steps) == call:
            raise Killed
        steps.append(self.steps)
        return original(self)

    monkeypatch.setattr(loop_room.MasterAdamW, "step", step)
    return steps


def test_an_ablation_goes_on_where_it_stood(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    kill_at(monkeypatch, 3)  # in the second step of the second run
    with pytest.raises(Killed):
        command(["train", str(recipe), "--output", str(out)])
    assert [path.stem for path in (out / "ledger").iterdir()] == ["release-none-s0"]
    before = (out / "ledger" / "release-none-s0.json").read_bytes()
    monkeypatch.undo()
    steps = kill_at(monkeypatch, 99)
    assert command(["train", str(recipe), "--output", str(out)]) == 0
    assert steps == [1]  # the one that was missing
    assert (out / "ledger" / "release-none-s0.json").read_bytes() == before
    none, both = sorted(read_ledger(out / "ledger"), key=lambda entry: entry.cell, reverse=True)
    assert (none.cell, both.cell, both.steps, both.samples) == ("none", "both", 2, 4)
    assert none.start == both.start and none.recipe != both.recipe
    assert both.changes == {"loss": {"alpha": 0.4, "beta": 0.6}}
    assert set(both.losses) == {"flow", "sca", "md"} and "exact" in both.probe
    assert set(both.measures) == {"2"} and both.measures["2"]["presence"]["count"] == 4
    assert (out / "release-both-s0" / "lora.safetensors").is_file()
    # from one start, with the same batches and noise: the first step's losses are equal
    logs = [json.loads((out / f"release-{c}-s0" / "log.jsonl").open().readline()) for c in ("none", "both")]
    assert logs[0]["loss/flow"] == logs[1]["loss/flow"] and logs[0]["loss/sca"] == logs[1]["loss/sca"]
    # nothing is left to do; a changed recipe is not taken for the old one
    assert command(["train", str(recipe), "--output", str(out)]) == 0
    assert len(steps) == 1
    for change, told in (("set.lora.rank=3", "another recipe"), ("measure.scenes=3", "another measure")):
        assert command(["train", str(recipe), "--output", str(out), "--set", change]) == 2
        assert told in capsys.readouterr().err
    assert main(["table", str(out / "ledger")]) is None
    assert "| both | 1 |" in capsys.readouterr().out
    pictures = runpy.run_path(str(RECIPES.parent / "examples" / "ablation_pictures.py"))
    asked = ["--cells", "release-none", "release-both", "--subjects", "2", "--scenes", "1", "--steps", "1"]
    for kind in ("scenes", "attention"):
        pictures["main"]([kind, str(out), str(tmp_path / f"{kind}.png"), *asked])
        assert (tmp_path / f"{kind}.png").stat().st_size > 1000


def test_a_signal_leaves_with_what_was_done_saved(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop_room.MasterAdamW.step

    def step(self: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(loop_room.MasterAdamW, "step", step)
    before = signal.getsignal(signal.SIGTERM)
    assert command(["train", str(recipe), "--output", str(tmp_path / "out")]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (tmp_path / "out" / "ledger").exists()
    assert (tmp_path / "out" / "release-none-s0" / "checkpoints" / "step-00000001").is_dir()
    assert not (tmp_path / "out" / "release-both-s0").exists()


def test_several_processes_share_an_ablation(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with other_process(out / "release-none-s0"):
        assert command(["train", str(recipe), "--output", str(out)]) == 0
    assert [path.stem for path in (out / "ledger").iterdir()] == ["release-both-s0"]
    assert "release-none-s0 is left to the process that is at work on it" in capsys.readouterr().err
    original = running.train_recipe

    def train(*arguments: Any, **options: Any) -> None:  # meanwhile another process takes what is next
        original(*arguments, **options)
        kept = out / "both.json"
        if kept.exists():
            kept.rename(out / "ledger" / "release-both-s0.json")

    (out / "ledger" / "release-both-s0.json").rename(out / "both.json")
    monkeypatch.setattr(running, "train_recipe", train)
    steps = kill_at(monkeypatch, 99)
    assert command(["train", str(recipe), "--output", str(out)]) == 0
    assert steps == [0, 1]  # the run that was left, and not the one that was made meanwhile
    assert len(read_ledger(out / "ledger")) == 2


# ---------------------------------------------------------------- the recipe


def test_the_repository_s_ablation_is_what_the_issue_asks_for() -> None:
    ablation, jobs = read_ablation(RECIPES / "ablation.toml")
    groups = {group.name: group for group in ablation.groups}
    main_group = groups["release"]
    assert [cell.name for cell in main_group.cells] == ["none", "sca", "md", "both"]
    assert len(main_group.seeds) >= 3
    by_name = {job.name: job for job in jobs}
    for cell, (sca, md) in {"none": (0, 0), "sca": (1, 0), "md": (0, 1), "both": (1, 1)}.items():
        loss = by_name[f"release-{cell}-s0"].recipe.loss
        assert (bool(loss.alpha), bool(loss.beta)) == (bool(sca), bool(md))
    for name in ("full", "isolated"):
        cells = {job.cell: job.recipe for job in jobs if job.group == name}
        assert {recipe.references.visibility for recipe in cells.values()} == {name}
        assert {"none", "both", "both_backwards"} <= set(cells)
        assert cells["both_backwards"].loss.direction == "target_to_ref"
    assert len({job.recipe.optimiser.steps for job in jobs}) == 1
    assert len({job.recipe.model.base for job in jobs}) == 1
    screened = [job.recipe for job in jobs if job.group == "screening"]
    assert all(job.seed == 0 for job in jobs if job.group == "screening")
    tried = {
        "weights": {(r.loss.alpha, r.loss.beta) for r in screened},
        "blocks": {str(r.loss.blocks) for r in screened},
        "points": {r.data.points for r in screened},
        "distance": {r.loss.md_distance for r in screened},
        "positions": {r.references.positions for r in screened},
        "rank": {r.lora.rank for r in screened},
        "average": {r.loss.average for r in screened},
    }
    assert tried["points"] >= {16, 64} and "double" in tried["blocks"]
    assert all(len(values) > 1 for values in tried.values()), tried
    assert len({recipe_digest(job.recipe) for job in jobs if job.seed == 0}) == len(
        [job for job in jobs if job.seed == 0]
    )


def test_the_joint_ablation_changes_one_thing_a_cell() -> None:
    _, jobs = read_ablation(RECIPES / "ablation-joint.toml")
    first = {job.cell: job.recipe for job in jobs if job.seed == 0}
    teacher, none, release = first["teacher"], first["none"], first["release"]
    assert teacher.train.parameters == "base" and not teacher.model.base
    assert teacher.loss == read_recipe(RECIPES / "toybox-base.toml").loss
    assert none.loss == teacher.loss.model_copy(update={"alpha": 0.0})
    assert release.loss == teacher.loss.model_copy(update={"direction": "ref_to_target", "blocks": "all"})
    for recipe in (none, release):
        assert recipe.model_copy(update={"loss": teacher.loss}) == teacher
    isolated = first["isolated"]
    assert isolated.model_copy(update={"references": teacher.references}) == teacher
    assert (isolated.references.visibility, isolated.references.pooled) == ("isolated", "null")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = [0]", "seeds = [0]\nseed = 1", "unknown key groups.0.seed"),
        ("seeds = [0]", "seeds = [0, 0]", "the seed 0 of release is there twice"),
        ('name = "both"', 'name = "none"', "the cell none of release is there twice"),
        (
            "loss.alpha = 0.4",
            "loss.alfa = 0.4",
            r"release-both-s0: unknown key loss\.alfa; did you mean loss",
        ),
        ('base = "base.toml"', 'base = "no.toml"', "cannot read the recipe"),
        ("[measure]", 'order = ["full"]\n[measure]', "order names full"),
        ("loss.alpha = 0.4", 'model.base = "embedded"', "starts from other weights"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(
    recipe: Path, tmp_path: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(ABLATION.replace(old, new))
    assert command(["train", str(recipe), "--output", str(tmp_path / "out")]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command(["train", str(recipe), "--output", "out"]) == 2


def test_order_and_overrides(recipe: Path) -> None:
    text = ABLATION + '[[groups]]\nname = "more"\nseeds = [1, 0]\ncells = [{ name = "a" }, { name = "b" }]\n'
    recipe.write_text(text)
    _, jobs = read_ablation(recipe, ["set.optimiser.steps=7", 'order=["more", "release"]'])
    names = ["more-a-s1", "more-b-s1", "more-a-s0", "more-b-s0", "release-none-s0", "release-both-s0"]
    assert [job.name for job in jobs] == names
    assert {job.recipe.optimiser.steps for job in jobs} == {7}
    assert is_ablation(recipe) and not is_ablation(recipe.with_name("base.toml"))


def test_the_digest_tells_choices_and_nothing_else() -> None:
    table: dict[str, Any] = {"loss": {"alpha": 0.1}}
    digest = recipe_digest(recipe_of(table))
    for same in ({"seed": 3}, {"output": {"log": 1}}, {"data": {"cache": "c"}}, {"model": {"base": "b"}}):
        assert recipe_digest(recipe_of(table | same)) == digest
    assert recipe_digest(recipe_of(table | {"loss": {"alpha": 0.1, "beta": 0.6}})) == digest  # the default
    for other in ({"loss": {"alpha": 0.2}}, {"data": {"points": 3}}, {"optimiser": {"steps": 5}}):
        assert recipe_digest(recipe_of(table | other)) != digest


# ---------------------------------------------------------------- the ledger


ENTRY = Entry(
    group="release", cell="none", place=0, seed=0, changes={}, recipe="r", start="s", commit="c", machine="m",
    steps=10, samples=40, losses={"flow": 0.4}, probe={"exact": 0.5},
    measure={"scenes": 2, "steps": 12, "guidance": 2.0, "last": 5},
    measures={"4": {"identity": {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 8.0}}},
)  # fmt: skip


def test_a_line_is_read_back(tmp_path: Path) -> None:
    write_entry(tmp_path, ENTRY)
    assert read_ledger(tmp_path) == [ENTRY]
    assert [path.name for path in tmp_path.iterdir()] == ["release-none-s0.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"group": "release"}'])
def test_another_file_is_no_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "release-none-s0.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"release-none-s0\.json"):
        read_entry(path)


def test_a_renamed_line_and_an_empty_ledger_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run"):
        read_ledger(tmp_path)
    write_entry(tmp_path, ENTRY)
    (tmp_path / "release-none-s0.json").rename(tmp_path / "release-none-s1.json")
    with pytest.raises(ValueError, match="named after its run"):
        read_ledger(tmp_path)


def test_means_are_of_the_last_steps(tmp_path: Path) -> None:
    lines = [
        {"step": 8, "loss/flow": 9.0},
        {"step": 9, "loss/flow": 1.0, "loss/sca": 4.0, "probe/exact": 0.25, "probe/block/0": 1.0},
        {"step": 10, "loss/flow": 2.0, "gradient/norm": 3.0},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert means_of_last(log, 10, 2) == ({"flow": 1.5, "sca": 4.0}, {"exact": 0.25})
