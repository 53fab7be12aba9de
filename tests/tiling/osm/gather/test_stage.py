from pathlib import Path

import pytest
import shapely

from tiling.osm.gather.stage import Shapes, Stage
from tiling.osm.sieve import NODE, DrawnObject

CACHE_KB = 1024
OBJECTS, VERTICES = 500, 500  # of a line each: some 4 MB in all


def test_a_stage_keeps_no_more_than_its_cache_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.osm.gather.stage.CACHE_KB", CACHE_KB)
    line = shapely.LineString([(n / 1000, 0) for n in range(VERTICES)]).wkb_hex
    stage = Stage(tmp_path / "stage")
    lines = [DrawnObject(NODE, False, n, 1, ((0, 1.0),), line) for n in range(OBJECTS)]
    stage.put(0, lines, Shapes.of(lines))
    written = (tmp_path / "stage").stat().st_size
    stage.close()
    assert (tmp_path / "stage").stat().st_size - written < 2 * CACHE_KB * 1024
