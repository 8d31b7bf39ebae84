"""For mkdocstrings: a module's docstring begins with its name, from which one imports.

A class's goes on with its fields, as the comments on their lines tell them, and with what is refused.
"""

import re
from typing import Any

import griffe

COMMENT = re.compile(r"\S  # (?!noqa|type:)(.+)$")


class Fields(griffe.Extension):
    """`width: int  # in tokens` becomes "- `width`: in tokens" under the class it belongs to."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        if mod.docstring is not None:
            mod.docstring.value = f"`{mod.path}`\n\n{mod.docstring.value}"

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.docstring is None:
            return
        lines = cls.filepath.read_text(encoding="utf-8").splitlines()
        told = []
        for name, member in cls.members.items():
            if member.is_attribute and member.endlineno and not name.startswith("_"):
                comment = COMMENT.search(lines[member.endlineno - 1])
                told += [f"- `{name}`: {comment[1]}"] if comment else []
        if told:
            cls.docstring.value += "\n\n" + "\n".join(told)
        made = cls.members.get("__post_init__")
        if made is not None and made.docstring is not None:
            cls.docstring.value += f"\n\n{made.docstring.value}"
