"""The rules of ARCHITECTURE.md that a syntax tree can check."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "mosaic"
SOURCES = sorted(file for file in SRC.rglob("*.py"))
EVERYTHING = SOURCES + sorted(
    file for folder in ("tests", "examples", "benchmarks") for file in (ROOT / folder).rglob("*.py")
)

# room → rooms it may import. A new room starts here.
VALUES = {"about", "errors", "geometry", "hub", "keys", "sample", "pictures"}
MODEL = VALUES | {"model"}
NUMBERS = MODEL | {"objectives", "sampling"}
WORLD = VALUES | {"data", "toybox"}
PIPELINE = NUMBERS | {"perception", "pipeline"}
RUNS = PIPELINE | WORLD | {"generate", "training"}
MAY_IMPORT: dict[str, set[str]] = {
    "mosaic": {"pipeline", "sample"},  # the package itself, lazily
    "errors": set(),
    "about": set(),
    "geometry": {"errors"},
    "hub": {"about"},
    "keys": {"errors"},
    "launched": set(),
    "sample": {"errors", "geometry"},
    "pictures": {"errors", "geometry", "sample"},
    "data": VALUES,
    "toybox": VALUES | {"data"},
    "perception": VALUES,
    "matching": VALUES | {"perception"},
    "curation": WORLD | {"matching", "perception"},  # never model, never training
    "model": VALUES,  # never data
    "objectives": MODEL,
    "sampling": MODEL,
    "pipeline": NUMBERS | {"perception"},
    "generate": PIPELINE,
    "training": NUMBERS | WORLD | {"launched"},
    "evaluation": RUNS | {"matching", "launched"},
    "publishing": RUNS | {"curation"},
    "studio": RUNS | {"matching", "evaluation", "curation"},  # it opens the datasets that curation makes
    "commands": RUNS | {"matching", "curation", "evaluation", "publishing", "studio"},
    "cli": {"errors", "about", "commands"},
}
# files that tie a protocol of one room to our own model, outside the table
ADAPTERS: set[str] = set()

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "matplotlib", "ray", "gradio", "scipy")
LONGEST_FILE, LONGEST_FUNCTION, USUAL_FUNCTION = 350, 80, 40


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def room_of(module: str) -> str:
    """`mosaic.model.layout` → `model`; the package itself → `mosaic`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def module_of(file: Path) -> str:
    parts = file.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of the modules a file imports, wherever in the file, with their lines."""
    package = module_of(file).split(".") if file.name == "__init__.py" else module_of(file).split(".")[:-1]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module == "mosaic":
                yield from (
                    (f"mosaic.{alias.name}", node.lineno) for alias in node.names if alias.name[0] != "_"
                )
            else:
                yield module, node.lineno


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name_of(file)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(k.value) for k in call.keywords if k.arg == name), None)


def test_imports_run_one_way() -> None:
    wrong = []
    for file in SOURCES:
        room = room_of(module_of(file))
        if name_of(file) in ADAPTERS:
            continue
        assert room in MAY_IMPORT, f"{name_of(file)}: enter the room {room!r} into the table of this test"
        for module, line in imports(file):
            other = room_of(module)
            if module.startswith("mosaic.") and other != room and other not in MAY_IMPORT[room]:
                wrong.append(f"{name_of(file)}:{line} {room} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_the_table_has_no_circle() -> None:
    order: list[str] = []
    rooms = {room: others & MAY_IMPORT.keys() for room, others in MAY_IMPORT.items()}
    while rooms:
        ready = sorted(room for room, others in rooms.items() if others <= set(order))
        assert ready, f"these import each other: {sorted(rooms)}"
        order += ready
        rooms = {room: others for room, others in rooms.items() if room not in ready}


def test_every_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    declared = {re.split(r"[\[<>=~! ]", name)[0].lower().replace("_", "-") for name in wanted}
    declared |= {"pydantic-core"}  # pydantic's own, pinned by it
    homes = packages_distributions()
    missing = set()
    for file in SOURCES:
        for module, line in imports(file):
            package = module.partition(".")[0]
            if package in sys.stdlib_module_names or package == "mosaic":
                continue
            names = {name.lower().replace("_", "-") for name in homes.get(package, [package])}
            if not names & declared:
                missing.add(f"{name_of(file)}:{line} imports {package}")
    assert not missing, "\n".join(sorted(missing))


def test_import_is_light() -> None:
    program = f"""
import sys, mosaic, mosaic.cli
assert mosaic.cli.run(["--help"]) == 0
heavy = [name for name in {HEAVY!r} if name in sys.modules]
assert not heavy, f"import mosaic brings {{heavy}}"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_functions_are_short() -> None:
    lengths = sorted((length, place) for file in SOURCES for place, length in functions(file))
    long = [f"{place}: {length} lines" for length, place in lengths if length > LONGEST_FUNCTION]
    assert not long, "\n".join(long)
    usual = lengths[int(0.9 * (len(lengths) - 1))][0]
    assert usual <= USUAL_FUNCTION, f"the 90th percentile of function lengths is {usual} lines"


def test_files_are_read_in_one_sitting() -> None:
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in EVERYTHING}
    long = [f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST_FILE]
    assert not long, "\n".join(long)


def test_no_drawer_for_everything() -> None:
    drawers = re.compile(r"^(utils?|helpers?|misc|common|experiments)$")
    found = [
        name_of(file)
        for file in SOURCES
        if any(drawers.match(Path(part).stem) for part in file.relative_to(SRC).parts)
    ]
    assert not found, "\n".join(found)


def test_nothing_is_unpickled() -> None:
    wrong = []
    for file in SOURCES:
        for module, line in imports(file):
            if module.partition(".")[0] in {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}:
                wrong.append(f"{name_of(file)}:{line} imports {module}")
        for called, call in calls(file):
            place = f"{name_of(file)}:{call.lineno} {called}"
            if called == "torch.load" and keyword(call, "weights_only") is not True:
                wrong.append(f"{place} without weights_only=True")
            if called in {"np.load", "numpy.load"} and keyword(call, "allow_pickle") is True:
                wrong.append(f"{place} with allow_pickle=True")
            if called in {"eval", "exec"}:
                wrong.append(place)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["MosaicPipeline", "Reference", "load"])
def test_what_a_user_imports_is_there(name: str) -> None:
    import mosaic

    assert name in mosaic.__all__
    assert name in dir(mosaic)
    assert getattr(mosaic, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    import mosaic

    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        mosaic.nothing_of_this_name  # noqa: B018
