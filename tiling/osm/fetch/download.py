"""One file from a server, however often the connection or this program ends on the way.

Beside `NAME` lie `NAME.part`, what has come of a newer one, and a JSON file of facts for each.
A part goes on by an HTTP range, when the server says that it still has the same file.
"""

import hashlib
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, Self

import requests

from tiling.errors import FetchError, UserError, WriteError
from tiling.files.atomic import read_json, sync, write_json
from tiling.files.outputs import claimed
from tiling.osm.fetch.server import AwayError, Server

CHUNK = 1 << 14  # bytes; as much may be lost when a connection ends
HTTP_PARTIAL, HTTP_SAME, HTTP_BEYOND = 206, 304, 416


class Watch(Protocol):
    """Who is told of a download."""

    def begins(self, facts: "Facts", there: int) -> object:
        """A file of these facts comes, of which `there` bytes came before."""

    def came(self, size: int) -> object:
        """So many bytes more are there."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of a file: where it is, its version, its bytes, its date.

    `validator`: its strong ETag or else its date, "" without any. `size` is None where the server
    does not say.
    """

    url: str
    validator: str
    size: int | None
    date: str

    @classmethod
    def of(cls, url: str, answer: requests.Response, size: int | None) -> Self:
        """Read the headers of an answer."""
        etag, date = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
        return cls(url, etag if etag.startswith('"') else date, size, date)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a file of facts; None without a valid one."""
        try:
            return cls(**read_json(path))
        except (UserError, TypeError):
            return None


class Download:
    """A file that is brought to `path`; `watch` is told how much of it came."""

    def __init__(self, server: Server, url: str, path: Path, watch: Watch | None = None) -> None:
        self._server, self._url, self.path, self._watch = server, url, path, watch
        self._part = path.with_name(f"{path.name}.part")

    @property
    def facts(self) -> Facts | None:
        """What was said of the file that is there, None without one of this address."""
        facts = Facts.read(_facts_of(self.path))
        return facts if self.path.is_file() and facts and facts.url == self._url else None

    def bring(self, with_md5: bool = True) -> bool:
        """Bring the file, or see that it is the newest; returns whether it came.

        `with_md5`: the checksum lies at the address + ".md5", if there is one.

        Raises `AwayError` when the server does not answer for long, `FetchError` when it sends
        another file than it says, `WriteError` for a full disk. What came stays for the next time.
        """
        with claimed(self.path):
            for last in (False, True):  # it may be replaced while it comes
                md5 = self._md5() if with_md5 else None
                if self._server.patiently(self._go_on, self._there):
                    return False
                found = md5 and _md5_of(self._part)
                if found == md5:
                    self._finish()
                    return True
                self._part.unlink()
                if last:
                    break
        raise FetchError(
            f"{self._url} came with the MD5 {found}, its provider says {md5}: try again later"
        )

    def _md5(self) -> str | None:
        """Return what the provider says, None where it has no checksums."""
        try:
            text = self._server.read(f"{self._url}.md5").decode(errors="replace")
        except AwayError:
            raise
        except FetchError:
            return None
        word = text.split()[0].lower() if text.split() else ""
        return word if len(word) == 32 and not set(word) - set("0123456789abcdef") else None

    def _there(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _go_on(self) -> bool:
        """Bring what lacks of the part; True when the file that is there is the newest."""
        before = Facts.read(_facts_of(self._part))
        there = self._there() if before and before.url == self._url and before.validator else 0
        with self._server.ask(self._url, self._conditions(before, there)) as answer:
            if answer.status_code == HTTP_SAME and self.facts:
                return True
            if answer.status_code == HTTP_PARTIAL and before and _continues(answer, before, there):
                facts = before
            elif answer.status_code == requests.codes.ok:
                facts, there = Facts.of(self._url, answer, _length(answer)), 0
                write_json(_facts_of(self._part), asdict(facts))
            else:
                self._part.unlink(missing_ok=True)
                raise AwayError(f"{self._url} changed on the way (status {answer.status_code})")
            self._take(answer, facts, there)
        return False

    def _conditions(self, before: Facts | None, there: int) -> dict[str, str]:
        if before and there:
            return {"Range": f"bytes={there}-", "If-Range": before.validator}
        validator = self.facts.validator if self.facts else ""
        if validator.startswith('"'):
            return {"If-None-Match": validator}
        return {"If-Modified-Since": validator} if validator else {}

    def _take(self, answer: requests.Response, facts: Facts, there: int) -> None:
        left = None if facts.size is None else facts.size - there
        free = shutil.disk_usage(self.path.parent).free
        if left is not None and left > free:
            raise WriteError(
                f"{self.path.parent} has {free / 1e6:,.0f} MB free, {self._url} needs "
                f"{left / 1e6:,.0f}: make room, or set XDG_CACHE_HOME"
            )
        if self._watch is not None:
            self._watch.begins(facts, there)
        with self._part.open("ab" if there else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                if self._watch is not None:
                    self._watch.came(len(chunk))
        if facts.size is not None and self._there() != facts.size:
            raise AwayError(f"{self._url} ended at {self._there():,} of {facts.size:,} bytes")

    def _finish(self) -> None:
        sync(self._part)
        # In this order: a stop in between costs another download, and never mixes two files.
        _facts_of(self.path).unlink(missing_ok=True)
        self._part.replace(self.path)
        _facts_of(self._part).replace(_facts_of(self.path))


def _facts_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _length(answer: requests.Response) -> int | None:
    """Return the bytes of a body, None where the server does not say, or packs it."""
    told = answer.headers.get("Content-Length", "")
    return int(told) if told.isdecimal() and "Content-Encoding" not in answer.headers else None


def _continues(answer: requests.Response, before: Facts, there: int) -> bool:
    """Tell whether a part of a file continues what is there, and is of the same file."""
    place, _, total = answer.headers.get("Content-Range", "").partition("/")
    same = Facts.of(before.url, answer, before.size) == before
    return same and place.startswith(f"bytes {there}-") and total == str(before.size)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
