"""What is released: the source and the wheel hold what they need, and no more."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("tiling", "loc2vec", "service")
FILES = ("pyproject.toml", "README.md", "LICENSE")
NO_DATA = {".py", ".pyc"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source and the wheel, built of a copy, since building leaves files."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    run("build", "--no-isolation", "--outdir", "dist", ".", cwd=source)
    return source / "dist"


def run(module: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel_of(dist: Path) -> zipfile.ZipFile:
    (wheel,) = dist.glob("*.whl")
    return zipfile.ZipFile(wheel)


def test_an_index_would_take_the_files(dist: Path) -> None:
    names = sorted(path.name for path in dist.iterdir())
    told = run("twine", "check", "--strict", *names, cwd=dist)
    assert told.count("PASSED") == 2, told


def test_the_wheel_holds_all_files_of_the_packages(dist: Path) -> None:
    with wheel_of(dist) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert any(Path(name).suffix not in NO_DATA for name in held)


def test_the_wheel_says_what_it_needs(dist: Path) -> None:
    with wheel_of(dist) as wheel:
        (name,) = (each for each in wheel.namelist() if each.endswith("/METADATA"))
        metadata = wheel.read(name).decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Requires-Dist: torch>=2.6" in metadata


def test_the_source_holds_what_the_wheel_is_built_of(dist: Path) -> None:
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    with wheel_of(dist) as wheel:
        needed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert needed | set(FILES) <= held
