import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from loc2vec.embed.files import Vectors, read_vectors, write_vectors
from loc2vec.model.names import DEFAULT_MODEL
from loc2vec.model.names import DEFAULT_MODEL as SHIPPED
from service.cli.main import COMMANDS, main
from service.index.index import NeighborIndex
from tests.tiling.osm.fetch.provider import running

CONSOLE = [sys.executable, "-m", "loc2vec"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def check_failure(result: Result, status: int, *said: str) -> None:
    """Check that a command ended with one line on standard error, and no traceback."""
    assert result.exit_code == status, result.output
    lines = [line for line in result.stderr.replace("\r", "\n").splitlines() if "it/s" not in line]
    assert lines[-1].startswith("loc2vec: error: "), result.stderr
    for words in said:
        assert words in lines[-1]
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_help_lists_the_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert f"{name} " in result.stdout
        assert entry.help in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"loc2vec {name}" in result.stdout[result.stdout.index("Example") :]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from service.cli.main import main; main(['--help'], standalone_mode=False);"
        "print({'torch', 'mapnik', 'faiss', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout.startswith("loc2vec, version ")


def test_a_mistyped_command_brings_up_the_nearest() -> None:
    result = run("imbed")
    assert result.exit_code == 2
    assert "did you mean embed" in result.stderr
    assert run("xyzzy").exit_code == 2


def test_the_default_model_is_the_shipped_one() -> None:
    assert DEFAULT_MODEL == SHIPPED


@pytest.fixture
def points(tmp_path: Path) -> Path:
    file = tmp_path / "points.csv"
    file.write_text(
        "name,lat,lon\ncasino,43.7394,7.4284\nParis,48.8566,2.3522\nharbour,43.7347,7.4226\n"
    )
    return file


def test_embed_then_index(
    monaco_store: Path, model_folder: Path, points: Path, tmp_path: Path
) -> None:
    out = tmp_path / "vectors.parquet"
    common = ("--store", monaco_store, "--model", model_folder, "--out", out, "--workers", 0)
    result = run("embed", *common, "--points", points, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["places"], facts["outside"], facts["dim"]) == (3, 1, 16)
    assert "1 of 3 places lie outside the store" in result.stderr
    vectors = read_vectors(out)
    assert vectors.inside.tolist() == [True, False, True]
    assert vectors.table is not None
    assert vectors.table["name"].to_pylist() == ["casino", "Paris", "harbour"]
    result = run("index", out, "--out", tmp_path / "index", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["count"] == 2
    assert len(NeighborIndex.open(tmp_path / "index")) == 2


def test_embed_a_grid(monaco_store: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    common = ("--store", monaco_store, "--model", model_folder, "--out", out, "--workers", 0)
    result = run("embed", *common, "--grid", 100, "--bbox", "7.42,43.735,7.43,43.74")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{len(read_vectors(out))} places, 16 numbers each, in {out}\n"
    check_failure(
        run("embed", *common, "--grid", 100, "--bbox", "8,43,8.1,43.1"), 2, "no place of the grid"
    )


def test_embed_finds_out_first_whether_it_can_write(
    points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.embed.batch.embed", lambda *_: pytest.fail("the work was begun"))
    arguments = ("--store", "none.gpkg", "--grid", 100, "--out", points / "deep" / "v.parquet")
    check_failure(run("embed", *arguments), 2, "Not a directory", "points.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--grid", 50, "--points", "p.csv"),
        ("--points", "p.csv", "--bbox", "7,43,8,44"),
        ("--grid", 50, "--bbox", "7,43,8"),
        ("--grid", 50, "--bbox", "43,120,44,121"),
        ("--grid", "fine"),
        ("--grid", 0),
        ("--grid", "nan"),
        ("--grid", 50, "--workers", -1),
    ],
)
def test_embed_refuses_what_makes_no_sense(arguments: tuple[object, ...], tmp_path: Path) -> None:
    result = run("embed", "--store", "s.gpkg", "--out", tmp_path / "v.parquet", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not any(tmp_path.iterdir())


def test_nothing_is_lost_and_no_work_is_begun_in_vain(
    own_store: Path, model_folder: Path, points: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.embed.batch.embed", lambda *_: pytest.fail("the work was begun"))
    embed = ("embed", "--store", own_store, "--model", model_folder, "--workers", 0)
    before = points.read_bytes(), own_store.read_bytes()
    lost = "is read by this command and would be lost"
    check_failure(run(*embed, "--points", points, "--out", points), 2, lost)
    check_failure(run(*embed, "--points", points, "--out", own_store), 2, lost)
    check_failure(run(*embed, "--points", points, "--out", "v.txt"), 2, "its name must end in")
    assert (points.read_bytes(), own_store.read_bytes()) == before
    out = ("--points", points, "--out", points.with_suffix(".parquet"))
    points.write_text("name,lat,lon,name\na,43.7384,7.4246,b\n")
    check_failure(run(*embed, *out), 2, "has two columns 'name': rename or drop one")
    points.write_text("embedding,lat,lon\na,43.7384,7.4246\n")
    check_failure(run(*embed, *out), 2, "column 'embedding' of your file would be replaced")
    points.write_text("lat,lon\n7.4246,43.7384\n7.42,43.73\n")
    check_failure(run(*embed, *out), 2, "is outside the data of this store", "swapped?")


def test_vectors_that_another_program_wrote_are_indexed_by_their_model(
    model_folder: Path, vectors: Vectors, tmp_path: Path
) -> None:
    write_vectors(tmp_path / "v.parquet", vectors)
    table = pq.read_table(tmp_path / "v.parquet").replace_schema_metadata(None)
    pq.write_table(table.slice(0, 50), tmp_path / "some.parquet")
    pq.write_table(table.slice(40, 30), tmp_path / "more.parquet")
    index = ("index", tmp_path / "some.parquet", "--out", tmp_path / "index", "--json")
    check_failure(run(*index), 2, "does not say which model made its vectors: give that --model")
    made = run(*index, "--model", model_folder)
    assert (made.exit_code, json.loads(made.stdout)["count"]) == (0, 50)
    more = ("index", tmp_path / "more.parquet", *index[2:], "--model", model_folder, "--add")
    added = run(*more)
    assert (json.loads(added.stdout)["count"], json.loads(added.stdout)["known"]) == (70, 10)
    assert "places that were in the index already: 10" in added.stderr
    check_failure(run(*more), 2, "holds all of these places already: nothing to add")
    assert NeighborIndex.open(tmp_path / "index").model == vectors.model


def test_bad_input_ends_with_one_line(
    monaco_store: Path, model_folder: Path, points: Path, vectors: Vectors, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "v.parquet"
    embed = ("embed", "--out", out, "--workers", 0)
    good = ("--store", monaco_store, "--model", model_folder, "--points", points)
    broken = tmp_path / "broken.csv"
    broken.write_text("lat,lon\n43.7,7.4\n43.7,east\n")
    check_failure(run(*embed, *good, "--store", tmp_path / "none.gpkg"), 2, "none.gpkg")
    check_failure(run(*embed, *good, "--store", points), 2, "points.csv")
    check_failure(run(*embed, *good, "--points", tmp_path / "none.csv"), 2, "none.csv")
    check_failure(run(*embed, *good, "--points", broken), 2, "line 3", "east")
    check_failure(run(*embed, *good, "--model", "loc3vec"), 2, "loc3vec")
    check_failure(run(*embed, *good, "--out", points / "v.parquet"), 2, "points.csv")
    assert not out.exists()
    for file in (tmp_path / "none.parquet", points):
        check_failure(run("index", file, "--out", tmp_path / "index"), 2, file.name)
    write_vectors(tmp_path / "v.parquet", vectors)
    check_failure(run("index", tmp_path / "v.parquet", "--out", tmp_path), 2, "choose another name")
    served = ("serve", "--port", 0, "--store", monaco_store, "--model", model_folder)
    check_failure(run(*served, "--store", tmp_path / "none.gpkg"), 2, "none.gpkg")
    check_failure(run(*served, "--index", tmp_path), 2, "not an index folder")
    check_failure(run(*served, "--host", "no.such.host.invalid"), 2, "no.such.host.invalid")


def test_an_altered_model_is_refused(
    monaco_store: Path, model_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in model_folder.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    arguments = ("serve", "--port", 0, "--store", monaco_store, "--model", model)
    check_failure(run(*arguments), 2, "model.safetensors")
    weights.unlink()
    check_failure(run(*arguments), 2, "model.safetensors")


def test_an_index_of_another_model_is_refused(
    monaco_store: Path, index_folder: Path, tmp_path: Path
) -> None:
    from tests.models import save_fresh_model

    other = save_fresh_model(tmp_path / "other", seed=1)
    arguments = ("--store", monaco_store, "--model", other, "--index", index_folder)
    check_failure(run("serve", "--port", 0, *arguments), 2, "fresh-0@", "fresh-1@")


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (OSError(28, "No space left on device", "/srv/v"), 1, "No space left on device: /srv/v"),
        (PermissionError(13, "Permission denied", "/srv/v"), 2, "Permission denied: /srv/v"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_machine_refuses_ends_with_one_line(
    vectors: Vectors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
    status: int,
    said: str,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    write_vectors(tmp_path / "v.parquet", vectors)
    monkeypatch.setattr("service.index.files.caches.keep_blocks", fail)
    check_failure(run("index", tmp_path / "v.parquet", "--out", tmp_path / "index"), status, said)
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]


def test_a_busy_port_is_found_before_any_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for command in (("serve", "--store", "none.gpkg"), ("demo", "--work", "/nowhere")):
            check_failure(run(*command, "--port", port), 2, str(port), "--port")


@pytest.fixture
def served(
    monaco_store: Path, model_folder: Path, index_folder: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real `loc2vec serve` and its URL."""
    things = ("--store", monaco_store, "--model", model_folder, "--index", index_folder)
    command = [*CONSOLE, "serve", "--port", "0", *map(str, things)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Ready: http://127.0.0.1:")
            yield process, line.removeprefix("Ready: ").strip()
        finally:
            process.kill()


def test_serve_answers_and_ends(served: tuple[subprocess.Popen[str], str]) -> None:
    process, url = served
    answer = httpx2.get(f"{url}/neighbors", params={"lat": 43.7384, "lon": 7.4246, "k": 5}).json()
    distances = [near["distance"] for near in answer["neighbors"]]
    assert len(distances) == 5
    assert distances == sorted(distances)
    assert httpx2.get(f"{url}/embed", params={"lat": 48.8566, "lon": 2.3522}).status_code == 404
    port = url.rpartition(":")[2]
    second = subprocess.run(
        [*CONSOLE, "serve", "--port", port, "--store", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert second.stderr.startswith(f"loc2vec: error: cannot listen on 127.0.0.1 port {port} ")
    assert second.stderr.count("\n") == 1
    process.send_signal(signal.SIGTERM)
    rest, log = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert rest == ""
    assert "GET /neighbors 200 " in log
    assert "43.7384" not in log, "the log says where somebody was"
    assert "Traceback" not in log


def test_a_name_becomes_a_service_that_ctrl_c_ends(
    monaco_pbf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of docs/fetch.md after the installation, with a provider on 127.0.0.1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = tmp_path / "monaco.gpkg"
    with running() as provider:
        provider.put("/monaco-latest.osm.pbf", monaco_pbf.read_bytes())
        provider.put_index()
        monkeypatch.setenv("LOC2VEC_PROVIDER", str(provider.settings(tmp_path)))
        command = [*CONSOLE, "import", "monaco", "--store", str(store)]
        subprocess.run(command, check=True, capture_output=True)
    command = [*CONSOLE, "serve", "--port", "0", "--store", str(store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("Ready: ").strip()
            answer = httpx2.get(f"{url}/embed", params={"place": "Monte-Carlo"}, timeout=60)
            assert len(answer.json()["embedding"]) == 16
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log
    assert "error" not in log


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run([*CONSOLE, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == run("--help").stdout.splitlines()[1:]
    assert done.stdout.startswith("Usage: python -m loc2vec [OPTIONS]")


def test_training_by_module_loads_nothing_of_the_service() -> None:
    """`torchrun -m loc2vec train` starts many processes, each of which should stay small."""
    code = (
        "import contextlib, runpy, sys; sys.argv = ['loc2vec', 'train', '--help']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('loc2vec', run_name='__main__')\n"
        "print(sorted(name for name in sys.modules if name.startswith('service')))\n"
        "print({'mapnik', 'faiss', 'fastapi', 'uvicorn', 'sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [
        "['service', 'service.cli', 'service.cli.main']",
        "set()",
    ]
