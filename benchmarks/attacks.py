"""The table of attacks: the tests that attack the project, by class, how many held.

    python benchmarks/attacks.py [--soak]

It runs the tests of each class and prints class, tries and held. It exits with 1 when one did not
hold. With `--soak`, the long ones run too.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import click

# Class of attack, and the tests that try it.
ATTACKS = {
    "hostile stores and indexes, under watch": ["tests/service/engine/test_hostile.py"],
    "damaged stores, indexes and models": ["tests/test_fuzz.py"],
    "hostile model folders": ["tests/loc2vec/model/test_folder.py"],
    "questions that cost, forge or lie": ["tests/service/http/test_abuse.py"],
    "one client against the others": ["tests/service/http/test_fair.py"],
    "bodies, headers, strange numbers": ["tests/service/http/test_limits.py"],
    "keys and rates": ["tests/service/http/test_access.py"],
    "made-up requests by the schema": ["tests/service/http/test_schema.py"],
    "processes that hang or are killed": ["tests/tiling/render/test_process.py"],
    "databases that hang, forks": ["tests/tiling/store/test_hangs.py"],
    "floods, slow clients, stops": ["tests/service/http/test_server.py"],
    "chaos under a running service": ["tests/service/test_chaos.py"],
}


@click.command()
@click.option("--soak", is_flag=True, help="Run the long tests, too.")
def main(soak: bool) -> None:
    """Print the table of attacks."""
    print(f"{'class':<44}{'tries':>7}{'held':>7}")
    lost = 0
    for name, tests in ATTACKS.items():
        tries, held = run(tests, soak)
        lost += tries - held
        print(f"{name:<44}{tries:>7}{held:>7}", flush=True)
    sys.exit(bool(lost))


def run(tests: list[str], soak: bool) -> tuple[int, int]:
    """Return how many of the tests ran, and how many of them passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        chosen = ["-m", "not stack"] if soak else []
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *chosen, *tests]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest's
    count = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    tries = count["tests"] - count["skipped"]
    return tries, tries - count["failures"] - count["errors"]


if __name__ == "__main__":
    main()
