"""The keys of a recipe: reading them, those there are, setting one, and saying which was meant."""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Kind = TypeVar("Kind", bound=BaseModel)


def read_tables(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file after `section.key=value` overrides; ValueError says what to change."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the recipe {path} is not valid TOML: {error}.") from error
    for override in overrides:
        set_key(table, override)
    return table


def kind_of(path: Path) -> str:
    """What a recipe file says of its kind; "" where it says nothing or cannot be read: another tells why."""
    try:
        return str(tomllib.loads(Path(path).read_text(encoding="utf-8")).get("kind", ""))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""


def validated(kind: type[Kind], table: dict[str, Any], name: str) -> Kind:
    """Tables as a recipe of a kind; ValueError names the first key that is wrong."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{name}: {sentence(error.errors()[0], kind)}") from error


def set_key(table: dict[str, Any], override: str) -> None:
    """Apply one `section.key=value` in place; the value is read as TOML, else taken as a plain string."""
    path, separator, text = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ValueError(f"--set takes section.key=value, not {override!r}.")
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {override}: {key} is not a section of the recipe.")
    table[keys[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def sentence(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """What is wrong with a key, and the nearest known one where it is unknown."""
    path = ".".join(str(part) for part in error["loc"] if "[" not in str(part))  # of a union, not its branch
    if error["type"] == "extra_forbidden":
        return f"unknown key {path}{_nearest(path, kind)}"
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{path}: {message}." if path else f"{message}."


def _nearest(path: str, kind: type[BaseModel]) -> str:
    known = list(known_keys(kind))
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
    leaf = difflib.get_close_matches(
        path.rpartition(".")[2], [key.rpartition(".")[2] for key in known], n=1, cutoff=0.8
    )
    same_leaf = [key for key in known if leaf and key.rpartition(".")[2] == leaf[0]]
    best = difflib.get_close_matches(path, same_leaf, n=1, cutoff=0.0) or close
    return f"; did you mean {best[0]}?" if best else "."


def known_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a section and of the sections in it, dotted."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from known_keys(field.annotation, f"{prefix}{name}.")
