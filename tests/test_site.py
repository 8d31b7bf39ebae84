"""The site: every page is built without a complaint, and nothing on it is fetched from elsewhere."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fixtures_documents import ROOT

sys.path.append(str(ROOT / "examples"))
import recipes_page

SOURCES = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Fetched(HTMLParser):
    """Collects what a browser loads for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(given.get(SOURCES.get(tag, "")) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_pages_of_the_root_are_on_the_site(site: Path) -> None:
    for page in ("index", "architecture", "changelog", "contributing", "tutorial-maker", "api/pipeline"):
        assert (site / f"{page}.html").is_file()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert not [url for url in parser.found if re.match(r"(https?:)?//", url)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), (
            style
        )


def test_links_between_pages_end_in_pages(site: Path) -> None:
    for page in site.rglob("*.html"):
        targets = re.findall(r'<a [^>]*href="(?![a-z]+:)([^"#?]+)', page.read_text(encoding="utf-8"))
        missing = [link for link in targets if not (page.parent / link).exists()]
        assert page.name == "404.html" or not missing, page


def test_shell_blocks_tell_readers_what_they_need_and_nothing_of_the_tests(site: Path) -> None:
    text = (site / "studio.html").read_text(encoding="utf-8")
    assert "not run by the tests" not in text and "# needs a GPU, and FLUX.1-dev" in text


def test_the_api_tells_shapes(site: Path) -> None:
    text = (site / "api" / "objectives.html").read_text(encoding="utf-8")
    assert "(B, K, P, T)" in text and "eq. 10" in text
    fields = (site / "api" / "evaluation.html").read_text(encoding="utf-8")
    assert "<code>mosaic.evaluation.tally</code>" in fields  # where to import from
    assert not [
        page for page in (site / "api").glob("*.html") if "</code>: …" in page.read_text(encoding="utf-8")
    ]
    assert "what a detector looks for" in fields  # a comment on the line of BenchSubject.noun


def test_the_api_leaves_no_method_and_no_error_out() -> None:
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    package = griffe.load("mosaic", search_paths=[str(ROOT / "src")])
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    named = [package[name] for name in re.findall(r"^::: mosaic\.(\S+)", pages, re.MULTILINE)]
    assert len(named) > 80
    functions = [one for one in named if one.is_function]
    for one in named:
        if one.is_class:
            functions += [m for m in one.members.values() if m.is_function and not m.name.startswith("_")]
    assert not [one.path for one in functions if one.docstring is None]
    raising = [one for one in functions if "raise ValueError" in "\n".join(one.lines)]
    assert not [one.path for one in raising if "ValueError" not in one.docstring.value]


# ---------------------------------------------------------------- pages that are written from the code


def test_recipes_are_told_as_their_heads_say() -> None:
    told = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert told == recipes_page.page(), "python examples/recipes_page.py docs/recipes.md"


def test_sentences_of_troubleshooting_are_in_the_code() -> None:
    said = [text for file in (ROOT / "src").rglob("*.py") for text in texts_of(file)]
    quoted = re.findall(
        r"^### (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(quoted) >= 40
    for sentence in quoted:
        parts = [re.escape(part.strip()) for part in sentence.split("…")]
        assert any(re.search(".*".join(parts), text) for text in said), sentence


def texts_of(file: Path) -> list[str]:
    """Texts of a file, … for what is filled in; its docstrings, which nobody is told, left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [" ".join(_text(node).split()) for node in ast.walk(tree) if id(node) not in told and _text(node)]


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
