"""Hooks of MkDocs: pages made from the code and from files outside docs/, and links to them."""

from collections.abc import Iterator
from pathlib import Path

from commands_page import commands_page
from http_page import http_page
from links import ROOT_PAGES, linked_files, relinked, shown_at
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from settings_page import settings_page
from tour_page import TOUR, tour_page

ROOT = Path(__file__).parents[3]
LANGUAGES = {".py": "python", ".toml": "toml", ".sql": "sql", ".sh": "bash", ".yml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and a page for each file of the repository that is linked to."""
    for source, uri in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=text))
    for uri, content in _generated():
        files.append(File.generated(config, uri, content=content))
    texts = {_source(file): file.content_string for file in files.documentation_pages()}
    for path in sorted(linked_files(texts, ROOT)):
        files.append(File.generated(config, shown_at(path), content=_shown(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links into those of the site."""
    return relinked(markdown, _source(page.file), page.file.src_uri)


def _generated() -> Iterator[tuple[str, str | bytes]]:
    yield "reference/commands.md", commands_page()
    yield "reference/http.md", http_page()
    yield "reference/settings.md", settings_page()
    yield from tour_page(ROOT / TOUR)


def _source(file: File) -> str:
    """Return where the text of a page stands in the repository: its links start there."""
    of_root = {uri: source for source, uri in ROOT_PAGES.items()}
    return of_root.get(file.src_uri, f"docs/{file.src_uri}")


def _shown(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(path).suffix, "text")
    # More backticks than any file has in a row.
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n``````{language}\n{text}\n``````\n"
