"""Models of one scale beside models of two, on tiles of two."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from loc2vec.encoder import LocationEncoder
from loc2vec.evaluation.run import measure_views
from loc2vec.evaluation.scales import of_first_scales
from service.cli.main import main
from tests.models import save_fresh_model
from tiling.dataset.dataset import TileDataset
from tiling.errors import FingerprintError
from tiling.values import TileGeometry

SCALES = {
    "near": TileGeometry(),
    "both": TileGeometry(wider_m=(300.0,)),
    "wide": TileGeometry(radius_m=300.0),
}


@pytest.fixture(scope="module")
def dataset(monaco_store: Path, tmp_path_factory: pytest.TempPathFactory) -> TileDataset:
    out = tmp_path_factory.mktemp("tiles") / "tiles"
    command = ["tile", "--store", monaco_store, "--out", out, "--radii", "100,300"]
    command += ["--locations", "12", "--positives", "1", "--workers", "0"]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    return TileDataset.open(out)


def encoder(folder: Path, name: str) -> LocationEncoder:
    return LocationEncoder.load(save_fresh_model(folder / name, 0, geometry=SCALES[name]))


def test_a_model_of_fewer_scales_reads_the_first_ones(dataset: TileDataset, tmp_path: Path) -> None:
    near, both = encoder(tmp_path, "near"), encoder(tmp_path, "both")
    places = np.arange(3)
    tiles = dataset.tiles(places, np.zeros_like(places))
    (seen,) = (of_first_scales(near, dataset)(tiles),)
    np.testing.assert_array_equal(seen, near.encode(np.ascontiguousarray(tiles[:, :12])))
    np.testing.assert_array_equal(of_first_scales(both, dataset)(tiles), both.encode(tiles))
    scores = measure_views(dataset, {"near": near, "both": both})
    assert {"near", "both", "channel means"} <= set(scores)


def test_a_model_of_other_scales_is_refused(dataset: TileDataset, tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match=r"fresh-0@\w+ reads .*radius_m=300"):
        of_first_scales(encoder(tmp_path, "wide"), dataset)
