"""`mosaic evaluate`: pictures made or brought → scores → a report. Run again, it goes on where it stopped."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mosaic.evaluation import scoring
from mosaic.evaluation.extractors import Scorers, absence, scorers_of
from mosaic.evaluation.features import Case, Metric
from mosaic.evaluation.metrics import METRICS
from mosaic.evaluation.processes import Processes
from mosaic.evaluation.protocols import BENCHMARKS
from mosaic.evaluation.records import Benchmark
from mosaic.evaluation.store import FeatureStore
from mosaic.generate import check_folder_of, name_of, progress, quiet_libraries, say

if TYPE_CHECKING:
    from mosaic.evaluation.rows import Row
    from mosaic.pipeline import MosaicPipeline

OURS, FLOOR, PASTED = "mosaic", "without references", "copy-paste"
CONTROLS = (FLOOR, PASTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What `mosaic evaluate` was asked for; None leaves a choice to the benchmark or the model."""

    benchmark: str
    output: Path
    data: Path | None = None
    model: str | None = None  # None: the embedded one, or none where pictures are brought
    lora: str | None = None
    images: tuple[tuple[str, Path], ...] = ()  # (method, folder): pictures that were made elsewhere
    part: str | None = None  # of the benchmark; None: all
    limit: int | None = None  # records a part
    rows: tuple[str, ...] = ()  # records of the grid of pictures, by id; (): some, evenly from all
    steps: int | None = None
    size: tuple[int, int] | None = None  # (width, height)
    scorers: tuple[str, ...] = ()  # ROLE=MODEL
    corrected: bool = False
    questions: Path | None = None  # write DPG's questions there for an outside model, and score nothing
    device: str | None = None

    def __post_init__(self) -> None:
        """ValueError for what can be refused before anything is read."""
        if self.benchmark not in BENCHMARKS:
            raise ValueError(f'"{self.benchmark}" is no benchmark: give one of {", ".join(BENCHMARKS)}.')
        check_folder_of(self.output / "index.html")
        names = [name for name, _ in self.images]
        for name, folder in self.images:
            if names.count(name) > 1 or name in (OURS, *CONTROLS):
                raise ValueError(f'--images names two methods "{name}": write NAME=DIR to tell them apart.')
            if not folder.is_dir():
                raise ValueError(f"--images {name}={folder} is not a folder.")

    @property
    def generates(self) -> bool:
        """Whether a model makes pictures."""
        return self.model is not None or not self.images


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the pictures of one method lie, and how they were made."""

    name: str
    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)


def evaluate(options: EvaluateOptions) -> Path:
    """Returns what was written last: the report's page, or the file of questions."""
    quiet_libraries()
    with Processes.here() as processes:
        device = options.device or processes.device
        return evaluated(replace(options, device=device), processes)


def evaluated(options: EvaluateOptions, processes: Processes) -> Path:
    """As `evaluate`, one of several processes."""
    for package in ("jinja2", "pyarrow"):  # the report's: told now, not after hours of scoring
        import_module(package)
    scorers = scorers_of(options.scorers, options.device)
    with processes.first_alone():  # who may fetch data or draw references
        benchmark = records_of(options)
    metrics, missing = metrics_of(benchmark, scorers)
    if options.questions is None:
        check_scorers(metrics, scorers)
    benchmark, sources = pictures_of(options, benchmark, processes)
    processes.wait()
    from mosaic.evaluation.pictures import cases

    made = {one.name: (one, cases(benchmark, one.name, one.folder)) for one in sources}
    everything = [case for _, some in made.values() for case in some]
    if options.questions is not None:
        return write_questions(everything, options.questions)
    check_recorded(everything, scorers)
    store = FeatureStore(options.output / "features")
    score(everything, metrics, scorers, store, processes)
    processes.wait()
    if processes.first:
        store.refresh()
        rows = scoring.rows_of(metrics, everything, scoring.Lookup(store, scorers))
        report(options, benchmark, metrics, missing, made, rows, scorers)
    return options.output / "index.html"


def records_of(options: EvaluateOptions) -> Benchmark:
    """The benchmark, or the part that is asked for. ValueError for a part or a record it has not."""
    benchmark = BENCHMARKS[options.benchmark](
        options.data, corrected=options.corrected, limit=options.limit, work=options.output / "data"
    )
    if options.part is not None:
        chosen = tuple(one for one in benchmark.records if one.part == options.part)
        if not chosen:
            raise ValueError(f'--part "{options.part}" is none of {", ".join(benchmark.parts)}.')
        benchmark = replace(benchmark, records=chosen)
    if unknown := set(options.rows) - {one.id for one in benchmark.records}:
        raise ValueError(
            f"--row {min(unknown)} is no record here: they are called {benchmark.records[0].id} …."
        )
    return benchmark


def write_questions(made: Sequence[Case], path: Path) -> Path:
    """For an outside model; its answers come back with --scorer questions=FILE.jsonl."""
    from mosaic.evaluation.questions_io import questions_of, write_questions

    asked = questions_of(made)
    write_questions(asked, path)
    say(f"{len(asked)} questions: have a model answer them, then give --scorer questions=ANSWERS.jsonl")
    return path


def check_recorded(made: Sequence[Case], scorers: Scorers) -> None:
    """ValueError where a file of answers leaves a question out, or answers others."""
    from mosaic.evaluation.questions_io import check_answers, is_recorded, questions_of

    where = scorers.chosen.get("questions", {}).get("model", "")
    if is_recorded(where):
        check_answers(questions_of(made), where)


# ---------------------------------------------------------------- scorers


def metrics_of(benchmark: Benchmark, scorers: Scorers) -> tuple[list[Metric], dict[str, str]]:
    """The benchmark's columns that can be made, and why each other one cannot."""
    made = {name: METRICS[name](scorers) for name in benchmark.columns}
    gone = {name: [role for role in one.roles if role not in scorers] for name, one in made.items()}
    metrics = [metric for name, metric in made.items() if not gone[name]]
    if not metrics:
        raise ValueError(f"No column of {benchmark.name} is left: leave out a --scorer ROLE=none.")
    return metrics, {name: absence(roles[0]) for name, roles in gone.items() if roles}


def check_scorers(metrics: Sequence[Metric], scorers: Scorers) -> None:
    """ValueError, before a picture is made, for models that cannot be loaded; it says how to do without."""
    problems = {}
    for role in dict.fromkeys(role for metric in metrics for role in metric.roles):
        try:
            scorers.load(role)
        except (ValueError, ModuleNotFoundError) as error:
            problems[role] = str(error)
        gc.collect()
    if problems:
        first, why = next(iter(problems.items()))
        without = " ".join(f"--scorer {role}=none" for role in problems)
        raise ValueError(f"{why} Give --scorer {first}=MODEL, or go on without its columns: {without}")


def score(
    made: Sequence[Case],
    metrics: Sequence[Metric],
    scorers: Scorers,
    store: FeatureStore,
    processes: Processes,
) -> None:
    """Measure what is asked and not yet in the store, role after role, this process its share."""
    asked = scoring.asks_of(metrics, made)
    pending = {role: scoring.missing(asks, scorers, store) for role, asks in asked.items()}
    processes.wait()  # all deal out the same asks, before the first of them is measured
    for role, missing in pending.items():
        if share := scoring.share(missing, processes.rank, processes.world):
            with progress(len(share), "asks", f"scoring: {role}") as advance:
                scoring.measure(role, share, scorers, store, advance)


# ---------------------------------------------------------------- pictures


def pictures_of(
    options: EvaluateOptions, benchmark: Benchmark, processes: Processes
) -> tuple[Benchmark, list[Source]]:
    """The benchmark as its pictures are made, and every method's pictures, made where they are not there."""
    from mosaic.evaluation.baselines import copy_paste
    from mosaic.evaluation.generating import images_of, settled

    pipeline = load_pipeline(options) if options.generates else None
    benchmark = settled(benchmark, pipeline, steps=options.steps, size=options.size)
    sources = [Source(name=name, folder=folder) for name, folder in options.images]
    if pipeline is not None:
        sources += [made_with(pipeline, name, options, benchmark, processes) for name in (OURS, FLOOR)]
    pasted = options.output / "pictures" / "copy-paste"
    share = {"rank": processes.rank, "world": processes.world}
    with progress(images_of(benchmark, **share), "pictures", PASTED) as advance:
        copy_paste(benchmark, pasted, advance=advance, **share)
    return benchmark, [*sources, Source(name=PASTED, folder=pasted)]


def load_pipeline(options: EvaluateOptions) -> MosaicPipeline:
    """The model that is evaluated."""
    from mosaic.pipeline import load
    from mosaic.pipeline.memory import explained

    with explained("load this model"):
        return load(options.model or "embedded", options.lora, device=options.device)


def made_with(
    pipeline: MosaicPipeline,
    name: str,
    options: EvaluateOptions,
    benchmark: Benchmark,
    processes: Processes,
) -> Source:
    """Our model's pictures, with its references or, the floor, without."""
    from mosaic.evaluation.generating import generate, images_of

    folder = options.output / "pictures" / name.replace(" ", "-")
    share = {"rank": processes.rank, "world": processes.world}
    with progress(images_of(benchmark, **share), "pictures", name) as advance:
        generate(pipeline, benchmark, folder, references=name == OURS, advance=advance, **share)
    model = {"model": name_of(options.model or "embedded"), "hashes": dict(pipeline.weights)}
    lora = {"lora": name_of(options.lora)} if options.lora else {}
    return Source(name=name, folder=folder, settings=model | lora | {"references": name == OURS})


# ---------------------------------------------------------------- the report


def report(
    options: EvaluateOptions,
    benchmark: Benchmark,
    metrics: Sequence[Metric],
    missing: Mapping[str, str],
    made: Mapping[str, tuple[Source, Sequence[Case]]],
    rows: Sequence[Row],
    scorers: Scorers,
) -> None:
    """Tables, page and numbers, from the rows."""
    from mosaic.evaluation.report import write
    from mosaic.evaluation.rows import Shown
    from mosaic.evaluation.summary import Method, summarise

    shown = [Shown(column=one.column, mean=one.column.mean or benchmark.mean) for one in metrics]
    summary = summarise(rows, shown, benchmark, controls=CONTROLS, missing=missing)
    methods = [
        Method(name=name, cases=tuple(some), control=name in CONTROLS, settings=source.settings)
        for name, (source, some) in made.items()
    ]
    used = {role for metric in metrics for role in metric.roles}
    only = replace(scorers, chosen={role: scorers.chosen[role] for role in scorers.chosen if role in used})
    write(summary, rows, benchmark, methods, options.output, scorers=only, side_by_side=options.rows or None)
