"""The PostGIS store: parity with the GeoPackage, what readers may do, faults, updates."""

import numpy as np

from tests.postgres import PASSWORD
from tiling.sources.base import FeatureSource
from tiling.sources.registry import content_hash, open_source
from tiling.values import Box

WORLD = Box(-180, -90, 180, 90)


def test_both_stores_hold_the_same_in_the_same_order(monaco: FeatureSource, monaco_database: str) -> None:
    ours = monaco.features(WORLD)
    with open_source(monaco_database) as source:
        theirs = source.features(WORLD)
        assert source.coverage.equals_exact(monaco.coverage)
        assert source.fingerprint == monaco.fingerprint
        assert PASSWORD not in repr(vars(source).keys()) + source.location + source.name
        np.testing.assert_array_equal(source.outline().channel, monaco.outline().channel)
        some = np.array([7, 3, 5])
        np.testing.assert_array_equal(source.geometries(some), monaco.geometries(some))
    np.testing.assert_array_equal(theirs.channel, ours.channel)
    np.testing.assert_array_equal(theirs.width_m, ours.width_m)
    np.testing.assert_array_equal(theirs.wkb, ours.wkb)
    assert len(content_hash(monaco_database)) == 64
