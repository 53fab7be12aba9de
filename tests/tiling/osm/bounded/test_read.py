import subprocess
import sys
from pathlib import Path

SCRIPT = """
from pathlib import Path
from tiling.osm.bounded.read import largest, read_bounded
from functools import partial

read_bounded(Path({extract!r}), partial(largest, Path({extract!r})))
"""


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path, monaco_pbf: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(extract=str(monaco_pbf)))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    said = 'did not start; a script must call this under `if __name__ == "__main__":`'
    assert said in ended.stderr.splitlines()[-1]
