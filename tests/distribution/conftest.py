import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


def build(source: Path, output: Path, *targets: str) -> None:
    """As `pip wheel` and `python -m build` do, in this environment: the build backend is installed in it."""
    program = [sys.executable, "-m", "hatchling", "build", "-d", str(output)]
    subprocess.run(
        program + [part for t in targets for part in ("-t", t)],
        cwd=source,
        check=True,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    output = tmp_path_factory.mktemp("dist")
    build(ROOT, output, "wheel", "sdist")
    return Built(wheel=next(output.glob("*.whl")), sdist=next(output.glob("*.tar.gz")))
