import pytest

from tiling.errors import PlaceError
from tiling.geo.cells import place_of_cell
from tiling.geo.geodesy import ground_distance_m


def test_a_cell_is_where_h3_has_it() -> None:
    place = place_of_cell("8a3969a41d37fff")  # resolution 10: about 66 m from middle to corner
    assert float(ground_distance_m(place.lat, place.lon, 43.7384, 7.4246)) < 66
    assert place_of_cell("8A3969A41D37FFF") == place


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "x",
        "-1",
        "8a3969a41d37ff0",
        "8a3969a41d37fff" * 2,
        "0x8a3969a41d37f",
        "８a3969a41d37fff",
        " " * 15,
    ],
)
def test_what_is_no_cell_is_refused(cell: str) -> None:
    with pytest.raises(PlaceError, match="no H3 cell"):
        place_of_cell(cell)
