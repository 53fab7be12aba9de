import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loc2vec.embed.batch import Places
from tiling.errors import StoreError, StoreReplacedError
from tiling.render.batch import render_all
from tiling.render.renderer import Renderer
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat


def test_tiles_come_in_order(
    monaco: FeatureSource, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.render.batch.CHUNK", 8)
    lon_lat = places.lon_lat[30:80]
    asked = [LonLat(*row) for row in lon_lat.tolist()]
    alone = np.concatenate(
        [Renderer(monaco).north_up(asked[start : start + 8]) for start in range(0, 50, 8)]
    )
    for workers in (0, 1, 3):
        chunks = list(render_all(monaco, lon_lat, workers))
        assert [len(chunk) for chunk in chunks] == [8, 8, 8, 8, 8, 8, 2]
        assert (np.concatenate(chunks) == alone).all()


def test_a_killed_worker_is_replaced_and_the_tiles_are_the_same(
    monaco: FeatureSource, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.render.batch.CHUNK", 8)
    many = np.tile(places.lon_lat, (3, 1))
    undisturbed = np.concatenate(list(render_all(monaco, many, workers=0)))
    tiles = render_all(monaco, many, workers=2)
    found = [next(tiles)]
    victim = multiprocessing.active_children()[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    assert (np.concatenate([*found, *tiles]) == undisturbed).all()


@pytest.fixture
def own(own_store: Path) -> Iterator[FeatureSource]:
    with Store.at(own_store).open() as source:
        yield source


def test_a_worker_that_replaces_a_killed_one_renders_no_other_store(
    own_store: Path, own: FeatureSource, places: Places
) -> None:
    tiles = render_all(own, np.tile(places.lon_lat, (20, 1)), workers=2)
    next(tiles)
    own_store.touch()
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(StoreReplacedError, match=r"own\.gpkg was replaced"):
        list(tiles)


def test_an_error_of_a_worker_comes_out_here(
    own_store: Path, own: FeatureSource, places: Places
) -> None:
    many = np.tile(places.lon_lat, (3, 1))
    tiles = render_all(own, many, workers=2)
    own_store.unlink()
    with pytest.raises(StoreError, match=r"own\.gpkg"):
        list(tiles)


def test_ending_early_leaves_no_worker(monaco: FeatureSource, places: Places) -> None:
    with contextlib.closing(
        render_all(monaco, np.tile(places.lon_lat, (20, 1)), workers=2)
    ) as tiles:
        next(tiles)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_workers_end_with_a_killed_parent(monaco_store: Path) -> None:
    code = (
        "import sys, numpy as np; from tiling.render.batch import render_all\n"
        "from tiling.store.store import Store\n"
        "many = np.tile([[7.4246, 43.7384]], (100_000, 1))\n"
        "tiles = render_all(Store.at(sys.argv[1]).open(), many, 2)\n"
        "next(tiles); print('rendering', flush=True); list(tiles)"
    )
    command = [sys.executable, "-c", code, str(monaco_store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "rendering\n"
        process.kill()
    deadline = time.monotonic() + 60
    while group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
