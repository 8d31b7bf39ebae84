"""summary.json read back into the values of `evaluation` that it was written from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaic.evaluation.features import Column
from mosaic.evaluation.records import Benchmark, Record, Settings
from mosaic.evaluation.rows import Shown
from mosaic.evaluation.statistics import Difference, Interval
from mosaic.evaluation.summary import AVERAGE, Comparison, Summary, Value


def benchmark_of(facts: Mapping[str, Any]) -> Benchmark:
    """The benchmark as far as tables and summaries need it; its records are named, not told."""
    known = Settings.__dataclass_fields__
    settings = {
        part: Settings(
            **{name: value for name, value in told.items() if name in known} | {"seeds": tuple(told["seeds"])}
        )
        for part, told in facts["parts"].items()
    }
    records = [
        Record(id=f"{part} {n}", part=part, group="", prompt="", subjects=(), names=())
        for part, told in facts["parts"].items()
        for n in range(min(1, int(told["records"])))  # one a part: parts are known by their records
    ]
    columns = [one["name"] for one in facts["columns"] if one["name"] != AVERAGE]
    return Benchmark(
        name=facts["benchmark"],
        records=tuple(records),
        settings=settings,
        columns=tuple(dict.fromkeys([*columns, *facts["missing"]])),
        mean=next((one["mean"] for one in facts["columns"]), "entries"),
        published=facts["published"],
        deviations=tuple(facts["deviations"]),
        averaged=tuple(facts.get("averaged", ())),
    )


def summary_of(facts: Mapping[str, Any]) -> Summary:
    """As it was written."""
    names = {one["title"]: bool(one["lower_is_better"]) for one in facts["columns"]}
    return Summary(
        benchmark=facts["benchmark"],
        parts=tuple(dict.fromkeys([*facts["parts"], *(one["part"] for one in facts["values"])])),
        methods=tuple(one["name"] for one in facts["methods"]),
        controls=frozenset(one["name"] for one in facts["methods"] if one["control"]),
        columns=tuple(_shown(one) for one in facts["columns"]),
        missing=dict(facts["missing"]),
        values=tuple(_value(one) for one in facts["values"]),
        comparisons=tuple(_comparison(one, names[one["column"]]) for one in facts["comparisons"]),
        groups={(one["part"], one["column"], one["group"]): one["values"] for one in facts["groups"]},
    )


def _shown(told: Mapping[str, Any]) -> Shown:
    names = ("name", "model", "official", "scale", "lower_is_better")
    column = Column(**{name: told[name] for name in names})
    return Shown(column=column, mean=told["mean"])


def _interval(told: Mapping[str, Any]) -> Interval | None:
    return None if told["low"] is None else Interval(low=told["low"], high=told["high"])


def _value(told: Mapping[str, Any]) -> Value:
    names = ("method", "part", "column", "value", "records", "entries", "unit", "substitutes")
    return Value(interval=_interval(told), **{name: told[name] for name in names})


def _comparison(told: Mapping[str, Any], lower_is_better: bool) -> Comparison:
    difference = None
    if told["difference"] is not None:
        difference = Difference(value=told["difference"], interval=_interval(told), p=told["p"])
    return Comparison(
        part=told["part"],
        column=told["column"],
        first=told["first"],
        second=told["second"],
        difference=difference,
        lower_is_better=lower_is_better,
        reason="" if difference else str(told["verdict"]).removeprefix("not compared: "),
    )
