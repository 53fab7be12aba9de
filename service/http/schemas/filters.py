"""Where neighbours may lie and what they are, and what is told of each."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from service.errors import ColumnError
from service.http.schemas.base import MAX_NEIGHBORS, Body, Degrees, Flag, Metres, Name, Query
from service.index.search import Filters
from service.index.where import LONGEST, parse_where
from tiling.geo.grid import check_box, parse_box
from tiling.values import Box

MOST_COLUMNS = 50
WHERE_EXAMPLE = "price < 200 and kind in (cafe, bar)"
SPREAD = (
    "No two of them nearer to each other on the ground, metres: the nearest to the vector stays"
)
WHERE = (
    "Only those whose columns in the index pass: comparisons (=, <>, <, <=, >, >=, in, is null) "
    "joined by and, or, not"
)
COLUMNS = "Columns of the index that are told of each; `GET /info` says which there are"
NAMES = "Tell the nearest named thing, its kind, and the region of each"


class Shown(NamedTuple):
    """What is told of each neighbour beside its distance.

    `columns` of the index; `names`: what it is called.
    """

    columns: tuple[str, ...]
    names: bool


class FilterQuery(Query):
    """Where neighbours may lie, and what they are."""

    bbox: str | None = Field(
        None,
        max_length=200,
        description="Only in this box: W,S,E,N in degrees",
        examples=["7.41,43.73,7.43,43.75"],
    )
    within: list[Name] = Field(
        [], max_length=20, description="Only in this region of the store; may be repeated"
    )
    not_within: list[Name] = Field(
        [], max_length=20, description="Not in this region of the store; may be repeated"
    )

    where: str | None = Field(None, max_length=LONGEST, description=WHERE, examples=[WHERE_EXAMPLE])
    spread_m: Metres = Field(0.0, description=SPREAD)
    columns: str = Field("", max_length=LONGEST, description=COLUMNS + ". Separated by commas")
    names: bool = Field(False, description=NAMES)

    def filters(self, min_distance_m: float = 0.0) -> Filters:
        """Return the filters, or raise the error of a malformed box or `where`."""
        box = None if self.bbox is None else parse_box(self.bbox)
        return _filters(self, box, min_distance_m)

    def shown(self) -> Shown:
        """Return what is told of each neighbour."""
        names = [name.strip() for name in self.columns.split(",")]
        return _shown([name for name in names if name], self.names)


class FilterBody(Body):
    """Where neighbours may lie, and what they are."""

    k: Annotated[int, Field(strict=True, ge=1, le=MAX_NEIGHBORS)] = 10
    bbox: list[Degrees] | None = Field(
        None,
        min_length=4,
        max_length=4,
        description="Only in this box: west, south, east, north, degrees",
    )
    within: list[Name] = Field([], max_length=20, description="Only in these regions of the store")
    not_within: list[Name] = Field(
        [], max_length=20, description="Not in these regions of the store"
    )

    where: Annotated[str, Field(max_length=LONGEST)] | dict[str, Any] | None = Field(
        None, description=WHERE + ". As text, or as JSON of CQL2", examples=[WHERE_EXAMPLE]
    )
    spread_m: Metres = Field(0.0, description=SPREAD)
    columns: list[Name] = Field([], max_length=MOST_COLUMNS, description=COLUMNS)
    names: Flag = Field(False, description=NAMES)

    def filters(self, min_distance_m: float = 0.0) -> Filters:
        """Return the filters, or raise the error of a malformed box or `where`."""
        box = None if self.bbox is None else check_box(*self.bbox)
        return _filters(self, box, min_distance_m)

    def shown(self) -> Shown:
        """Return what is told of each neighbour."""
        return _shown(self.columns, self.names)


def _filters(asked: FilterQuery | FilterBody, box: Box | None, min_distance_m: float) -> Filters:
    where = None if asked.where is None else parse_where(asked.where)
    regions = tuple(asked.within), tuple(asked.not_within)
    return Filters(box, min_distance_m, *regions, where, asked.spread_m)


def _shown(columns: Sequence[str], names: bool) -> Shown:
    if len(columns) > MOST_COLUMNS:
        raise ColumnError(f"{len(columns)} columns: at most {MOST_COLUMNS} are told")
    return Shown(tuple(dict.fromkeys(columns)), names)
