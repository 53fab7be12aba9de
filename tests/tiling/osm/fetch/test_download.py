"""Downloads from a server that stalls, truncates, lies, changes its mind and is busy."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tests.tiling.osm.fetch.provider import Deed, Handler, Provider, running
from tiling.errors import FetchError, WriteError
from tiling.osm.fetch.download import Download
from tiling.osm.fetch.server import AwayError, Server

PATH = "/monaco-latest.osm.pbf"
DATA = os.urandom(400_000)
NEWER = os.urandom(400_000)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running() as provider:
        provider.put(PATH, DATA)
        yield provider


@pytest.fixture
def lines() -> list[str]:
    return []


def server(lines: list[str]) -> Server:
    return Server(lines.append, tries=3, pause_s=0.01, timeout_s=0.3, longest_s=1.5)


def download(provider: Provider, folder: Path, lines: list[str]) -> Download:
    return Download(server(lines), provider.url + PATH, folder / "monaco.osm.pbf")


def truncated(at: int) -> Deed:
    """Send the first bytes of the usual answer, then end the connection."""

    def deed(handler: Handler) -> bool:
        data = handler.server.files[PATH]
        handler.answer(200, data[:at], handler.facts(data), length=len(data))
        return False

    return deed


def stalled(handler: Handler) -> bool:
    data = handler.server.files[PATH]
    handler.send_response(200)
    for name, value in {**handler.facts(data), "Content-Length": str(len(data))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data[:98_304])
    handler.wfile.flush()
    time.sleep(0.6)
    handler.cut()
    return False


def replaced(handler: Handler) -> bool:
    """Offer another file from now on."""
    handler.server.put(PATH, NEWER)
    return True


def mixed(handler: Handler) -> bool:
    """Continue with the bytes of another file, whatever the client asked for."""
    first = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    place = f"bytes {first}-{len(NEWER) - 1}/{len(NEWER)}"
    handler.answer(206, NEWER[first:], {"Content-Range": place, **handler.facts(NEWER)})
    return False


def elsewhere(handler: Handler) -> bool:
    """Begin at another byte than was asked for."""
    place = f"bytes 0-{len(DATA) - 1}/{len(DATA)}"
    handler.answer(206, DATA, {"Content-Range": place, **handler.facts(DATA)})
    return False


def busy(handler: Handler) -> bool:
    handler.answer(429, b"", {"Retry-After": "1"})
    return False


def busy_for_long(handler: Handler) -> bool:
    handler.answer(503, b"", {"Retry-After": "7200"})
    return False


def failing(handler: Handler) -> bool:
    handler.answer(500, b"")
    return False


def moved(handler: Handler) -> bool:
    handler.answer(302, b"", {"Location": "/monaco-251125.osm.pbf"})
    return False


def round_and_round(handler: Handler) -> bool:
    handler.answer(302, b"", {"Location": PATH})
    return False


def packed(handler: Handler) -> bool:
    """Say nothing of the length, and end the connection too early."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(DATA[:1000])
    handler.cut()
    return False


@pytest.mark.parametrize(
    ("deeds", "ranges"),
    [
        ([], [None]),
        ([truncated(163_840)], [None, 163_840]),
        ([truncated(0), truncated(65_536)], [None, None, 65_536]),
        ([stalled], [None, 98_304]),
        ([failing, failing], [None, None, None]),
        ([truncated(163_840), elsewhere], [None, 163_840, None]),
    ],
)
def test_what_fails_on_the_way_goes_on_where_it_ended(
    provider: Provider, tmp_path: Path, lines: list[str], deeds: list[Deed], ranges: list[int]
) -> None:
    provider.do(PATH, *deeds)
    brought = download(provider, tmp_path, lines)
    assert brought.bring()
    assert brought.path.read_bytes() == DATA
    asked = [h.get("Range") for h in provider.asked(PATH)]
    assert asked == [None if first is None else f"bytes={first}-" for first in ranges]
    assert {path.name for path in tmp_path.iterdir()} == {"monaco.osm.pbf", "monaco.osm.pbf.json"}


@pytest.mark.parametrize("deed", [replaced, mixed])
def test_a_file_that_changes_between_two_ranges_is_never_mixed(
    provider: Provider, tmp_path: Path, lines: list[str], deed: Deed
) -> None:
    provider.do(PATH, truncated(163_840), deed)
    brought = download(provider, tmp_path, lines)
    assert brought.bring()
    assert brought.path.read_bytes() == provider.files[PATH]


def test_a_stopped_download_goes_on_in_another_process(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    provider.do(PATH, truncated(163_840), *[failing] * 2)
    with pytest.raises(AwayError, match="busy"):
        download(provider, tmp_path, lines).bring()
    assert not (tmp_path / "monaco.osm.pbf").exists()
    assert download(provider, tmp_path, lines).bring()
    assert provider.asked(PATH)[-1]["Range"] == "bytes=163840-"
    assert (tmp_path / "monaco.osm.pbf").read_bytes() == DATA


def test_what_is_there_is_only_asked_about(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    assert download(provider, tmp_path, lines).bring()
    assert not download(provider, tmp_path, lines).bring()
    provider.put(PATH, NEWER)
    assert download(provider, tmp_path, lines).bring()
    assert (tmp_path / "monaco.osm.pbf").read_bytes() == NEWER


def test_a_wrong_checksum_keeps_the_file_before(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    assert download(provider, tmp_path, lines).bring()
    provider.put(PATH, NEWER, md5="0" * 32)
    with pytest.raises(FetchError, match=r"with the MD5 [0-9a-f]{32}, its provider says 0000"):
        download(provider, tmp_path, lines).bring()
    assert (tmp_path / "monaco.osm.pbf").read_bytes() == DATA
    assert not (tmp_path / "monaco.osm.pbf.part").exists()


@pytest.mark.parametrize("length", [len(DATA) + 1000, len(DATA) - 1000])
def test_a_server_that_lies_about_the_length_is_found_out(
    provider: Provider, tmp_path: Path, lines: list[str], length: int
) -> None:
    def lying(handler: Handler) -> bool:
        handler.answer(200, DATA, {"ETag": '"other"'}, length)
        return False

    provider.do(PATH, *[lying] * 9)
    with pytest.raises(FetchError, match=r"ended too early|MD5"):
        download(provider, tmp_path, lines).bring()
    assert not (tmp_path / "monaco.osm.pbf").exists()


def test_an_end_without_a_length_is_found_out_by_the_checksum(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    provider.do(PATH, packed)
    assert download(provider, tmp_path, lines).bring()
    assert (tmp_path / "monaco.osm.pbf").read_bytes() == DATA


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(
    provider: Provider, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    # The module alone: other threads sleep, too.
    clock = SimpleNamespace(sleep=waited.append)
    monkeypatch.setattr("tiling.osm.fetch.server.time", clock)
    provider.do(PATH, busy)
    assert download(provider, tmp_path, lines).bring()
    assert waited == [1.0]
    assert "busy (status 429), and asks to come again in 1 s: again in 1 s" in lines[0]


def test_a_server_that_wants_hours_of_rest_ends_the_command(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    provider.do(PATH, busy_for_long)
    with pytest.raises(AwayError, match="asks to come again in 7200 s"):
        download(provider, tmp_path, lines).bring()
    assert len(provider.asked(PATH)) == 1


def test_redirections_are_followed_but_not_in_circles(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    provider.files["/monaco-251125.osm.pbf"] = DATA
    provider.do(PATH, moved, *[round_and_round] * 9)
    assert download(provider, tmp_path, lines).bring()
    with pytest.raises(FetchError, match="leads nowhere"):
        download(provider, tmp_path / "other", lines).bring()


def test_a_missing_file_is_said_at_once(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    del provider.files[PATH]
    with pytest.raises(FetchError, match="answers with status 404, not with a file"):
        download(provider, tmp_path, lines).bring()
    assert len(provider.asked(PATH)) == 1


def test_without_a_validator_it_begins_anew(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    provider.validates = False
    provider.do(PATH, truncated(163_840))
    assert download(provider, tmp_path, lines).bring()
    assert [h.get("Range") for h in provider.asked(PATH)] == [None, None]


def test_it_is_polite(provider: Provider, tmp_path: Path, lines: list[str]) -> None:
    one = server(lines)
    for name in ("a.osm.pbf", "b.osm.pbf"):
        Download(one, provider.url + PATH, tmp_path / name).bring()
    assert len(provider.clients) == 1
    assert provider.asked(PATH)[0]["User-Agent"].startswith("loc2vec/")


def test_a_disk_without_room_is_said_before_the_download(
    provider: Provider, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(WriteError, match=r"MB free, .* needs 0"):
        download(provider, tmp_path, lines).bring()


def test_two_at_once_do_not_meet(provider: Provider, tmp_path: Path, lines: list[str]) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(handler: Handler) -> bool:
        began.set()
        return go_on.wait(5)

    provider.do(PATH, slow)
    first = Download(Server(timeout_s=5), provider.url + PATH, tmp_path / "monaco.osm.pbf")
    thread = threading.Thread(target=first.bring)
    thread.start()
    assert began.wait(5)
    with pytest.raises(Exception, match="another command is writing"):
        download(provider, tmp_path, lines).bring()
    go_on.set()
    thread.join()
    assert (tmp_path / "monaco.osm.pbf").read_bytes() == DATA


def test_facts_that_nobody_can_read_cost_a_download(
    provider: Provider, tmp_path: Path, lines: list[str]
) -> None:
    assert download(provider, tmp_path, lines).bring()
    (tmp_path / "monaco.osm.pbf.json").write_text(json.dumps({"url": 3, "more": 1}))
    assert download(provider, tmp_path, lines).bring()


def test_an_encrypted_address_never_leads_to_a_plain_one(
    provider: Provider, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirection is followed by `requests`; here it has been, from https."""
    really = requests.Session.get

    def get(session: requests.Session, url: str, **given: Any) -> requests.Response:
        return really(session, url.replace("https://", "http://"), **given)

    monkeypatch.setattr(requests.Session, "get", get)
    url = provider.url.replace("http://", "https://") + PATH
    with pytest.raises(FetchError, match="which is not encrypted"):
        Download(server(lines), url, tmp_path / "monaco.osm.pbf").bring()
