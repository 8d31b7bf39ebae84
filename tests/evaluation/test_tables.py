"""Tables as Markdown and LaTeX, numbers as JSON, rows as Parquet: what stands where, what is never said."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.report import write
from mosaic.evaluation.report.facts import scorer_files
from mosaic.evaluation.report.latex import escaped, latex, pieces
from mosaic.evaluation.report.markdown import markdown
from mosaic.evaluation.report.table import Table, tables
from mosaic.evaluation.rows import Row, Shown, read_rows
from mosaic.evaluation.summary import summarise
from tests.evaluation.invented import benchmark, methods_of, rows_of, shown

COLUMNS = (shown("DINO"), shown("ID-Sim", model="other_net.onnx"))
QUALITY = {"ours": 0.2, "theirs_1": 0.0, "copy-paste": 0.3}


def tables_of(
    bench: Benchmark, columns: Sequence[Shown] = COLUMNS, quality: dict[str, float] = QUALITY
) -> list[Table]:
    rows = noted(rows_of(bench, columns, quality))
    return tables(
        summarise(rows, columns, bench, controls=["copy-paste"], missing={"AES": "left out"}), bench
    )


def noted(rows: list[Row]) -> list[Row]:
    """The first two scores of ours in ID-Sim are substitutes."""
    held = [n for n, row in enumerate(rows) if row.method == "ours" and row.column.startswith("ID-Sim")][:2]
    return [replace(row, note="no face & no 100 %") if n in held else row for n, row in enumerate(rows)]


def cells(text: str, method: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {method} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_measured_control_and_published_rows_stand_apart() -> None:
    single, multi = tables_of(benchmark())
    assert [line.method for line in single.measured] == ["ours", "theirs_1"]
    assert [line.method for line in single.controls] == ["copy-paste"]
    assert [line.method for line in single.published] == ["UNO", "XVerse & Co_1"]
    assert [head.title for head in single.heads] == ["DINO", "ID-Sim [other_net.onnx]", "AES"]
    assert not multi.published and [head.name for head in multi.heads] == ["DINO", "ID-Sim"]


def test_published_numbers_have_no_interval_and_are_never_bold() -> None:
    for table in tables_of(benchmark()):
        assert all(
            not cell.best and not cell.interval for line in table.published for cell in line.cells if cell
        )


def test_bold_is_for_what_is_shown_and_controls_are_never_bold() -> None:
    text = markdown("Invented", tables_of(benchmark()), ["Photographs are 640 pixels."])
    assert cells(text, "ours")[0].startswith("**")
    assert not cells(text, "theirs\\_1")[0].startswith("**")
    assert not cells(text, r"copy-paste *(control)*")[0].startswith("**")
    equal = markdown("Invented", tables_of(benchmark(), quality={"ours": 0.0, "theirs": 0.0}), [])
    assert not [cell for name in ("ours", "theirs") for cell in cells(equal, name) if "**" in cell]
    assert "Nothing is bold" in equal


def test_cells_are_value_and_interval() -> None:
    bench = benchmark()
    summary = summarise(rows_of(bench, COLUMNS, QUALITY), COLUMNS, bench)
    value = summary.value("theirs_1", "single", "DINO")
    assert value is not None and value.interval is not None
    text = markdown("Invented", tables(summary, bench), [])
    expected = f"{value.value:.2f} [{value.interval.low:.2f}, {value.interval.high:.2f}]"
    assert cells(text, "theirs\\_1")[0] == expected
    assert cells(text, "UNO") == ["75.97", "–", "–"]


def test_notes_say_other_models_missing_columns_and_substitutes() -> None:
    notes = "\n".join(tables_of(replace(benchmark(), columns=("DINO", "ID-Sim", "AES")))[0].notes)
    assert "ID-Sim: made by other_net.onnx, not the published model" in notes
    assert "AES is not measured: left out." in notes
    assert "substitutes (no face & no 100 %): ours 2 of 24" in notes
    assert "no test compares" in notes


def test_less_is_better_has_its_arrow() -> None:
    found = tables_of(benchmark(), [shown("confusion", lower_is_better=True)])
    assert {head.name: head.arrow for head in found[0].heads} == {"DINO": "↑", "confusion": "↓", "AES": "↑"}
    assert "confusion ↓" in markdown("I", found, [])


def test_a_part_that_was_only_published_is_a_table_of_its_own() -> None:
    bench = benchmark(published={"ablation": {"both losses": {"DINO": 56.83}}})
    *_, table = tables_of(bench)
    assert table.part == "ablation" and table.only_published
    assert not [note for note in table.notes if "substitutes" in note or "not measured" in note]
    assert "*as published:*" not in markdown("I", [table], [])


def test_the_average_stands_behind_its_columns() -> None:
    bench = benchmark(averaged=("DINO", "ID-Sim"), columns=("DINO", "ID-Sim", "CLIP-T"), mean="entries")
    columns = [replace(one, mean="entries") for one in (*COLUMNS, shown("CLIP-T"))]
    single, *_, overall = tables_of(bench, columns)
    assert [head.name for head in single.heads] == ["DINO", "ID-Sim", "AVG", "CLIP-T", "AES"]
    assert overall.part == "overall" and [head.name for head in overall.heads] == ["AVG"]
    assert any(note.startswith("AVG: some of its columns") for note in single.notes)


@given(st.text(max_size=30))
@example("a|b`c*d_e[f]<g>#h\\i\nj")
def test_markdown_of_any_name_stays_one_cell(name: str) -> None:
    table = tables_of_name(name)
    rows = [line for line in markdown("I", [table], []).split("\n") if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == len(table.heads) + 2 for row in rows)


BASE = tables_of(benchmark())[0]


def tables_of_name(name: str) -> Table:
    return replace(BASE, measured=tuple(replace(line, method=name) for line in BASE.measured))


@given(st.text(max_size=30))
@example("100 % & _a_ #1 {x} ~ ^ \\ $ “q” − ü ł 猫 é")
def test_latex_of_any_text_has_nothing_that_is_a_command(text: str) -> None:
    done = escaped(text)
    assert all(sign.isascii() or sign.isalpha() for sign in done)
    bare = re.sub(r"\\[a-z]+\{\}|\\[&%$#_{}]|\$-\$|\$\\[a-z]+\$", "", done)
    assert not re.search(r"[&%$#_{}~^\\]", bare)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    bench = benchmark(published={"ablation & _more_": {"100 % “both” 猫 é ł [x]": {"DINO": 56.83}}})
    columns = [*COLUMNS, *(shown(f"column {n}") for n in range(8))]
    (tmp_path / "tables.tex").write_text(latex("Invented #1", tables_of(bench, columns)), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}"
        r"\begin{document}\input{tables}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Missing character" not in log and r"Overfull \hbox" not in log


def test_latex_environments_and_columns_match() -> None:
    text = latex("Invented", tables_of(benchmark()))
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2
    for block in re.findall(r"\\begin\{tabular\}\{(l+r+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in block[1].splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(block[0]) - 1}


def test_a_table_too_wide_for_a_page_is_cut_into_pieces() -> None:
    columns = [*COLUMNS, *(shown(f"column {n}", model=f"model {n} of a long name") for n in range(8))]
    table = tables_of(benchmark(), columns)[0]
    found = pieces(table)
    assert len(found) > 2
    assert [head for piece in found for head in piece.heads] == list(table.heads)
    for n, line in enumerate(table.measured):
        assert [cell for piece in found for cell in piece.measured[n].cells] == list(line.cells)
    assert found[-1].notes == table.notes and not found[0].notes
    assert found[0].published and not found[1].published
    assert pieces(BASE) == [BASE]


def test_json_has_all_that_makes_the_numbers_again(tmp_path: Path) -> None:
    bench = benchmark(tmp_path)
    rows = noted(rows_of(bench, COLUMNS, QUALITY))
    summary = summarise(rows, COLUMNS, bench, controls=["copy-paste"], missing={"AES": "left out"})
    methods = methods_of(bench, tmp_path, list(QUALITY), ["copy-paste"])
    write(summary, rows, bench, methods, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert found["parts"]["single"] == {
        "records": 12,
        "groups": 3,
        "width": 64,
        "height": 48,
        "seeds": [7, 8],
        "steps": 4,
        "guidance": 3.5,
        "grid": False,
        "reference": "square",
    }
    ours = found["methods"][0]
    assert ours["images"] == {"single": 24, "multi": 24}
    assert ours["settings"] == {"steps": 4, "model": "tiny <1>"}
    assert found["methods"][2]["control"] is True
    assert found["deviations"] == ["Photographs are 640 pixels.", "ours: 4 steps instead of 28."]
    assert {"numpy", "torch", "transformers"} <= found["versions"].keys()
    assert found["published"]["single"]["UNO"] == {"DINO": 75.97}
    value = next(one for one in found["values"] if one["method"] == "ours" and one["column"] != "DINO")
    assert value["low"] < value["value"] < value["high"]
    assert value["substitutes"] == {"no face & no 100 %": 2}
    assert {one["winner"] for one in found["comparisons"]} <= {*QUALITY, None}
    assert read_rows(tmp_path / "out" / "scores.parquet") == rows


def test_the_same_evaluation_writes_the_same_bytes(tmp_path: Path) -> None:
    bench = benchmark(tmp_path, records=4)
    rows = rows_of(bench, COLUMNS, QUALITY)
    methods = methods_of(bench, tmp_path, list(QUALITY))
    for name in ("one", "two"):
        write(summarise(rows, COLUMNS, bench), rows, bench, methods, tmp_path / name)
    for file in ("summary.json", "tables.md", "tables.tex", "index.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_other_methods_than_were_scored_are_refused(tmp_path: Path) -> None:
    bench = benchmark(tmp_path, records=4)
    rows = rows_of(bench, COLUMNS, QUALITY)
    with pytest.raises(
        ValueError, match="the scores are of ours, theirs_1, copy-paste, the pictures of ours"
    ):
        write(summarise(rows, COLUMNS, bench), rows, bench, methods_of(bench, tmp_path, ["ours"]), tmp_path)


def test_a_hub_id_has_the_revision_that_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "models--owner--clip"
    (cache / "snapshots" / "abc123").mkdir(parents=True)
    (cache / "snapshots" / "abc123" / "config.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = scorer_files(Scorers(chosen={"clip": {"model": "owner/clip", "other": "owner/none"}}))
    assert found["clip"]["model"] == {"model": "owner/clip", "revision": "abc123"}
    assert found["clip"]["other"] == {"model": "owner/none"}


def test_scorers_have_hashes_of_their_files(tmp_path: Path) -> None:
    import hashlib

    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_bytes(b"{}")
    (folder / "README.md").write_bytes(b"not a weight")
    (tmp_path / "face.onnx").write_bytes(b"face")
    chosen = {"clip": {"model": str(folder)}, "faces": {"net": str(tmp_path / "face.onnx"), "id": "hub/id"}}
    found = scorer_files(Scorers(chosen=chosen))
    assert found["faces"]["net"]["sha256"] == hashlib.sha256(b"face").hexdigest()
    assert found["faces"]["id"] == {"model": "hub/id"}
    listed = "".join(
        f"{name} {hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("config.json", b"{}"), ("model.safetensors", b"weights"))
    )
    assert found["clip"]["model"]["sha256"] == hashlib.sha256(listed.encode()).hexdigest()
