"""Links: in the repository they lead to files, on the site to pages."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# Pages of the site that stand in the repository's root.
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "licence.md",
}
MOVED = {**ROOT_PAGES, "docs/tour.ipynb": "tour.md"}
LINK = re.compile(r"\]\(([^)\s#:]+)((?:#[^)\s]*)?)\)")
CODE = re.compile(r"`[^`\n]+`")


def linked_files(texts: Mapping[str, str], root: Path) -> set[str]:
    """Return the files outside docs/ that texts link to; `texts` by their path in `root`."""
    paths = {path for source, text in texts.items() for path in _targets(text, source)}
    return {path for path in paths if _is_outside(path) and (root / path).is_file()}


def relinked(text: str, source: str, uri: str) -> str:
    """Return the text of the page `uri`, written for `source`, with the links of the site."""

    def replace(match: re.Match[str]) -> str:
        target = posixpath.relpath(_uri(_joined(source, match[1])), posixpath.dirname(uri) or ".")
        return f"]({target}{match[2]})"

    # GitHub wants pipes in the code of a table escaped, Python-Markdown wants them as they are.
    text = CODE.sub(lambda code: code[0].replace(r"\|", "|"), text)
    return LINK.sub(replace, text)


def shown_at(path: str) -> str:
    """Return the page that shows a file of the repository."""
    return f"source/{path}.md"


def _targets(text: str, source: str) -> Iterator[str]:
    for match in LINK.finditer(text):
        yield _joined(source, match[1])


def _joined(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _is_outside(path: str) -> bool:
    return path not in MOVED and not path.startswith("docs/")


def _uri(path: str) -> str:
    if path in MOVED:
        return MOVED[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else shown_at(path)
