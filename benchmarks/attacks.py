"""The table of attacks: the tests that attack the project, by class, how many tries held.

    python benchmarks/attacks.py [--soak]

It runs the tests of all classes at once, on two processes, and prints class, tries and held. It
exits with 1 when one did not hold. With `--soak`, the long ones run too.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import click

# Class of attack, and the tests that try it.
ATTACKS = {
    "extracts that exhaust or crash the reader": "tests/tiling/osm/bounded/test_attacks.py",
    "extracts with broken, lost or foreign objects": "tests/tiling/store/test_extracts.py",
    "changes with impossible numbers": "tests/tiling/osm/test_replication.py",
    "hostile stores and indexes, under watch": "tests/service/engine/test_hostile.py",
    "damaged stores, indexes and models": "tests/fuzz/test_own_files.py",
    "random extracts, tables and changes": "tests/fuzz/test_foreign_files.py",
    "forged files of FAISS": "tests/service/index/test_sound.py",
    "hostile model folders": "tests/loc2vec/model/test_damaged.py",
    "hostile checkpoints": "tests/loc2vec/train/test_hostile_checkpoints.py",
    "tables that are none": "tests/tiling/files/test_tables.py",
    "tables that no program should write": "tests/tiling/files/test_hostile_tables.py",
    "outputs onto what must stay": "tests/tiling/files/test_outputs.py",
    "questions that cost, forge or lie": "tests/service/http/test_abuse.py",
    "one client against the others": "tests/service/http/test_fair.py",
    "bodies, headers, strange numbers": "tests/service/http/test_limits.py",
    "keys and rates": "tests/service/http/test_access.py",
    "rates and clocks that jump": "tests/service/http/test_rates.py",
    "pages elsewhere, caches": "tests/service/http/test_clients.py",
    "made-up requests by the schema": "tests/service/http/test_schema.py",
    "labels and names that are markup": "tests/loc2vec/paper/test_every_page.py",
    "processes that hang or are killed": "tests/tiling/render/test_process.py",
    "databases that hang, forks": "tests/tiling/store/test_hangs.py",
    "floods, slow clients, stops": "tests/service/http/test_server.py",
    "chaos under a running service": "tests/service/test_chaos.py",
}


@click.command()
@click.option("--soak", is_flag=True, help="Run the long tests, too.")
def main(soak: bool) -> None:
    """Print the table of attacks."""
    tries, held = run(soak)
    print(f"| {'class':<46} | tries | held |\n|:{'-' * 47}|{'-' * 6}:|{'-' * 5}:|")
    for name, file in ATTACKS.items():
        print(f"| {name:<46} | {tries[file]:>5} | {held[file]:>4} |")
    print(f"| {'all':<46} | {tries.total():>5} | {held.total():>4} |")
    sys.exit(tries != held or not tries)


def run(soak: bool) -> tuple[Counter[str], Counter[str]]:
    """Return how many tries each file made, and how many of them held."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        chosen = ["-m", "not stack"] if soak else []
        options = ["-n", "2", "--dist", "loadfile", f"--junitxml={report}", *chosen]
        subprocess.run([sys.executable, "-m", "pytest", *options, *ATTACKS.values()], check=False)
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest's
    tries, held = Counter[str](), Counter[str]()
    for case in cases:
        if case.find("skipped") is not None:
            continue
        file = case.attrib["classname"].replace(".", "/") + ".py"
        # A test that tries many things says how many.
        told = case.find("properties/property[@name='tries']")
        count = 1 if told is None else int(told.attrib["value"])
        tries[file] += count
        if case.find("failure") is None and case.find("error") is None:
            held[file] += count
    return tries, held


if __name__ == "__main__":
    main()
