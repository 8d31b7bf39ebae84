"""What a run tells: TensorBoard, one JSON line a log, a line or a bar with rate and time left."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

LOG = "log.jsonl"


class Journal:
    """Records of a run under `folder`. A resumed run first drops the records of steps it will do again."""

    def __init__(self, folder: Path, first: int, last: int, samples_a_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.last, self.samples = folder, last, samples_a_step
        _keep_before(folder / LOG, first)
        self.log = (folder / LOG).open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        self.clock, self.logged = time.monotonic(), first
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rest]}"),
        )
        self.bar = Progress(*columns, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("training", total=last, completed=first, rest="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        self.board.close()
        self.log.close()

    def record(self, step: int, values: dict[str, float]) -> None:
        """Values of the step that ends with `step` done, and the rate since the last record."""
        now = time.monotonic()
        rate = (step - self.logged) * self.samples / max(now - self.clock, 1e-9)
        self.clock, self.logged = now, step
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        self.board.add_scalar("speed/samples_a_second", rate, step)
        print(
            json.dumps({"step": step} | values | {"samples_a_second": round(rate, 2)}),
            file=self.log,
            flush=True,
        )
        left = duration((self.last - step) * self.samples / max(rate, 1e-9))
        line = f"{told(values)}  {rate:.1f} samples/s  {left} left"
        if self.bar.disable:
            print(f"step {step}/{self.last}  {line}", file=sys.stderr, flush=True)
        self.bar.update(self.task, completed=step, rest=line)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """A picture uint8 (H, W, 3) for TensorBoard."""
        self.board.add_image(name, pixels, step, dataformats="HWC")


def told(values: dict[str, float]) -> str:
    """The values that fit on a line: losses, hits of the probe beside chance, gradient norms."""
    short = {name.removeprefix("loss/"): value for name, value in values.items() if name.startswith("loss/")}
    parts = [f"{name} {value:.4g}" for name, value in short.items()]
    for hit, chance in (("exact", "chance"), ("near", "chance_near")):
        if f"probe/{hit}" in values:
            parts.append(f"{hit} {values[f'probe/{hit}']:.3f} (chance {values[f'probe/{chance}']:.3f})")
    norms = {name.removeprefix("gradient/"): v for name, v in values.items() if name.startswith("gradient/")}
    return "  ".join([*parts, "gradient " + " ".join(f"{name} {value:.3g}" for name, value in norms.items())])


def duration(seconds: float) -> str:
    """1:02:03."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def _keep_before(path: Path, step: int) -> None:
    """Keep the records of steps up to `step`; a line cut short by a kill goes too."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    temporary.replace(path)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except json.JSONDecodeError:
        return float("inf")
