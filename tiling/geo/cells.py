"""H3 cells (https://h3geo.org) as places. The only module that knows H3."""

import re
from numbers import Integral

import h3

from tiling.errors import PlaceError
from tiling.values import LonLat, check_place

CELL = re.compile("[0-9a-fA-F]{15}")


def cell_of_place(place: LonLat, resolution: int) -> str:
    """Return the name of the cell that a place lies in.

    >>> cell_of_place(LonLat(7.4246, 43.7384), 5)
    '853969a7fffffff'
    """
    cell: str = h3.latlng_to_cell(place.lat, place.lon, resolution)
    return cell


def parent_of_cell(cell: str, resolution: int) -> str:
    """Return the name of the larger cell that a cell counts as part of.

    >>> parent_of_cell("8a3969a41d37fff", 5)
    '853969a7fffffff'
    """
    parent: str = h3.cell_to_parent(cell, resolution)
    return parent


def place_of_cell(cell: object) -> LonLat:
    """Return the middle of an H3 cell, text or a whole number; `PlaceError` for all else.

    >>> round(place_of_cell("8a3969a41d37fff").lat, 4)
    43.7384
    >>> round(place_of_cell(0x8A3969A41D37FFF).lat, 4)
    43.7384
    """
    cell = f"{cell:x}" if isinstance(cell, Integral) else str(cell)
    if not CELL.fullmatch(cell) or not h3.is_valid_cell(cell):
        raise PlaceError(
            f"{cell[:40]!r} is no H3 cell: "
            "write its 15 hexadecimal digits, for example 8a3969a41d37fff"
        )
    lat, lon = h3.cell_to_latlng(cell)
    return check_place(lat, lon)
