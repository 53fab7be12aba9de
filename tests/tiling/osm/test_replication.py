"""Change files, tidied and fetched from a small replication server."""

import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import osmium
import pytest

from tests.tiling.handmade import opl
from tiling.errors import ExtractError, ReplicationError
from tiling.osm.replication import complete_until, fetch_changes, tidy_changes

OSC = '<osmChange version="0.6">{}</osmChange>'


def node(number: int, version: int, lat: float = 0.0) -> str:
    return f'<node id="{number}" version="{version}" lat="{lat}" lon="7.0"/>'


def changes_of(path: Path) -> list[tuple[int, int, bool]]:
    """The nodes of a change file: id, version, and whether it goes."""
    nodes = (item for item in osmium.FileProcessor(str(path)) if isinstance(item, osmium.osm.Node))
    return [(item.id, item.version, item.deleted) for item in nodes]


def test_a_tidied_file_has_each_object_once_in_its_newest_version(tmp_path: Path) -> None:
    path, tidy = tmp_path / "changes.osc", tmp_path / "tidy.osc.gz"
    path.write_text(
        OSC.format(
            f"<modify>{node(5, 3)}{node(2, 2)}</modify><create>{node(9, 1)}</create>"
            f"<delete>{node(2, 4)}</delete><modify>{node(5, 2)}</modify>"
        )
    )
    tidy_changes(path, tidy)
    assert changes_of(tidy) == [(2, 4, True), (5, 3, False), (9, 1, False)]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("changes.txt", b"", r"changes\.txt is no file of changes: its name must end in \.osc"),
        ("changes.osm", b"", "its name must end in"),
        ("changes.osc", b"<osmChange", "is it a complete .osc file"),
        ("changes.osc.gz", b"not zipped", "is it a complete .osc file"),
        (
            "changes.osc.gz",
            gzip.compress(OSC.format(node(1, 1)).encode(), mtime=0)[:-20],
            "complete .osc",
        ),
    ],
)
def test_what_is_no_change_file_is_refused(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ExtractError, match=message):
        tidy_changes(tmp_path / name, tmp_path / "tidy.osc.gz")


@pytest.mark.parametrize(
    "changed",
    [
        *(node(5, 2).replace('lat="0.0"', f'lat="{lat}"') for lat in ("nan", "inf", "900.0", "x")),
        *(node(5, 2).replace('"5"', f'"{osm_id}"') for osm_id in (2**63 - 1, 10**20, "x")),
        node(5, -3),
        node(5, 10**11),
        f'<way id="5" version="2"><nd ref="{2**63 - 1}"/></way>',
        f'<node id="5" version="2" lat="0" lon="0"><tag k="name" v="{"x" * 100_000}"/></node>',
        '<node id="5" version="2" lat="0" lon="0"><tag k="name" v="&#0;"/></node>',
    ],
    ids=range(12),
)
def test_hostile_changes_are_refused_in_one_line(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "changes.osc"
    path.write_text(OSC.format(f"<modify>{changed}</modify>"))
    with pytest.raises(ExtractError, match=r"cannot read .*changes\.osc \(") as refused:
        tidy_changes(path, tmp_path / "tidy.osc.gz")
    assert "\n" not in str(refused.value)


def test_changes_that_take_too_long_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.osm.bounded.read.CPU_S", 1)
    monkeypatch.setattr("tiling.osm.bounded.read.CPU_S_A_MB", 0)
    path = tmp_path / "changes.osc.gz"  # 0.3 MB, which hold 60 MB
    path.write_bytes(gzip.compress(OSC.format(node(1, 1) * 1_200_000).encode(), 1))
    with pytest.raises(ExtractError, match="more than 1 CPU seconds, while its objects were read"):
        tidy_changes(path, tmp_path / "tidy.osc")


def test_a_missing_change_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match=r"none\.osc is not a file: give a file of changes"):
        tidy_changes(tmp_path / "none.osc", tmp_path / "tidy.osc")


def test_an_extract_is_complete_until_its_header_or_its_newest_object_says(
    tmp_path: Path,
) -> None:
    lines = ["n1 v1 t2024-01-02T03:04:05Z x7 y43", "n2 v1 t2023-01-01T00:00:00Z x7 y43"]
    newest = opl(tmp_path / "newest.osm.opl", lines)
    assert complete_until(newest) == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert complete_until(opl(tmp_path / "timeless.osm.opl", ["n1 v1 x7 y43"])) is None
    header = osmium.io.Header()
    header.set("osmosis_replication_timestamp", "2024-05-06T07:08:09Z")
    declared = tmp_path / "declared.osm.pbf"
    with osmium.SimpleWriter(str(declared), header=header) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=1, version=1, location=(7, 43)))
    assert complete_until(declared) == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing on standard error."""

    def log_message(self, *args: object) -> None:
        """Do not tell."""


def publish(folder: Path, number: int, when: str, text: str) -> None:
    """Add one state of a replication server."""
    below = folder / "000" / "000"
    below.mkdir(parents=True, exist_ok=True)
    state = f"sequenceNumber={number}\ntimestamp={when}\n"
    (below / f"{number:03}.state.txt").write_text(state)
    (below / f"{number:03}.osc.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "state.txt").write_text(state)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A replication server with a state a day, and its folder."""
    folder = tmp_path / "server"
    for day in range(1, 5):
        text = OSC.format(f"<modify>{node(day, 2)}{node(100, day)}</modify>")
        publish(folder, day, f"2024-01-0{day}T00\\:00\\:00Z", text)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def test_all_that_came_since_is_fetched_as_one_file(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    ((path, until),) = fetch_changes(server[0], day(2) + timedelta(hours=12), tmp_path)
    assert until == day(4)
    assert path.parent == tmp_path
    assert changes_of(path) == [(3, 2, False), (4, 2, False), (100, 4, False)]


def test_a_lot_comes_in_several_files_oldest_first(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.osm.replication.AT_ONCE_KB", 1)
    many = "".join(node(1000 + number, 1) for number in range(500))
    for number in (5, 6):
        publish(server[1], number, f"2024-01-0{number}T00\\:00\\:00Z", OSC.format(many))
    fetched = list(fetch_changes(server[0], day(3), tmp_path))
    assert len(fetched) > 1
    assert [until for _, until in fetched] == sorted(until for _, until in fetched)
    assert fetched[-1][1] == day(6)
    found = {changed for path, _ in fetched for changed in changes_of(path)}
    assert {(4, 2, False), (1499, 1, False)} <= found


def test_without_news_nothing_is_fetched(server: tuple[str, Path], tmp_path: Path) -> None:
    assert list(fetch_changes(server[0], day(4), tmp_path)) == []


def test_a_server_that_has_too_little_is_named(server: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ReplicationError, match="does not go back to 2023-01-01 00:00: import a"):
        list(fetch_changes(server[0], day(1).replace(year=2023), tmp_path))
    with pytest.raises(ReplicationError, match="does not answer as a replication server"):
        list(fetch_changes(f"{server[0]}/nowhere", day(2), tmp_path))


def test_a_gap_is_refused_and_never_taken_for_the_newest_state(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    (server[1] / "000" / "000" / "003.osc.gz").unlink()
    with pytest.raises(ReplicationError, match="lacks the changes of sequence 3, though it has"):
        list(fetch_changes(server[0], day(2), tmp_path))
