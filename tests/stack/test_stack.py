"""The full stack, started for real: `make stack-test`. Each test goes on from the one before."""

import itertools
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import osmium
import pytest

from loc2vec.embed.batch import Places, embed
from loc2vec.encoder import LocationEncoder
from loc2vec.model.names import DEFAULT_MODEL
from tests.stack.engine import PROJECT, Answer, Stack, docker
from tests.tiling.town import Town, publish
from tiling.store.source import FeatureSource

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

PLACE = "lat=43.7384&lon=7.4246"
LASTING = ("db", "api")
ONE_SHOT = ("secrets", "import", "index")
FOLLOWING = ("follow-import", "follow")
STEPS = itertools.count()
NO_CHANGES = '<osmChange version="0.6"/>'
CORNERS = ((43.737, 7.423), (43.737, 7.426), (43.740, 7.426), (43.740, 7.423))
# A wood of 300 m over the place.
FOREST = (
    '<osmChange version="0.6"><create>'
    + "".join(
        f'<node id="{n}" version="1" lat="{lat}" lon="{lon}"/>'
        for n, (lat, lon) in enumerate(CORNERS, 1)
    )
    + '<way id="1" version="1">'
    + "".join(f'<nd ref="{n}"/>' for n in (1, 2, 3, 4, 1))
    + '<tag k="landuse" v="forest"/></way></create></osmChange>'
)
NO_FOREST = '<osmChange version="0.6"><delete><way id="1" version="2"/></delete></osmChange>'


def now() -> str:
    return datetime.now(UTC).isoformat()


def anew() -> str:
    """Return the place, 0.1 mm off each time: its embedding is not in the service's cache."""
    return f"lat={43.7384 + next(STEPS) * 1e-9:.9f}&lon=7.4246"


def vector(stack: Stack) -> Any:
    answer = stack.get(f"/embed?{anew()}")
    assert answer.status == 200, answer
    return np.array(answer.body["embedding"])


def check_equal(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, atol=0.1)


def wait_until(stack: Stack, path: str, status: int, seconds: float) -> float:
    """Return how long it took until `path` answered with `status`."""
    start = time.monotonic()
    while (answer := stack.get(path)).status != status:
        assert time.monotonic() - start < seconds, f"{path} answers {answer} after {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - start


def test_embed_answers_as_the_embedded_store_does(stack: Stack, monaco: FeatureSource) -> None:
    answer = stack.get(f"/embed?{PLACE}").body
    encoder = LocationEncoder.load(DEFAULT_MODEL)
    (expected,) = embed(monaco, encoder, Places(np.array([[7.4246, 43.7384]])), workers=0).embedding
    assert (answer["model"], answer["dim"]) == (encoder.model_id, 16)
    np.testing.assert_allclose(answer["embedding"], expected, atol=0.05)
    outside = stack.get("/embed?lat=48.8566&lon=2.3522")
    assert (outside.status, outside.headers["content-type"]) == (404, "application/problem+json")


def test_neighbors_are_near_and_in_order(stack: Stack) -> None:
    answer = stack.get(f"/neighbors?{PLACE}&k=20").body
    found = answer["neighbors"]
    distances = [near["distance"] for near in found]
    assert len(found) == len({near["id"] for near in found}) == 20
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert min(near["ground_distance_m"] for near in found) < 100  # the grid's own width
    assert stack.get("/info").body["index_count"] > 200


def test_the_containers_are_hardened(stack: Stack) -> None:
    for service in LASTING + ONE_SHOT:
        check_hardened(stack, service)
    for service in LASTING:
        status = stack.compose("exec", "-T", service, "cat", "/proc/1/status").stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {"10001"}, service
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, service
        assert (
            stack.compose("exec", "-T", service, "touch", "/usr/x", check=False).returncode != 0
        ), service
        assert stack.inspect(service)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped", (
            service
        )


def check_hardened(stack: Stack, service: str) -> None:
    facts = stack.inspect(service)
    host = facts["HostConfig"]
    assert facts["Config"]["User"] in ("loc2vec", "postgres"), service
    assert host["ReadonlyRootfs"], service
    assert host["CapDrop"] == ["ALL"], service
    assert not host["CapAdd"], service
    assert "no-new-privileges:true" in host["SecurityOpt"], service
    assert not host["Privileged"], service
    assert host["PidsLimit"] > 0, service
    assert host["Memory"] > 0, service
    mounts = {mount["Destination"]: mount["RW"] for mount in facts["Mounts"]}
    assert not any(
        rw for path, rw in mounts.items() if path.startswith("/secrets") and service != "secrets"
    ), service
    owners = ("secrets", "db", "import", *FOLLOWING)
    assert "/secrets/owner" not in mounts or service in owners, service


def test_only_the_service_is_reached_and_only_from_this_machine(stack: Stack) -> None:
    published = {service: stack.inspect(service)["NetworkSettings"]["Ports"] for service in LASTING}
    assert not any(published["db"].values())
    assert published["api"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    (network,) = stack.inspect("db")["NetworkSettings"]["Networks"]
    assert json.loads(docker("network", "inspect", network))[0]["Internal"]


def test_no_secret_shows_and_none_opens_more_than_it_should(stack: Stack) -> None:
    reader = (
        stack.compose("exec", "-T", "api", "cat", "/secrets/reader/pgpass")
        .stdout.strip()
        .rpartition(":")[2]
    )
    owner = (
        stack.compose("exec", "-T", "db", "cat", "/secrets/owner/pgpass")
        .stdout.strip()
        .rpartition(":")[2]
    )
    assert len(reader) == len(owner) == 64
    assert reader != owner
    for service in LASTING:
        modes = stack.compose(
            "exec", "-T", service, "stat", "-c", "%a", "/secrets/reader/pgpass"
        ).stdout.split()
        assert modes == ["600"]
        shown = json.dumps(stack.inspect(service)) + stack.compose("logs", "--no-color").stdout
        assert reader not in shown
        assert owner not in shown
    assert stack.sql(
        "SELECT DISTINCT left(rolpassword, 13) FROM pg_authid"
        " WHERE rolcanlogin AND rolpassword <> ''"
    ) == ("SCRAM-SHA-256")
    refused = {
        "postgresql://loc2vec@db/loc2vec": "no password supplied",
        "postgresql://loc2vec_api:wrong@db/loc2vec": "authentication failed",
        "postgresql://postgres@db/loc2vec": "no pg_hba.conf entry",
        "postgresql://loc2vec_api@db/postgres": "no pg_hba.conf entry",
    }
    for url, reason in refused.items():
        assert reason in ask_as_service(stack, url, "SELECT 1"), url
    assert (
        ask_as_service(stack, "postgresql://loc2vec_api@db/loc2vec", "SELECT 41 + 1") == "[(42,)]"
    )
    write = ask_as_service(
        stack, "postgresql://loc2vec_api@db/loc2vec", "DELETE FROM loc2vec.features"
    )
    assert "InsufficientPrivilege" in write or "ReadOnlySqlTransaction" in write


def ask_as_service(stack: Stack, url: str, query: str) -> str:
    """Return what a query gives inside the service's container, or its error's name and text."""
    code = f"""
import psycopg2
try:
    with psycopg2.connect({url!r}) as connection, connection.cursor() as cursor:
        cursor.execute({query!r})
        print(cursor.fetchall())
except psycopg2.Error as error:
    print(type(error).__name__, error)
"""
    return stack.compose("exec", "-T", "api", "python3", "-c", code).stdout.strip()


def test_down_and_up_keeps_the_data_and_makes_nothing_again(stack: Stack) -> None:
    before, features = vector(stack), stack.sql("SELECT count(*) FROM loc2vec.features")
    with stack.timed("down"):
        stack.compose("down", "--timeout", "20")
    assert stack.get("/healthz").status == 0
    moment = now()
    with stack.timed("second up, to ready"):
        stack.compose("up", "--detach", "--wait")
    assert "up to date" in stack.log_since("import", moment)
    assert "up to date" in stack.log_since("index", moment)
    check_equal(vector(stack), before)
    assert stack.sql("SELECT count(*) FROM loc2vec.features") == features


def test_a_killed_database_is_a_503_and_the_service_recovers_by_itself(stack: Stack) -> None:
    before, started = vector(stack), stack.inspect("api")["State"]["StartedAt"]
    answers: list[Answer] = []
    health: list[tuple[int, float]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(stack.get(f"/embed?{anew()}"))

    def ask_health() -> None:
        while not over.is_set():
            start = time.monotonic()
            health.append((stack.get("/healthz").status, time.monotonic() - start))
            time.sleep(0.1)

    threads = [threading.Thread(target=ask) for _ in range(4)] + [
        threading.Thread(target=ask_health)
    ]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        docker("kill", stack.container("db"))
        with stack.timed("database killed, to the first 503"):
            wait_until(stack, "/readyz", 503, 30)
        away = stack.get(f"/neighbors?{anew()}")
        time.sleep(2)
        docker("start", stack.container("db"))
        with stack.timed("database started, to the next answer"):
            wait_until(stack, "/readyz", 200, 60)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert {answer.status for answer in answers} == {200, 503}
    for answer in [away, *(answer for answer in answers if answer.status == 503)]:
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.body["type"] == "urn:loc2vec:problem:store-away"
        assert "loc2vec_api" not in json.dumps(answer.body)
    assert {status for status, _ in health} == {200}
    assert max(seconds for _, seconds in health) < 2
    check_equal(vector(stack), before)
    assert stack.inspect("api")["State"]["StartedAt"] == started, "the service itself was restarted"


def test_a_database_that_crashes_comes_back_without_help(stack: Stack) -> None:
    started = stack.inspect("db")["State"]["StartedAt"]
    # an immediate end, with recovery to follow
    stack.compose("exec", "-T", "db", "sh", "-c", "kill -QUIT 1")
    with stack.timed("database crashed, to ready again"):
        while stack.inspect("db")["State"]["StartedAt"] == started:
            time.sleep(0.1)
        wait_until(stack, "/readyz", 200, 60)
    assert stack.inspect("db")["RestartCount"] >= 1


@pytest.fixture(scope="module")
def extract(
    stack: Stack, monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """An extract of the user, equal to the bundled one; the stack is up with it."""
    folder = tmp_path_factory.mktemp("extracts")
    folder.chmod(0o755)
    path = Path(shutil.copy(monaco_pbf, folder / "region.osm.pbf"))
    stack.settings |= {"EXTRACTS": str(folder), "EXTRACT": path.name}
    moment = now()
    stack.compose("up", "--detach", "--wait")
    assert "up to date" in stack.log_since("import", moment)  # the same data under another name
    yield path
    stack.settings.clear()


@pytest.mark.parametrize("damage", ["noise", "cut short"])
def test_an_unreadable_extract_fails_the_import_and_the_store_before_serves(
    stack: Stack, extract: Path, damage: str
) -> None:
    whole = extract.read_bytes()
    schemas = (
        "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'"
    )
    before, held, moment = vector(stack), stack.sql(schemas), now()
    extract.write_bytes(whole[: len(whole) // 2] if damage == "cut short" else b"\7" * 99_999)
    try:
        assert stack.compose("up", "--detach", "--wait", check=False).returncode != 0
    finally:
        extract.write_bytes(whole)
    log = stack.log_since("import", moment)
    assert stack.inspect("import")["State"]["ExitCode"] == 2, log
    assert "loc2vec: error:" in log
    assert extract.name in log
    assert "Traceback" not in log
    assert stack.sql(schemas) == held
    check_equal(vector(stack), before)


def test_a_mistyped_extract_is_named_and_nothing_is_lost(stack: Stack, extract: Path) -> None:
    before, moment = vector(stack), now()
    right, stack.settings["EXTRACT"] = stack.settings["EXTRACT"], "regoin.osm.pbf"
    assert stack.compose("up", "--detach", "--wait", check=False).returncode != 0
    log = stack.log_since("import", moment)
    assert stack.inspect("import")["State"]["ExitCode"] == 2, log
    assert "regoin.osm.pbf" in log
    stack.settings["EXTRACT"], moment = right, now()
    stack.compose("up", "--detach", "--wait")
    assert "up to date" in stack.log_since("import", moment)
    check_equal(vector(stack), before)


def test_a_newer_extract_takes_the_place_of_the_one_before(
    stack: Stack, extract: Path, monaco_pbf: Path
) -> None:
    before, buildings = vector(stack), "SELECT count(*) FROM loc2vec.features WHERE channel = 4"
    assert int(stack.sql(buildings)) > 0
    with osmium.SimpleWriter(str(extract), overwrite=True) as writer:
        for item in osmium.FileProcessor(str(monaco_pbf)):
            if "building" not in item.tags:
                writer.add(item)
    with stack.timed("another extract, to ready"):
        stack.compose("down", "--timeout", "20")
        stack.compose("up", "--detach", "--wait")
    assert int(stack.sql(buildings)) == 0
    assert np.abs(vector(stack) - before).max() > 0.5


@pytest.fixture
def replication(stack: Stack, extract: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a replication server in the network of the stack; the extract names it."""
    town = Town(extract, seed=1)
    town.header.set("osmosis_replication_base_url", "http://changes:8080")
    town.header.set("osmosis_replication_timestamp", "2025-01-01T00:00:00Z")
    extract.unlink()
    town.write(extract)
    folder = tmp_path / "server"
    publish(folder, 0, NO_CHANGES)
    folder.chmod(0o755)
    name = f"{PROJECT}-changes"
    docker(
        "run", "--detach", "--rm", "--name", name, "--network", f"{PROJECT}_front",
        "--network-alias", "changes", "--volume", f"{folder}:/server:ro",
        "--entrypoint", "python3", "loc2vec-import:stack-test",
        "-m", "http.server", "8080", "--directory", "/server",
    )  # fmt: skip
    try:
        yield folder
    finally:
        stack.compose("--profile", "follow", "rm", "--stop", "--force", *FOLLOWING)
        docker("rm", "--force", name)


def test_the_follow_profile_takes_the_changes_of_the_map(stack: Stack, replication: Path) -> None:
    stack.settings["FOLLOW_S"] = "1"
    with stack.timed("follow profile, to its first look"):
        stack.compose("--profile", "follow", "up", "--detach", "--wait")
    for service in FOLLOWING:
        check_hardened(stack, service)
    before, updates = vector(stack), "SELECT max(number) FROM loc2vec.updates"
    assert stack.sql(updates) == "0"
    publish(replication, 1, FOREST)
    with stack.timed("a change published, to its answer"):
        wait_for(lambda: how_far(stack, before) > 0.5)
    assert stack.sql(updates) == "1"
    docker("kill", stack.container("follow"))
    publish(replication, 2, NO_FOREST)
    docker("start", stack.container("follow"))
    wait_for(lambda: how_far(stack, before) < 0.1)
    assert "features went" in stack.log_since("follow", "1h")


def how_far(stack: Stack, before: Any) -> float:
    """How far the vector of the place moved; not a number while a new store is being opened."""
    answer = stack.get(f"/embed?{anew()}")
    assert answer.status in (200, 503), answer
    if answer.status == 503:
        return float("nan")
    return float(np.abs(np.array(answer.body["embedding"]) - before).max())


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"not after {seconds} s"
        time.sleep(0.5)


def test_a_model_is_trained_in_the_stack(stack: Stack) -> None:
    store = "postgresql://loc2vec_api@db/loc2vec"
    train = ("--profile", "train", "run", "--rm", "--no-deps", "-T")
    with stack.timed("train profile: 840 tiles, 2 steps"):
        stack.compose(
            *train, "train", "tile", "--store", store, "--out", "tiles", "--locations", "40"
        )
        stack.compose(
            *train, "train", "train", "--tiles", "tiles", "--out", "runs/first", "--steps", "2"
        )
    stack.compose(
        "run",
        "--rm",
        "--no-deps",
        "-T",
        "--entrypoint",
        "test",
        "train",
        "-f",
        "runs/first/best/config.json",
    )


def test_the_service_stops_when_it_is_told_to(stack: Stack) -> None:
    moment = now()
    with stack.timed("service stopped"):
        stack.compose("stop", "--timeout", "30", "api", "db")
    assert stack.inspect("api")["State"]["ExitCode"] == 128 + signal.SIGTERM  # not SIGKILL's
    assert "Application shutdown complete" in stack.log_since("api", moment)
    assert stack.inspect("db")["State"]["ExitCode"] == 0
    assert stack.times["service stopped"] < 15
