"""Asking a web server politely: one connection, an honest name, pauses that it may set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import TypeVar

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from tiling.errors import FetchError
from tiling.words import in_one_line

BUSY = (408, 429, 500, 502, 503, 504)
USEFUL = (200, 206, 304, 416)
REDIRECTS = 5
GAIN = 1 << 16  # bytes that make a failure the first one again
MOST_BYTES = 100_000_000  # of an answer that is read into memory

T = TypeVar("T")


class AwayError(FetchError):
    """A server does not answer, for now; `wait_s`: how long it asks to be left alone."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(slots=True)
class Server:
    """Whoever is asked; `told` gets a line for people at every pause.

    `tries` in a row without progress end a request. `timeout_s`: of a silent server. A server that
    wants to be left alone for longer than `longest_s` ends the request, too.
    """

    told: Callable[[str], object] = lambda line: None
    tries: int = 6
    pause_s: float = 1.0
    timeout_s: float = 30.0
    longest_s: float = 300.0
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self._session.max_redirects = REDIRECTS
        name = f"loc2vec/{metadata.version('loc2vec')} (OpenStreetMap extracts; requests)"
        self._session.headers.update({"User-Agent": name, "Accept-Encoding": "identity"})

    @contextmanager
    def ask(
        self, url: str, headers: dict[str, str] | None = None, query: dict[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Give the answer of a server, whose body is read in the block.

        Raises `AwayError` when it may answer later, `FetchError` when it will not.
        """
        try:
            with self._session.get(
                url, headers=headers, params=query, stream=True, timeout=self.timeout_s
            ) as answer:
                _require_safe(url, answer)
                _require_useful(url, answer)
                yield answer
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
                requests.exceptions.TooManyRedirects) as error:  # fmt: skip
            raise FetchError(f"{url} leads nowhere ({in_one_line(error)})") from error
        except (requests.RequestException, HTTPError) as error:
            raise AwayError(f"{url} does not answer ({_reason(error)})") from error

    def read(self, url: str, query: dict[str, str] | None = None) -> bytes:
        """Return a short document, `MOST_BYTES` at most."""

        def once() -> bytes:
            with self.ask(url, query=query) as answer:
                data = b""
                for chunk in answer.iter_content(GAIN):
                    data += chunk
                    if len(data) > MOST_BYTES:
                        raise FetchError(f"{url} is longer than {MOST_BYTES:,} bytes")
                return data

        return self.patiently(once)

    def patiently(self, task: Callable[[], T], gained: Callable[[], int] = lambda: 0) -> T:
        """Return what `task` returns; repeat it while the server is away.

        `gained`: how many bytes are there; after `GAIN` more the patience is whole again.
        """
        tries, before = 0, gained()
        while True:
            try:
                return task()
            except AwayError as error:
                tries, before = (0, gained()) if gained() >= before + GAIN else (tries, before)
                tries += 1
                wait_s = max(error.wait_s, self.pause_s * 2 ** (tries - 1))
                if tries >= self.tries or error.wait_s > self.longest_s:
                    raise
                self.told(f"{error}: again in {wait_s:.0f} s")
                time.sleep(wait_s)


def _require_safe(url: str, answer: requests.Response) -> None:
    """Raise `FetchError` when an https address was redirected to one that anybody may forge."""
    if url.startswith("https://") and not answer.url.startswith("https://"):
        raise FetchError(f"{url} leads to {answer.url}, which is not encrypted")


def _require_useful(url: str, answer: requests.Response) -> None:
    if answer.status_code in BUSY:
        wait_s = _wait_s(answer.headers.get("Retry-After"))
        when = f", and asks to come again in {wait_s:.0f} s" if wait_s else ""
        raise AwayError(f"{url} is busy (status {answer.status_code}){when}", wait_s)
    if answer.status_code not in USEFUL:
        raise FetchError(f"{url} answers with status {answer.status_code}, not with a file")


def _wait_s(header: str | None) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3)."""
    try:
        return float(Retry().parse_retry_after(header)) if header else 0.0
    except InvalidHeader:
        return 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return "it is silent"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended too early"
    return in_one_line(error)[:200]
