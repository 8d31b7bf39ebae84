"""`mosaic evaluate` from the command line to its report, on real prompts and photographs where they are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mosaic import cli
from mosaic.evaluation.rows import read_rows
from tests.fixtures_model import write_lora, write_model
from tests.perception import tiny

DATA = Path(__file__).parents[3] / "shared" / "benchmarks"
DINOV2 = Path(__file__).parents[3] / "shared" / "weights" / "dinov2-small-finetuned"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmarks are not here")

ABSENT = ["crops", "dinov2"]  # of DreamBench's scorers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("model")
    folder = write_model(root / "model", default_size=64, default_steps=2, default_guidance=2.0)
    write_lora(folder, folder / "lora.safetensors")
    return folder


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    root = tmp_path_factory.mktemp("scorers")
    clip, dino = tiny.clip(root / "tiny-clip"), tiny.dino(root / "tiny-dino")
    without = [word for role in ABSENT for word in ("--scorer", f"{role}=none")]
    return ["--scorer", f"clip={clip}", "--scorer", f"dino={dino}", *without]


def evaluate(capsys, *arguments):
    """Exit status and what was said on stderr, the bars left out."""
    status = cli.run(["evaluate", *map(str, arguments)])
    return status, capsys.readouterr().err


def dreambench(model, scorers, output, *more):
    size = ["--size", "64x64", "--steps", "1", "--limit", "2"]
    return ["dreambench", "--data", DATA, "--model", model, "--output", output, *size, *scorers, *more]


@pytest.fixture(scope="module")
def finished(model, scorers, tmp_path_factory):
    if not DATA.is_dir():
        pytest.skip("the benchmarks are not here")
    output = tmp_path_factory.mktemp("run") / "dreambench"
    assert cli.run(["evaluate", *map(str, dreambench(model, scorers, output))]) == 0
    return output


def test_every_part_of_the_report_is_there(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary["parts"]) == {"single", "multi"}
    assert [one["name"] for one in summary["methods"]] == ["mosaic", "without references", "copy-paste"]
    assert "CLIP-I" in (tables := (finished / "tables.md").read_text()) and "tiny-clip" in tables
    for name in ("tables.tex", "index.html"):
        assert (finished / name).stat().st_size > 1000
    assert "--scorer crops=none" in summary["missing"]["DINO-min (cropped)"]
    assert "--scorer hps=MizzenAI/HPSv3" in summary["missing"]["HPSv3"]


def test_the_table_is_the_mean_of_the_rows(finished):
    """CLIP-I of multi, by the published formula, from the long table."""
    rows = [row for row in read_rows(finished / "scores.parquet") if row.column == "CLIP-I [tiny-clip]"]
    rows = [row for row in rows if (row.method, row.part) == ("mosaic", "multi")]
    cells = {}
    for row in rows:
        cells.setdefault(row.group, {}).setdefault(row.subject, []).append(row.value)
    by_hand = np.mean([np.mean([np.mean(v) for v in group.values()]) for group in cells.values()])
    values = json.loads((finished / "summary.json").read_text())["values"]
    told = next(
        one["value"]
        for one in values
        if (one["method"], one["part"], one["column"]) == ("mosaic", "multi", "CLIP-I [tiny-clip]")
    )
    assert told == pytest.approx(100 * by_hand, abs=1e-9)


def test_run_again_it_measures_and_makes_nothing(finished, model, scorers, capsys, monkeypatch):
    from mosaic.evaluation import scoring
    from mosaic.pipeline import MosaicPipeline

    def fail(*arguments, **more):
        raise AssertionError("made again")

    monkeypatch.setattr(MosaicPipeline, "make", fail)
    monkeypatch.setattr(scoring, "measure", fail)
    before = (finished / "scores.parquet").read_bytes()
    status, _ = evaluate(capsys, *dreambench(model, scorers, finished))
    assert status == 0
    assert (finished / "scores.parquet").read_bytes() == before


def test_a_rivals_pictures_are_scored_beside_and_alone(finished, model, scorers, tmp_path, capsys):
    """The copy-paste pictures, brought as another method's, score exactly as they do as the control."""
    status, said = evaluate(
        capsys,
        *["dreambench", "--data", DATA, "--limit", 2, "--size", "64x64", *scorers],
        *["--images", f"rival={finished / 'pictures' / 'copy-paste'}", "--output", tmp_path / "out"],
    )
    assert status == 0, said
    rows = read_rows(tmp_path / "out" / "scores.parquet")
    assert {row.method for row in rows} == {"rival", "copy-paste"}
    value = {
        name: [row.value for row in rows if row.method == name and row.column.startswith("DINO")]
        for name in ("rival", "copy-paste")
    }
    assert value["rival"] == value["copy-paste"]
    assert "rival" in (tmp_path / "out" / "tables.md").read_text()


def test_a_removed_picture_is_named(finished, scorers, tmp_path, capsys):
    folder = shutil.copytree(finished / "pictures" / "copy-paste", tmp_path / "rival")
    gone = sorted(folder.rglob("*.png"))[0]
    gone.unlink()
    status, said = evaluate(
        capsys,
        *["dreambench", "--data", DATA, "--limit", 2, "--size", "64x64", *scorers],
        *["--images", folder, "--output", tmp_path / "out"],
    )
    assert status == 2
    assert gone.name in said and "lacks 1 of the files" in said


def test_one_part_of_a_flat_folder_and_chosen_rows(finished, scorers, tmp_path, capsys):
    base = ["dreambench", "--data", DATA, "--limit", 2, "--size", "64x64", "--part", "single", *scorers]
    base += ["--images", f"rival={finished / 'pictures' / 'copy-paste' / 'single'}"]
    status, said = evaluate(capsys, *base, "--row", "single-0", "--output", tmp_path / "out")
    assert status == 0, said
    assert set(json.loads((tmp_path / "out" / "summary.json").read_text())["parts"]) == {"single"}
    assert (tmp_path / "out" / "pictures" / "copy-paste" / "single").is_dir()
    status, said = evaluate(capsys, *base, "--row", "single-99", "--output", tmp_path / "out")
    assert status == 2 and "--row single-99 is no record" in said


@needs_data
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobench"], '"nobench" is no benchmark'),
        (["dreambench"], "name their folder with --data"),
        (["dreambench", "--data", "/nowhere"], "/nowhere is no folder"),
        (["toybox", "--images", "/nowhere/else"], "is not a folder"),
        (["toybox", "--scorer", "eyes=x"], "a role is one of"),
        (["toybox", "--scorer", "toys=none"], "No column of toybox is left"),
        (["toybox", "--scorer", "toys=v0"], "no toybox instruments v0"),
        (["toybox", "--size", "64"], "is not WxH"),
        (["toybox", "--part", "single"], "none of K=1, K=2"),
        (["toybox", "--model", "/nowhere/model"], "/nowhere/model"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, tmp_path, capsys):
    status, said = evaluate(capsys, *arguments, "--limit", 1, "--output", tmp_path / "out")
    assert status == 2
    assert sentence in said.replace("\n", " ") and "Traceback" not in said


@needs_data
def test_scorers_without_weights_are_all_named_before_a_picture_is_made(model, scorers, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    chosen = [word.replace("dinov2=none", f"dinov2={tmp_path / 'empty'}") for word in scorers]
    chosen += ["--scorer", f"hps={tmp_path / 'empty'}"]
    status, said = evaluate(capsys, *dreambench(model, chosen, tmp_path / "out"))
    assert status == 2
    assert "--scorer dinov2=none" in said and "--scorer hps=none" in said
    assert not (tmp_path / "out" / "pictures").exists()


def test_a_missing_package_is_told_before_anything_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, said = evaluate(capsys, "toybox", "--limit", 1, "--output", tmp_path / "out")
    assert status == 2 and "evaluate" in said
    assert not (tmp_path / "out").exists()


def test_the_toybox_needs_nothing_at_all(model, tmp_path, capsys):
    status, said = evaluate(
        capsys, "toybox", "--model", model, "--limit", 1, "--steps", 1, "--output", tmp_path / "out"
    )
    assert status == 0, said
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(summary["parts"]) == 8 and not summary["missing"]


@needs_data
def test_questions_go_out_and_answers_come_back(tmp_path, scorers, capsys):
    """DPG by a model of somebody else's: pictures of one colour, every answer yes but one."""
    for part, index in (("single", 0), ("multi", 0)):
        listed = json.loads((DATA / "xversebench" / f"XVerseBench_{part}.json").read_text())[index]
        folder = tmp_path / "grey" / part
        folder.mkdir(parents=True)
        Image.new("RGB", (128, 128), (90, 120, 150)).save(
            folder / f"{listed['index']}_{listed['prompt'][:40]}.png"
        )
    roles = ("aesthetic", "faces", "instances", "crops", "clip", "dino", "dinov2")
    without = [word for role in roles for word in ("--scorer", f"{role}=none")]
    base = ["xversebench", "--data", DATA, "--limit", 1, "--size", "64x64", *without]
    base += ["--images", tmp_path / "grey", "--output", tmp_path / "out"]
    status, said = evaluate(capsys, *base, "--questions", tmp_path / "questions.jsonl")
    assert status == 0, said
    asked = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    answers = [{"model": "somebody's VQA"}] + [{"id": one["id"], "answer": "yes"} for one in asked]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    status, said = evaluate(capsys, *base, "--scorer", f"questions={tmp_path / 'answers.jsonl'}")
    assert status == 0, said
    values = json.loads((tmp_path / "out" / "summary.json").read_text())["values"]
    told = [one["value"] for one in values if one["column"] == "DPG [somebody's VQA]"]
    assert told and set(told) == {100.0}


@pytest.mark.slow
def test_two_processes_score_what_one_does(model, tmp_path, capsys):
    arguments = ["evaluate", "toybox", "--model", model, "--limit", 2, "--steps", 1, "--output"]
    assert cli.run([*map(str, arguments), str(tmp_path / "one")]) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "mosaic.cli", *map(str, arguments), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert read_rows(tmp_path / "two" / "scores.parquet") == read_rows(tmp_path / "one" / "scores.parquet")
    by_process = list((tmp_path / "two" / "features").glob("*.safetensors"))
    assert len(by_process) >= 2
