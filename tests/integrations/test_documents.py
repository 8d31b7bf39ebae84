"""What docs/diffusers.md and docs/licences.md say in code and tables, held to the code."""

import ast
import re
from pathlib import Path

from mosaic.publishing.licences import BASES, known

ROOT = Path(__file__).parents[2]


def python_of(document: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_examples_call_what_is_there() -> None:
    from mosaic.pipeline import MosaicPipeline

    blocks = python_of("diffusers.md")
    assert len(blocks) == 2
    source = (ROOT / "integrations" / "diffusers" / "pipeline.py").read_text()
    (custom,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    calls = {node.name: node.args for node in custom.body if isinstance(node, ast.FunctionDef)}
    taken = {one.arg for one in [*calls["__call__"].args, *calls["__call__"].kwonlyargs]}
    (call,) = [
        node
        for node in ast.walk(ast.parse(blocks[1]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pipeline"
    ]
    named = {one.arg for one in call.keywords}
    assert named <= taken and "references" in named
    for name in ("load_lora", "save_pretrained", "from_pretrained"):
        assert callable(getattr(MosaicPipeline, name))


def test_every_base_of_the_code_is_in_the_table() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    for base, licence in BASES.items():
        word = base.rpartition("/")[2].removeprefix("FLUX.1-")
        word = "embedded" if word == "mosaic-tiny" else word.removesuffix("-alpha")
        rows = [line for line in text.splitlines() if line.startswith("|") and word in line]
        (row,) = [line for line in rows if "| yours |" in line or "*Derivative*" in line]
        assert ("Non-Commercial" in row) == licence.derivatives, base
    assert known("nobody/knows").identifier == "unknown"


def test_the_public_claim_is_named_as_none_of_the_papers() -> None:
    text = (ROOT / "docs" / "paper-and-code.md").read_text()
    section = text.split("## What the paper does not claim")[1]
    assert "+12.7 % ID-Retrieval" in section and "The paper has neither" in section
