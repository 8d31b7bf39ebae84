"""What nobody else need know: where things lie on this machine."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

QUOTED = re.compile(r"""(["'])((?:/|~/|[A-Za-z]:\\)[^"'\n]*)\1""")


def shortened(text: str) -> str:
    """Of an absolute path or one of a home folder its last part; any other text as it is."""
    if PureWindowsPath(text).drive and PureWindowsPath(text).is_absolute():
        return PureWindowsPath(text).name
    if (text.startswith(("/", "~/"))) and "\n" not in text:
        return PurePosixPath(text).name
    return text


def without_paths(value: Any) -> Any:
    """A JSON value, the paths in it shortened."""
    if isinstance(value, dict):
        return {shortened(key): without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    return shortened(value) if isinstance(value, str) else value


def text_without_paths(text: str) -> str:
    """A document, the quoted paths in it shortened."""
    return QUOTED.sub(lambda found: f"{found[1]}{shortened(found[2])}{found[1]}", text)
