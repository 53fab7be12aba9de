"""The engine over processes that render."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loc2vec.embed.batch import Places
from loc2vec.embed.files import Vectors
from service.engine.engine import Engine
from service.index.index import NeighborIndex
from service.settings import Settings
from tiling.store.store import Store
from tiling.values import LonLat, Pose, Tile


def test_an_engine_with_processes_gives_the_same_vectors(
    monaco_store: Path, model_folder: Path, places: Places, engine: Engine
) -> None:
    asked = [LonLat(*row) for row in places.lon_lat[:40].tolist()]
    settings = Settings(store=Store.at(monaco_store), model=str(model_folder), render_processes=2)
    with Engine.open(settings) as other:
        vectors = other.embed([*asked, *asked[:5]])
        assert other.known(asked[0]) is not None
    assert not multiprocessing.active_children()
    np.testing.assert_allclose(vectors[:40], engine.embed(asked), atol=1e-3)
    assert (vectors[40:] == vectors[:5]).all()


def test_an_index_of_other_ground_is_told_at_the_start(
    settings: Settings, vectors: Vectors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    NeighborIndex.build(replace(vectors, lat=vectors.lat + 1), tmp_path / "index")
    with Engine.open(settings):
        assert "other ground" not in caplog.text
    with Engine.open(settings.model_copy(update={"index": tmp_path / "index"})):
        assert f"lies in the store {settings.store}: it is of other ground" in caplog.text


def test_a_place_just_embedded_is_described_without_being_drawn_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LonLat(7.42461, 43.73847)
    engine.forget()
    (vector,) = engine.embed_new([place])
    drawn, draw = [], engine.tile

    def counted(pose: Pose) -> Tile:
        drawn.append(pose)
        return draw(pose)

    monkeypatch.setattr(engine, "tile", counted)
    told = engine.described(place, vector)
    assert not drawn
    engine.forget()
    assert engine.described(place, vector) == told
    assert len(drawn) == 1
