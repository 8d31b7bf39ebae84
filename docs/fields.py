"""For mkdocstrings: a class's docstring goes on with its fields, as the comments on their lines tell them."""

import re
from typing import Any

import griffe

COMMENT = re.compile(r"\S  # (?!noqa|type:)(.+)$")


class Fields(griffe.Extension):
    """`width: int  # in tokens` becomes "- `width`: in tokens" under the class it belongs to."""

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
