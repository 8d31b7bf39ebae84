"""What mkdocs does beside its own work: pages of the repository's root, and links that lead out of docs/."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[1]
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
FETCHED = "https://unpkg.com/iframe-worker/shim"
LINE_OF_CODE = re.compile(r"<code>([^<]{30,})</code>")
UNTESTED = re.compile(r"^# not run by the tests: (?:(needs .*\n)|.*\n)", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The root's pages join those of docs/, their links as seen from there."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a page of the root leads to its place on the site; one to any other file becomes its path.

    What a shell block tells the tests is left out, but for what the block needs.
    """

    def mended(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2].removeprefix("../"), link[3] or ""
        if target in PAGES:
            return f"[{words}]({PAGES[target]}{anchor})"
        outside = link[2].startswith("../") or page.file.src_uri in PAGES.values()
        if not outside or (ROOT / "docs" / target).exists():
            return link[0]
        return words if target in words else f"{words} (`{target}`)"

    if page.file.src_uri.startswith("api/"):
        return markdown
    return LINK.sub(mended, UNTESTED.sub(lambda line: f"# {line[1]}" if line[1] else "", markdown))


def on_page_content(html: str, **_: object) -> str:
    """A line of code in a table may be broken, a name may not: the style sheet tells them apart by this."""
    return LINE_OF_CODE.sub(r'<code class="line">\1</code>', html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme would fetch what lets pages on a disk be searched; ours is of the site."""
    return output.replace(FETCHED, get_relative_url("assets/worker.js", page.url))


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page of what is not there, whose links begin at the site's root."""
    return output.replace(FETCHED, "/assets/worker.js")
