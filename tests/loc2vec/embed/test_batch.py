from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from loc2vec.embed.batch import Places, embed, places_of_file, places_of_grid
from loc2vec.embed.files import Vectors, read_vectors, write_vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import EmbeddingError
from tests.models import save_fresh_model
from tiling.errors import FingerprintError, GridError, PointsError
from tiling.render.renderer import Renderer
from tiling.store.source import FeatureSource
from tiling.values import Box, LonLat


def test_workers_change_nothing(
    monaco: FeatureSource,
    encoder: LocationEncoder,
    places: Places,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tiling.render.batch.CHUNK", 16)
    some = Places(places.lon_lat[:40])
    for workers in (0, 2):
        done: list[int] = []
        vectors = embed(monaco, encoder, some, workers, done.append)
        write_vectors(tmp_path / f"{workers}.parquet", vectors)
        assert sum(done) == 40
    one, other = (tmp_path / f"{workers}.parquet" for workers in (0, 2))
    assert one.read_bytes() == other.read_bytes()


def test_each_row_is_the_vector_of_its_place(
    monaco_store: Path, model_folder: Path, places: Places, vectors: Vectors
) -> None:
    assert vectors.inside.all()
    spread = np.linalg.norm(vectors.embedding - vectors.embedding.mean(axis=0), axis=1).mean()
    with LocationEncoder.load(model_folder, monaco_store) as by_one:
        for row in (0, 1, 60, len(places) - 1):
            expected = by_one.encode((vectors.lat[row], vectors.lon[row]))
            # Not equal: tiles of one row of the grid are cut from one picture.
            assert np.linalg.norm(vectors.embedding[row] - expected) < 1e-2 * spread
    assert len(np.unique(vectors.embedding, axis=0)) > len(places) / 2


def test_vectors_of_two_scales_stand_in_the_order_of_their_places(
    monaco: FeatureSource, places: Places
) -> None:
    with LocationEncoder.load("place-16") as encoder:
        chosen = np.random.default_rng(0).permutation(places.lon_lat)[:60]
        found = embed(monaco, encoder, Places(chosen), workers=0).embedding
        renderer = Renderer(monaco, encoder.geometry)
        alone = encoder.encode(
            np.concatenate([renderer.north_up([LonLat(*place)]) for place in chosen.tolist()])
        )
    apart = np.linalg.norm(found[:, None] - alone, axis=2)
    assert (apart.argmin(axis=1) == np.arange(60)).all()
    assert np.diagonal(apart).max() < 0.05 * np.median(apart)


def test_places_outside_keep_their_row_without_a_vector(
    monaco: FeatureSource, encoder: LocationEncoder
) -> None:
    inside, paris, sea = [7.4246, 43.7384], [2.3522, 48.8566], [7.4246, 43.0]
    lon_lat = np.array([paris, inside, sea, inside])
    table = pa.table({"name": ["Paris", "Monaco", "sea", "again"]})
    vectors = embed(monaco, encoder, Places(lon_lat, table), workers=0)
    assert vectors.inside.tolist() == [False, True, False, True]
    assert np.isnan(vectors.embedding[[0, 2]]).all()
    assert (vectors.embedding[1] == vectors.embedding[3]).all()
    assert (vectors.lon == lon_lat[:, 0]).all()
    assert (vectors.lat == lon_lat[:, 1]).all()
    assert vectors.table is not None
    assert vectors.table["name"].to_pylist() == ["Paris", "Monaco", "sea", "again"]


def test_all_places_outside_is_no_error(monaco: FeatureSource, encoder: LocationEncoder) -> None:
    for workers in (0, 2):
        vectors = embed(monaco, encoder, Places(np.array([[2.0, 48.0]])), workers)
        assert vectors.embedding.shape == (1, 16)
        assert not vectors.inside.any()


def test_a_file_keeps_its_columns(
    tmp_path: Path, monaco: FeatureSource, encoder: LocationEncoder
) -> None:
    file = tmp_path / "points.csv"
    file.write_text("id,lat,lon,note\n7,43.7384,7.4246,casino\n8,48.8566,2.3522,far\n")
    vectors = embed(monaco, encoder, places_of_file(file), workers=0)
    write_vectors(tmp_path / "out.parquet", vectors)
    table = read_vectors(tmp_path / "out.parquet").table
    assert table is not None
    assert table.to_pydict() == {"id": [7, 8], "note": ["casino", "far"]}


def test_a_malformed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("lat,lon\n43.7,7.4\n143.7,7.4\n")
    with pytest.raises(PointsError, match="line 3"):
        places_of_file(file)


def test_a_grid_lies_in_its_box(monaco: FeatureSource) -> None:
    box = Box(7.42, 43.735, 7.43, 43.74)
    places = places_of_grid(monaco, 100, box)
    assert len(places) == pytest.approx(805 * 556 / 100**2, abs=8)
    assert all(
        box.west < lon < box.east and box.south < lat < box.north for lon, lat in places.lon_lat
    )
    with pytest.raises(GridError):
        places_of_grid(monaco, 100, Box(8, 43, 8.1, 43.1))


def test_a_model_of_another_catalogue_is_refused(monaco: FeatureSource, tmp_path: Path) -> None:
    model = LocationEncoder.load(save_fresh_model(tmp_path / "model", 1, fingerprint="0" * 16))
    with pytest.raises(FingerprintError, match="fresh-1"):
        embed(monaco, model, Places(np.array([[7.4246, 43.7384]])), workers=0)


def test_numbers_that_are_not_finite_are_refused(
    monaco: FeatureSource, encoder: LocationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        encoder, "encode", lambda tiles: np.full((len(tiles), 16), np.nan, np.float32)
    )
    with pytest.raises(EmbeddingError, match="not finite"):
        embed(monaco, encoder, Places(np.array([[7.4246, 43.7384]])), workers=0)


def test_equal_places_are_rendered_once(
    monaco: FeatureSource, encoder: LocationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[int] = []
    really = Renderer.north_up

    def counted(renderer: Renderer, places: Sequence[LonLat]) -> NDArray[np.uint8]:
        rendered.append(len(places))
        return really(renderer, places)

    monkeypatch.setattr(Renderer, "north_up", counted)
    one, other, outside = [7.4246, 43.7384], [7.42, 43.735], [2.0, 48.0]
    places = Places(np.array([one, other, one, outside, one]))
    found = embed(monaco, encoder, places, workers=0)
    assert sum(rendered) == 2
    assert found.inside.tolist() == [True, True, True, False, True]
    assert (found.embedding[[2, 4]] == found.embedding[0]).all()
    alone = embed(monaco, encoder, Places(np.array([other])), workers=0)
    np.testing.assert_allclose(found.embedding[1], alone.embedding[0], atol=1e-3)
