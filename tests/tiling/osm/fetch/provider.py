"""A provider of extracts on 127.0.0.1 that misbehaves as it is told to."""

import hashlib
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SQUARE = [[[7.0, 43.0], [8.0, 43.0], [8.0, 44.0], [7.0, 44.0], [7.0, 43.0]]]
DATE = "Tue, 25 Nov 2025 21:00:00 GMT"

Deed = Callable[["Handler"], bool]  # whether the usual answer still follows


class Provider(ThreadingHTTPServer):
    """Files by their paths; `deeds` of a path are done in turn, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.deeds: dict[str, deque[Deed]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.clients: set[int] = set()
        self.validates = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, data: bytes, md5: str | None = None) -> None:
        """Offer a file with its checksum, as Geofabrik does."""
        self.files[path] = data
        digest = md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()
        self.files[f"{path}.md5"] = f"{digest}  {path.rpartition('/')[2]}\n".encode()

    def put_index(self, *more: dict[str, Any]) -> None:
        """Offer an index of Europe with Monaco in it, and features of one's own."""
        monaco = self.feature("monaco", "europe", "Monaco", codes=["MC"])
        features = [self.feature("europe", None, "Europe", box=60), monaco, *more]
        self.files["/index.json"] = json.dumps({"features": features}).encode()

    def feature(
        self, key: str, parent: str | None, name: str, box: float = 1.0, codes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return a feature of the index around lat 43.5, lon 7.5, `box` degrees wide."""
        ring = [[7.5 + (x - 7.5) * box, 43.5 + (y - 43.5) * box] for x, y in SQUARE[0]]
        urls = {"pbf": f"{self.url}/{key}-latest.osm.pbf"}
        known = {"id": key, "name": name, "urls": urls, "iso3166-1:alpha2": list(codes)}
        return {
            "type": "Feature",
            "properties": known if parent is None else {**known, "parent": parent},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }

    def do(self, path: str, *deeds: Deed) -> None:
        """Do these at the next requests of a path."""
        self.deeds.setdefault(path, deque()).extend(deeds)

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of the requests of a path."""
        return [headers for seen, headers in self.seen if seen.partition("?")[0] == path]

    def settings(self, folder: Path, geocoder: bool = False) -> Path:
        """Write the TOML file of this provider."""
        path = folder / "provider.toml"
        more = f'geocoder = "{self.url}/search"\n' if geocoder else ""
        path.write_text(f'name = "local"\nindex = "{self.url}/index.json"\n{more}')
        return path


class Handler(BaseHTTPRequestHandler):
    """Answers with the files of the server, by ranges and conditions (RFC 9110)."""

    protocol_version = "HTTP/1.1"
    server: Provider

    def do_GET(self) -> None:
        """Do what is planned for the path, then what a server should."""
        self.server.clients.add(self.client_address[1])
        self.server.seen.append((self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        planned = self.server.deeds.get(path)
        if planned and not planned.popleft()(self):
            return
        data = self.server.files.get(path)
        if data is None:
            self.answer(404, b"")
        elif self._is_same(data):
            self.answer(304, None)
        else:
            self._send(data)

    def _is_same(self, data: bytes) -> bool:
        return self.headers.get("If-None-Match", "") == self.tag(data)

    def _send(self, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range", self.tag(data)) == self.tag(data):
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(data):
                self.answer(416, b"")
            else:
                place = f"bytes {first}-{len(data) - 1}/{len(data)}"
                self.answer(206, data[first:], {"Content-Range": place, **self.facts(data)})
        else:
            self.answer(200, data, self.facts(data))

    def tag(self, data: bytes) -> str:
        return f'"{hashlib.sha256(data).hexdigest()[:16]}"'

    def facts(self, data: bytes) -> dict[str, str]:
        known = {"ETag": self.tag(data), "Last-Modified": DATE}
        return known if self.server.validates else {}

    def answer(
        self, status: int, body: bytes | None, headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:  # fmt: skip
        """Send an answer; one of a wrong `length` ends the connection."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body or b"")
        if length is not None:
            self.cut()

    def cut(self) -> None:
        """End the connection."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Be quiet."""


@contextmanager
def running() -> Iterator[Provider]:
    """Give a provider that runs."""
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            provider.shutdown()
            thread.join()
