"""HPSv3 and UnifiedReward: how well people would like a picture made for its prompt, in the models' marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mosaic.evaluation.extractors import Scorers
from mosaic.evaluation.features import Ask, Case, Column, Extractor, Feature, Features, Score
from mosaic.evaluation.metrics.columns import column_of, numbers, seen
from mosaic.sample import Picture

if TYPE_CHECKING:
    from mosaic.perception.preference import Preference

UNIFIED_REWARD = "CodeGoat24/UnifiedReward-qwen-7b"
NO_MARK = "no final score in the answer"


class PromptPreference:
    """One mark an image; 0, and said so, where the model gave none."""

    def __init__(self, column: Column, role: str) -> None:
        self.column = column
        self.roles: tuple[str, ...] = (role,)

    def asks(self, case: Case) -> Iterator[Ask]:
        for picture in case.pictures:
            yield Ask(self.roles[0], picture, case.record.prompt)

    def scores(self, case: Case, features: Features) -> Iterator[Score]:
        for image, ask in enumerate(self.asks(case)):
            mark = float(features[ask]["score"][0])
            if np.isnan(mark):
                yield Score(image=image, value=0.0, note=NO_MARK)
            else:
                yield Score(image=image, value=mark)


class PreferenceExtractor:
    """{"score": (1,)} of a picture and its prompt; not a number where the model gave no mark."""

    def __init__(self, preference: Preference, batch: int) -> None:
        self.name, self.batch, self._preference = preference.name, batch, preference

    def __call__(self, pictures: Sequence[Picture | None], texts: Sequence[str]) -> list[Feature]:
        return numbers(self._preference(seen(pictures), texts))


def load_hps(parts: Mapping[str, str], device: str | None) -> Extractor:
    """HPSv3 by its weights' file or hub id, and the folder or hub id of its Qwen2-VL."""
    from mosaic.perception.preference import HumanPreference

    return PreferenceExtractor(HumanPreference(parts["weights"], parts["base"], device=device), batch=8)


def load_reward(parts: Mapping[str, str], device: str | None) -> Extractor:
    """UnifiedReward where it is served. ValueError for a model that is not."""
    from mosaic.perception.endpoint import Endpoint, is_served, served
    from mosaic.perception.preference import UnifiedReward

    where = parts["model"]
    if not is_served(where):
        raise ValueError(
            f"UnifiedReward is asked where it is served: start it (vllm serve {where}) and give "
            f"--scorer reward=http://localhost:8000/v1#{where}."
        )
    return PreferenceExtractor(UnifiedReward(Endpoint(served(where, side=1024, max_tokens=1024))), batch=32)


def reward_column(scorers: Scorers) -> Column:
    """Of the published model too when it is served under its own id."""
    column = column_of("UnifiedReward", scorers, "reward", scale=1.0)
    official = column.official or column.model == UNIFIED_REWARD
    return Column(name=column.name, model=column.model, official=official, scale=column.scale)
