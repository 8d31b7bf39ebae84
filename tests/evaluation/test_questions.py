"""DPG: the graph of dependencies by hand, the models that answer, and answers of an outside model by file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perception import tiny, tiny_vlm
from perception.stub_server import StubServer, reply

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import Case, PictureFile
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.metrics.questions import check_graph, graph_score
from mosaic.evaluation.questions_io import (
    RecordedAnswers,
    check_answers,
    id_of,
    questions_of,
    write_questions,
)
from mosaic.evaluation.records import Question

from .cases import SHARED, case_of, file_of, measured, table

MPLUG = "iic/mplug_visual-question-answering_coco_large_en"


def graph(*parents: Sequence[int]) -> list[Question]:
    """Questions 1, 2, … with these parents."""
    return [
        Question(id=number, text=f"Is there {number}?", parents=tuple(above))
        for number, above in enumerate(parents, 1)
    ]


def as_coded(dependency: dict[str, list[int]], answers: dict[str, str]) -> float:
    """ELLA's loop over dictionaries, written out: 0 stands for no parent."""
    scores = {key: float(answers[key] == "yes") for key in dependency}
    for key, parents in dependency.items():
        if any(parent != 0 and scores[str(parent)] == 0 for parent in parents):
            scores[key] = 0.0
    return sum(scores.values()) / len(scores)


# ---------------------------------------------------------------- by hand

Y, N = True, False


@pytest.mark.parametrize(
    ("parents", "answers", "expected"),
    [
        ([[]], [Y], 1),
        ([[]], [N], 0),
        ([[], [], []], [Y, N, Y], 2 / 3),
        ([[], [1]], [N, Y], 0),  # a parent's no
        ([[], [1]], [Y, N], 1 / 2),  # a child's no leaves its parent
        ([[], [1], [2]], [N, Y, Y], 0),  # down a chain
        ([[], [1], [2]], [Y, N, Y], 1 / 3),
        ([[], [1], [2], [3]], [Y, Y, N, Y], 2 / 4),
        ([[], [], [1, 2]], [Y, Y, Y], 1),  # both parents
        ([[], [], [1, 2]], [Y, N, Y], 1 / 3),  # any of them is enough
        ([[], [], [1, 2], [3]], [N, Y, Y, Y], 1 / 4),
        ([[], [1], [1], [2, 3]], [Y, Y, N, Y], 2 / 4),  # a diamond
        ([[2], []], [Y, N], 0),  # a parent that stands after its child counts by its own answer …
        ([[2], [3], []], [Y, Y, N], 1 / 3),  # … alone: 3's no has not reached 2 when 1 is looked at
        ([[3], [], [2]], [Y, N, Y], 1 / 3),
    ],
)
def test_a_question_counts_if_no_parent_stands_at_0(
    parents: list[list[int]], answers: list[bool], expected: float
) -> None:
    assert graph_score(graph(*parents), answers) == pytest.approx(expected)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[bool]]:
    """Up to eight questions in any order, none in a circle."""
    count = draw(st.integers(1, 8))
    order = draw(st.permutations(range(count)))
    parents: list[list[int]] = [[] for _ in range(count)]
    for place, question in enumerate(order):
        above = draw(st.sets(st.sampled_from(order[:place]), max_size=3)) if place else set()
        parents[question] = sorted(one + 1 for one in above)
    return parents, draw(st.lists(st.booleans(), min_size=count, max_size=count))


@given(graphs())
def test_it_is_the_published_loop(drawn: tuple[list[list[int]], list[bool]]) -> None:
    parents, answers = drawn
    check_graph(graph(*parents), "record")
    dependency = {str(number): above or [0] for number, above in enumerate(parents, 1)}
    said = {str(number): "yes" if answer else "no" for number, answer in enumerate(answers, 1)}
    score = graph_score(graph(*parents), answers)
    assert score == pytest.approx(as_coded(dependency, said))
    assert score <= sum(answers) / len(answers)


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ([[], [7]], r"Question 2 of record depends on 7, which is not asked\.$"),
        ([[0]], r"Question 1 of record depends on 0, which is not asked"),
        ([[2], [1]], r"Questions 1, 2 of record depend on each other in a circle: take one away\.$"),
        ([[], [2]], r"Questions 2 of record depend on each other in a circle"),
        ([[], [4, 1], [2], [3]], r"Questions 2, 3, 4 of record depend"),
    ],
)
def test_a_broken_graph_is_one_sentence(parents: list[list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_graph(graph(*parents), "record")


def test_an_id_given_twice() -> None:
    with pytest.raises(ValueError, match="The questions of record give an id twice"):
        check_graph([Question(id=1, text="a?"), Question(id=1, text="b?")], "record")


BENCHMARKS = SHARED / "benchmarks"
FILES = (
    *(f"xversebench/XVerseBench_{part}_DSG.json" for part in ("single", "multi")),
    *(f"lamicbench/{part}_DSG.json" for part in ("Two-Reference", "Three-Reference", "Four_Reference")),
)


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks here")
@pytest.mark.parametrize("name", FILES)
def test_the_published_graphs_are_whole(name: str) -> None:
    """Every graph passes, and all of it scores as the loop does for answers drawn by a seed."""
    told = json.loads((BENCHMARKS / name).read_text())
    random = np.random.default_rng(0)
    for number, record in enumerate(told if isinstance(told, list) else told.values()):
        dependency = record["qid2dependency"]
        questions = [
            Question(id=int(key), text=text, parents=tuple(p for p in dependency[key] if p))
            for key, text in record["qid2question"].items()
        ]
        check_graph(questions, f"{name} {number}")
        yes = [bool(one) for one in random.random(len(questions)) < 0.7]
        said = {key: "yes" if one else "no" for key, one in zip(dependency, yes, strict=True)}
        assert graph_score(questions, yes) == pytest.approx(as_coded(dependency, said))


# ---------------------------------------------------------------- models


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("pictures")
    files = [file_of(folder, str(n), tiny.random_picture(64, 64, n)) for n in range(3)]
    grid = file_of(folder, "grid", tiny.random_picture(128, 128, 9))
    quadrants = [PictureFile(grid, quadrant) for quadrant in range(4)]
    return [
        case_of(files, questions=graph([], [1], [1, 2]), name="first"),
        case_of(quadrants, questions=graph([], []), grid=grid, name="grid"),
        case_of(files[:1], name="unasked"),
    ]


def scored(cases: Sequence[Case], where: str, batch: int = 4) -> dict:
    chosen = scorers_of([f"questions={where}"], "cpu")
    metric = METRICS["DPG"](chosen)
    return table(metric, cases, measured(metric, cases, chosen.load("questions"), batch))


def test_all_yes_is_1_and_all_no_is_0(cases: list[Case], tmp_path: Path) -> None:
    """By ViLT with a single label: every question of every image, none for a record without questions."""
    keys = [("first", n, None, None) for n in range(3)] + [("grid", n, None, None) for n in range(4)]
    for label, value in (("yes", 1.0), ("no", 0.0), ("Yes, sir", 0.0)):
        where = tiny_vlm.vilt(tmp_path / label, (label,))
        assert scored(cases, str(where)) == dict.fromkeys(keys, value)


def test_order_and_batches_do_not_matter(cases: list[Case], tmp_path: Path) -> None:
    where = str(tiny_vlm.vilt(tmp_path / "vilt", ("yes", "no")))
    values = scored(cases, where)
    assert scored(cases[::-1], where) == scored(cases, where, batch=1) == values


def test_a_served_model_is_asked(cases: list[Case]) -> None:
    with StubServer([reply('{"answer": "yes"}')]) as server:
        values = scored(cases[:1], f"{server.url}#Qwen/Qwen3-VL-8B-Instruct")
    assert set(values.values()) == {1.0} and len(server.requests) == 9


def test_a_column_is_never_the_published_one_by_another_model() -> None:
    served = METRICS["DPG"](scorers_of(["questions=http://localhost:8000/v1#Qwen/Qwen3-VL-8B-Instruct"]))
    assert served.column.title == "DPG [Qwen/Qwen3-VL-8B-Instruct]"
    assert METRICS["DPG"](scorers_of(["questions=dandelin/vilt"])).column.title == "DPG [dandelin/vilt]"
    with pytest.raises(ValueError, match="DPG needs a model that answers questions"):
        scorers_of([]).load("questions")


# ---------------------------------------------------------------- answers by file


def answered(path: Path, lines: Sequence[dict], model: object = MPLUG) -> str:
    path.write_text("\n".join(json.dumps(line) for line in [{"model": model}, *lines]) + "\n")
    return str(path)


def exported(cases: Sequence[Case], folder: Path) -> list[dict]:
    write_questions(questions_of(cases), folder / "questions.jsonl")
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]


def test_what_an_outside_model_is_asked(cases: list[Case], tmp_path: Path) -> None:
    lines = exported(cases, tmp_path)
    assert len(lines) == 3 * 3 + 4 * 2 and len({line["id"] for line in lines}) == len(lines)
    assert lines[0] == {
        "id": id_of(cases[0].pictures[0].read(), "Is there 1?"),
        "picture": str(cases[0].pictures[0].path),
        "box": None,
        "question": "Is there 1?",
    }
    assert [line["box"] for line in lines[9::2]] == [
        [0, 0, 64, 64],
        [64, 0, 128, 64],
        [0, 64, 64, 128],
        [64, 64, 128, 128],
    ]


def test_answers_go_round(cases: list[Case], tmp_path: Path) -> None:
    """Exported, answered "yes" to all but the last question of the second picture, read back."""
    lines = [line | {"answer": "yes"} for line in exported(cases, tmp_path)]
    lines[5]["answer"] = "no"
    where = answered(tmp_path / "answers.jsonl", lines[::-1])
    check_answers(questions_of(cases), where)
    values = scored(cases, where)
    assert values.pop(("first", 1, None, None)) == pytest.approx(2 / 3)
    assert set(values.values()) == {1.0}
    assert METRICS["DPG"](scorers_of([f"questions={where}"])).column.title == "DPG"


def test_the_column_carries_the_name_in_the_file(tmp_path: Path) -> None:
    where = answered(tmp_path / "answers.jsonl", [], "my model")
    assert METRICS["DPG"](scorers_of([f"questions={where}"])).column.title == "DPG [my model]"


def test_missing_and_extra_answers_are_named(cases: list[Case], tmp_path: Path) -> None:
    asked = questions_of(cases)
    lines = [{"id": one.id, "answer": "yes"} for one in asked]
    where = answered(tmp_path / "less.jsonl", lines[:2] + lines[3:])
    with pytest.raises(
        ValueError, match=r'less.jsonl leaves 1 questions unanswered: "Is there 3\?" about .*0\.png'
    ):
        check_answers(asked, where)
    with pytest.raises(ValueError, match=r'no answer to "Is there 3\?"'):
        scored(cases, where)
    where = answered(tmp_path / "few.jsonl", lines[:3])
    with pytest.raises(ValueError, match=r"leaves 14 questions .* box \[0, 0, 64, 64\]| …\.$"):
        check_answers(asked, where)
    where = answered(tmp_path / "more.jsonl", [*lines, {"id": "abc", "answer": "no"}])
    with pytest.raises(ValueError, match=r"more.jsonl answers 1 questions that are not asked here: abc"):
        check_answers(asked, where)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'does not begin with {"model": NAME}'),
        ('{"id": "a", "answer": "yes"}', 'does not begin with {"model": NAME}'),
        ('{"model": ""}', 'does not begin with {"model": NAME}'),
        ('{"model": "m"}\n{"id": "a"}', 'Line 2 of .* has no "id" and "answer"'),
        ('{"model": "m"}\n{"id": "a", "answer": true}', 'Line 2 of .* has no "id" and "answer"'),
        ('{"model": "m"}\n\n{"id": "a", "answ', "Line 3 of .* is no JSON"),
        ('{"model": "m"}\n[1]', "Line 2 of .* is no JSON object"),
        (
            '{"model": "m"}\n{"id": "a", "answer": "no"}\n{"id": "a", "answer": "yes"}',
            "Line 3 of .* answers a a second time",
        ),
        ('{"model": "m"}\n{"id": "a", "answer": "Yes."}', "says 'Yes.': only a bare \"yes\" counts"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        RecordedAnswers.read(tmp_path / "answers.jsonl")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist: give the file of answers"):
        scorers_of([f"questions={tmp_path / 'away.jsonl'}"]).load("questions")


def test_a_picture_made_again_is_another_question(tmp_path: Path) -> None:
    first = file_of(tmp_path, "a", tiny.random_picture(64, 64, 0))
    asked = questions_of([case_of([first], questions=graph([]))])
    where = answered(tmp_path / "answers.jsonl", [{"id": asked[0].id, "answer": "yes"}])
    again = case_of([file_of(tmp_path, "a", tiny.random_picture(64, 64, 1))], questions=graph([]))
    with pytest.raises(ValueError, match="unanswered"):
        check_answers(questions_of([again]), where)
