"""What a person reads when a command cannot go on: one sentence that says what to change."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
EXTRAS = {
    "cv2": "evaluate",
    "gradio": "studio",
    "jinja2": "evaluate",
    "openai": "curate",
    "pyarrow": "evaluate",
    "ray": "curate",
    "tensorboard": "train",
    "torchao": "bits",
    "wandb": "wandb",
}


def explain(error: BaseException) -> str | None:
    """The sentence for a user's mistake, on one line; None where the error is ours and wants its traceback.

    A user's mistake is a ValueError (pydantic's included), an OSError that names a file, or a missing package
    that one of the extras installs.
    """
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, OSError):
        return _file_error(error)
    if isinstance(error, ValueError):
        return one_line(_validation(error) or str(error) or type(error).__name__)
    return None


@contextmanager
def exits_in_words(parser: ArgumentParser) -> Iterator[None]:
    """A user's mistake ends a `python -m` command with one sentence and status 2, Ctrl-C with 130."""
    try:
        yield
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        parser.exit(2, f"{sentence}\n")
    except KeyboardInterrupt:
        parser.exit(130)


@contextmanager
def told_of(key: str) -> Iterator[None]:
    """A mistake in what a recipe's key names is told with the key before it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _missing_package(error: ModuleNotFoundError) -> str | None:
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"this needs the package {package}: pip install {_wanted(EXTRAS[package])}"


def _wanted(extra: str) -> str:
    """What pip is told; in a wheel the packages, for `mosaic` on PyPI is somebody else's."""
    if (CHECKOUT / "constraints.txt").is_file():
        return f'-c constraints.txt -e ".[{extra}]"'
    lines = [line.replace("'", '"').split(";") for line in requires("mosaic") or ()]
    return " ".join(f'"{line[0].strip()}"' for line in lines if f'extra == "{extra}"' in line[-1])


def _file_error(error: OSError) -> str | None:
    if error.filename is None:
        return None
    return one_line(f"{error.filename}: {error.strerror or error}")


def _validation(error: ValueError) -> str | None:
    """The first complaint of a pydantic ValidationError, with its place and how many more there are."""
    if not hasattr(error, "errors"):
        return None
    first, *others = error.errors()
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{place}: {first['msg']}{more}" if place else f"{first['msg']}{more}"


def one_line(text: str) -> str:
    """`text` without line breaks, for a message of one sentence."""
    return " ".join(text.split()).replace("Value error, ", "")  # pydantic's prefix to a validator's own words
