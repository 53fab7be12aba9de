"""The engine over processes that render."""

import multiprocessing
from pathlib import Path

import numpy as np

from loc2vec.embed.batch import Places
from service.engine.engine import Engine
from service.settings import Settings
from tiling.store.store import Store
from tiling.values import LonLat


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
