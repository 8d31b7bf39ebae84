"""HPSv3 and UnifiedReward as columns; what the models compute is held in tests/perception."""

import re
from pathlib import Path

import numpy as np
import pytest
from perception import tiny, tiny_vlm
from perception.stub_server import StubServer, reply

from mosaic.evaluation.extractors import scorers_of
from mosaic.evaluation.features import Ask
from mosaic.evaluation.metrics import METRICS

from .cases import case_of, file_of, measured, table


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list:
    folder = tmp_path_factory.mktemp("pictures")
    files = [file_of(folder, str(n), tiny.random_picture(56, 56, n)) for n in range(3)]
    return [
        case_of(files[:2], prompt="a red bear", name="bear"),
        case_of(files[2:], prompt="a dog", name="dog"),
    ]


def test_a_mark_is_of_an_image_and_its_prompt(cases: list) -> None:
    for name, role in (("HPSv3", "hps"), ("UnifiedReward", "reward")):
        metric = METRICS[name](scorers_of([]))
        asks = list(metric.asks(cases[0]))
        assert asks == [Ask(role, picture, "a red bear") for picture in cases[0].pictures]
        features = {ask: {"score": np.float32([4.5 + index])} for index, ask in enumerate(asks)}
        assert table(metric, cases[:1], features) == {
            ("bear", 0, None, None): 4.5,
            ("bear", 1, None, None): 5.5,
        }


def test_no_mark_is_a_zero_that_says_so(cases: list) -> None:
    metric = METRICS["UnifiedReward"](scorers_of([]))
    features = {ask: {"score": np.float32([np.nan])} for ask in metric.asks(cases[1])}
    (score,) = metric.scores(cases[1], features)
    assert score.value == 0 and score.note == "no final score in the answer"


def test_hpsv3_end_to_end(cases: list, tmp_path: Path) -> None:
    folder, model = tiny_vlm.qwen2_vl(tmp_path / "qwen")
    tiny_vlm.hpsv3_file(model, tmp_path / "HPSv3.safetensors")
    chosen = scorers_of([f"hps={tmp_path / 'HPSv3.safetensors'}", f"hps.base={folder}"], "cpu")
    metric = METRICS["HPSv3"](chosen)
    assert metric.column.title == "HPSv3 [HPSv3.safetensors + qwen]"
    extractor = chosen.load("hps")
    values = table(metric, cases, measured(metric, cases, extractor))
    assert len(values) == 3 and len({round(value, 5) for value in values.values()}) == 3
    again = table(metric, cases, measured(metric, cases[::-1], extractor, batch=1))
    assert again == pytest.approx(values, abs=1e-5)


def test_unified_reward_end_to_end(cases: list) -> None:
    with StubServer([reply("Final Score: 4")]) as server:
        chosen = scorers_of([f"reward={server.url}#CodeGoat24/UnifiedReward-2.0-qwen-7b"])
        metric = METRICS["UnifiedReward"](chosen)
        values = table(metric, cases, measured(metric, cases, chosen.load("reward")))
    assert set(values.values()) == {4.0} and len(server.requests) == 3
    assert metric.column.title == "UnifiedReward [CodeGoat24/UnifiedReward-2.0-qwen-7b]"


def test_the_published_model_served_under_its_id_is_the_published_one() -> None:
    served = scorers_of(["reward=http://localhost:8000/v1#CodeGoat24/UnifiedReward-qwen-7b"])
    assert METRICS["UnifiedReward"](served).column.title == "UnifiedReward"


def test_unified_reward_is_not_loaded_here() -> None:
    said = "give --scorer reward=http://localhost:8000/v1#CodeGoat24/UnifiedReward-qwen-7b"
    with pytest.raises(ValueError, match=re.escape(said)):
        scorers_of(["reward=CodeGoat24/UnifiedReward-qwen-7b"]).load("reward")
